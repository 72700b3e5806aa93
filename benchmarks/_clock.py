"""When a task's reward was asked, noted by both sides in their own process (standard library only)."""

from __future__ import annotations

import atexit
import functools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CLOCK = "TASK_CLOCK"
"""Environment variable: the file that the notes are written to when the process ends."""


def noted(rule: Callable[[Any, str], float]) -> Callable[[Any, str], float]:
    """`rule`, and a note of each call: wall time, this process's CPU time, what it answered."""
    asked = list[tuple[float, float, float]]()

    def write() -> None:
        if CLOCK in os.environ:
            Path(os.environ[CLOCK]).write_text(json.dumps(asked), encoding="utf-8")

    @functools.wraps(rule)
    def timed(prompt: Any, completion: str) -> float:
        if not asked:
            atexit.register(write)
        score = rule(prompt, completion)
        asked.append((time.monotonic(), time.process_time(), score))
        return score

    return timed
