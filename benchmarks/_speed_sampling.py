"""What the peers' sides of speed.py's sample jobs share: prompts read, rounds kept, answers handed over."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _speed_jobs import Job
from _speed_pipe import Gate

Rows = list[list[int]]
"""one row per answer: [prompt length, tokens …]"""


def serve(asked: dict[str, Any], job: Job, tokenizer: Any, draw: Callable[[Rows], Rows]) -> None:
    """Be one side until the pipe closes; `draw` answers the prompts (token ids) of one call."""
    weights = hashlib.sha256((Path(asked["model"]) / "model.safetensors").read_bytes()).hexdigest()
    lines = Path(asked["theirs"]).read_text(encoding="utf-8").splitlines()
    prompts = [tokenizer(json.loads(line)["prompt"])["input_ids"] for line in lines]
    gate = Gate(job.warm, job.steps)
    rows: Rows = []

    def facts() -> dict[str, Any]:
        found = {"answers": [*rows], "weights": weights, "missing": []}
        rows.clear()
        return found

    for step in range(asked["total"]):
        gate.boundary(step, facts)
        rows += draw(prompts[step * job.batch : (step + 1) * job.batch])
