"""One real training command on a handful of rows, as a process of its own runs it."""

from __future__ import annotations

from typing import Any

import torch

from tutelage import registry
from tutelage.config import resolve


def train(command: str, flags: dict[str, Any]) -> None:
    """What `tutelage COMMAND --flags` does."""
    from tutelage.algorithms import Algorithm
    from tutelage.build import train as build_and_train

    torch.set_num_threads(1)
    kind = registry.find("algorithms", command, Algorithm)
    build_and_train(command, resolve(kind.Config, yaml_file=None, sets=[], flags=flags))


def rows(command: str) -> list[dict[str, Any]]:
    """Data of the kind that a command reads."""
    numbers = range(24)
    if command == "pretrain":
        return [{"text": f"The mayor of Norwick opened bridge {n} on Monday. 周一，第{n}座桥剪彩。"} for n in numbers]
    if command == "sft":
        return [{"prompt": f"Summarise bridge {n}.", "completion": f"Bridge {n} was opened."} for n in numbers]
    if command == "ppo":
        return [{"id": f"p{n}", "prompt": f"Summarise bridge {n}.", "meta": {"lang": "en"}} for n in numbers]
    return [
        {"prompt": f"Summarise {n}.", "chosen": f"Bridge {n} was opened.", "rejected": "bridge bridge bridge"}
        for n in numbers
    ]


def reward(prompt: str, completion: str) -> float:
    """Something that differs between answers."""
    return len(set(completion)) / 10
