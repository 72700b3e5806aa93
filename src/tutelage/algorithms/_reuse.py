"""Several optimiser steps on the same answers: passes, minibatches, and when to leave the rest of them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from tutelage.algorithms._online import Online, OnlineConfig
from tutelage.batches import Batch
from tutelage.ops.seeds import derive


@dataclass(frozen=True, kw_only=True)
class ReuseConfig(OnlineConfig):
    """How often answers are learned from before fresh ones are sampled."""

    updates: int = 1
    """passes over each step's answers"""
    minibatches: int = 1
    """optimiser steps in each pass"""
    target_kl: float = 0.03
    """leave the rest of a step's updates once the policy has moved this far (nats per token); 0 = never"""

    def sane(self) -> dict[str, bool]:
        whole = {name: getattr(self, name) >= 1 for name in ("updates", "minibatches")}
        return super().sane() | whole | {"target_kl": self.target_kl >= 0}


C = TypeVar("C", bound=ReuseConfig)
X = TypeVar("X", bound=Batch)


class Reuse(Online[C, X]):
    """Steps more than once on the same answers, so its loss weighs them by the probability ratio π/π_old."""

    def learns_whole(self) -> bool:
        return self.config.minibatches == 1

    def minibatches(self, experience: X, step: int) -> Iterator[X]:
        if self.config.minibatches == 1:
            yield from [experience] * self.config.updates
            return
        rows = list(range(len(experience)))
        parts = min(self.config.minibatches, len(rows))
        for update in range(self.config.updates):
            random.Random(derive(self.config.seed, step, "minibatch", update)).shuffle(rows)
            for part in range(parts):
                yield experience.select(rows[part::parts])

    def enough(self, metrics: Mapping[str, float]) -> bool:
        return bool(self.config.target_kl) and metrics.get("policy/approx_kl", 0.0) > self.config.target_kl
