"""How our own cost grows: with the batch, with lengths, over many steps, and before the first one."""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from typing import Any

from _speed_jobs import JOBS, MODELS, Job, lengths
from _speed_peers import OURS, Side
from _speed_report import Work
from _speed_side import Started

BATCHES = {f"batch {size}": {"batch": size, "tokens": (32, 511)} for size in (4, 16, 64, 256)}
LENGTHS = {
    f"{low} to {high} tokens": {
        "batch": count,
        "tokens": (low, high),
        "settings": JOBS["sft"].settings | {"max_length": 2048},
    }
    for low, high, count in (
        (32, 32, 256),
        (32, 128, 112),
        (32, 511, 44),
        (32, 1024, 28),
        (32, 2048, 17),
        (2048, 2048, 4),
    )
}
"""about 8,192 tokens a step, all of them"""
GROUPS = {"scaling-batch": BATCHES, "scaling-length": LENGTHS}
NAMES = [*GROUPS, "memory", "startup"]
_STARTS = 5
_UPDATED = 7 * 4 + 2
"""bytes of a weight that an optimiser step moves"""


def grown(name: str, model: str, asked: argparse.Namespace, peaks: dict[str, float]) -> list[dict[str, Any]]:
    """The rows of one of NAMES."""
    if name == "memory":
        return _memory(model, asked)
    if name == "startup":
        return _startup(model, asked)
    return _scaling(name, model, asked, peaks)


def _side(asked: argparse.Namespace, label: str = "") -> Side:
    setting = asked.ours[0]
    return dataclasses.replace(OURS[0], setting=setting, tcmalloc=setting == "best", label=label)


def _scaling(name: str, model: str, asked: argparse.Namespace, peaks: dict[str, float]) -> list[dict[str, Any]]:
    """Tokens per second of the same work in steps of another make; rounds go round the variants.

    `of_phases`: the share of what a step needs at the least, its FLOPs at the measured peak and after them AdamW's pass
    over all weights at the measured bandwidth (clipping by the norm of all gradients keeps the two apart).
    """
    from speed import told_of

    variants = {label: change | {"steps": 1} for label, change in GROUPS[name].items()}
    variants = {word: change for word, change in variants.items() if change["tokens"][1] <= MODELS[model].context}
    sides: list[tuple[str, Job, Started, Work]] = []
    try:
        for label, change in variants.items():
            job = dataclasses.replace(JOBS["sft"], **change)
            told, ordered = told_of(job, change, model, asked)
            started = Started.start(_side(asked, label), told, asked, asked.out.resolve() / f"{name}-{model}")
            if started:
                sizes = lengths(job, told["total"] * job.batch)
                sides.append((label, job, started, Work(job, MODELS[model], ordered, sizes)))
        for index in range(asked.rounds):
            for _, _, started, _ in sides:
                started.round(index)
    finally:
        for _, _, started, _ in sides:
            started.end()
    rates = {
        label: [work.tokens(index, one) / one["wall"] for index, one in enumerate(started.rounds)]
        for label, _, started, work in sides
    }
    phases = {
        label: [
            _phases(work.floor(index, one, peaks), model, peaks) / one["wall"] for index, one in enumerate(side.rounds)
        ]
        for label, _, side, work in sides
    }
    best = max(statistics.median(rate) for rate in rates.values())
    return [
        {
            "job": name, "model": model, "variant": label, "ours": asked.ours[0],
            "tokens_per_s": round(statistics.median(rate), 1), "of_the_best": round(statistics.median(rate) / best, 3),
            "of_phases": round(statistics.median(phases[label]), 3),
        }
        for label, rate in rates.items()
    ]  # fmt: skip


def _phases(floor: dict[str, float], model: str, peaks: dict[str, float]) -> float:
    """Seconds of one step: AdamW reads weight, gradient and two moments, writes three of them, and a bfloat16 copy."""
    shape = MODELS[model]
    weights = shape.matmul_parameters + (1 if shape.tied else 2) * shape.head_parameters
    return floor["flops"] / peaks["bfloat16"] + _UPDATED * weights / peaks["read"]


def _memory(model: str, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Resident memory at every tenth of `--memory-steps` steps of sft, mixed lengths; growth since the second tenth."""
    from speed import told_of

    change = {"batch": 2, "steps": max(1, asked.memory_steps // 10)}
    job = dataclasses.replace(JOBS["sft"], **change)
    told, _ = told_of(job, change, model, asked, rounds=10)
    started = Started.start(_side(asked), told, asked, asked.out.resolve() / f"memory-{model}")
    if started is None:
        return []
    try:
        seen = [started.round(index)["resident_gib"] for index in range(10)]
    finally:
        started.end()
    row = {"job": "memory", "model": model, "ours": asked.ours[0], "steps": 10 * job.steps}
    return [row | {"resident_gib": [round(one, 3) for one in seen], "growth_gib": round(seen[-1] - seen[1], 3)}]


def _startup(model: str, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Seconds from the process's start: imports, loading (model and data), the first step, the second."""
    from speed import told_of

    change = {"warm": 2, "steps": 1}
    job = dataclasses.replace(JOBS["sft"], **change)
    told, _ = told_of(job, change, model, asked, rounds=1)
    seen: list[dict[str, float]] = []
    for _ in range(_STARTS):
        started = Started.start(_side(asked), told, asked, asked.out.resolve() / f"startup-{model}")
        if started is None:
            return []
        seen.append(started.round(0)["startup"])
        started.end()
    row: dict[str, Any] = {"job": "startup", "model": model, "ours": asked.ours[0]}
    return [row | {name: round(statistics.median(one[name] for one in seen), 2) for name in seen[0]}]


def listed(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| job | model | ours | figures |", "|---|---|---|---|"]
    for row in rows:
        rest = ", ".join(f"{name} {value}" for name, value in row.items() if name not in ("job", "model", "ours"))
        lines.append(f"| {row['job']} | {row['model']} | {row['ours']} | {rest} |")
    return "\n".join(lines)
