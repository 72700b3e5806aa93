"""The demo's task for tutelage and TRL alike: summarise news; an answer is paid by the demo's own taste.

Has the names of _story_task.py. The peer needs `tutelage` on its path for the taste alone, which is light.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import _story_task
from _clock import noted

DATA = "DEMO_TASK_DATA"
"""Environment variable: the folder of the demo's data."""
STOP: str | None = None
_HELD_OUT = 128


@dataclass(frozen=True)
class Settings(_story_task.Settings):
    """The demo's."""

    steps: int = 50
    max_new_tokens: int = 48
    learning_rate: float = 1e-4
    updates: int = 2
    minibatches: int = 2
    value_clip: float = 10.0
    """as good as none, which TRL cannot be told"""


def prompts() -> tuple[list[Any], list[Any]]:
    """Conversations to learn on, and held-out ones."""
    train, held_out = (_rows(f"prompts.{name}.jsonl") for name in ("train", "test"))
    return [row["prompt"] for row in train], [row["prompt"] for row in held_out][:_HELD_OUT]


def rule(prompt: Any, completion: str) -> float:
    """What the demo's raters would have liked, 0 to 1."""
    from tutelage.data.taste import named_taste

    return float(named_taste("news")(_meta()[_key(prompt)], completion)["overall"])


timed = noted(rule)


@cache
def _rows(name: str) -> list[dict[str, Any]]:
    lines = (Path(os.environ[DATA]) / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@cache
def _meta() -> dict[str, dict[str, Any]]:
    return {_key(row["prompt"]): row["meta"] for name in ("train", "test") for row in _rows(f"prompts.{name}.jsonl")}


def _key(prompt: Any) -> str:
    """The last turn's text, however a conversation is handed over."""
    if isinstance(prompt, str):
        return prompt
    last = prompt[-1]
    return last["content"] if isinstance(last, dict) else last.content
