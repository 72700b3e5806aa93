"""The only training loop: collect, learn, write down. It knows no algorithm."""

from __future__ import annotations

import time
from typing import Any

import torch

from tutelage.algorithms import Algorithm
from tutelage.train.optim import Optimizer
from tutelage.train.run import Run


def train(algorithm: Algorithm[Any, Any], optimizer: Optimizer, run: Run) -> None:
    """Do the steps that are left; every step is a pure function of the checkpoint before it and its number."""
    for step in run.steps():
        metrics: dict[str, float] = {"learning_rate": optimizer.begin(step) * algorithm.config.learning_rate}
        began = time.monotonic()
        with torch.no_grad():
            experience = algorithm.collect(step)
        metrics["time/collect"] = time.monotonic() - began
        if step == 0:
            run.begin(algorithm.preflight(experience) | algorithm.evaluate())
        seen: list[dict[str, float]] = []
        for batch in algorithm.minibatches(experience, step):
            seen.append(optimizer.step(algorithm, batch))
            if algorithm.enough(seen[-1]):
                break
        metrics |= algorithm.metrics() | mean_of(seen)
        metrics["time/learn"] = time.monotonic() - began - metrics["time/collect"]
        run.finish(step, algorithm, optimizer, metrics)


def mean_of(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each number over the optimiser steps of one run step, and how many those were."""
    names = dict.fromkeys(name for row in rows for name in row)
    means = {name: sum(row[name] for row in rows if name in row) / sum(name in row for row in rows) for name in names}
    return means | ({"policy/updates": float(len(rows))} if len(rows) > 1 else {})
