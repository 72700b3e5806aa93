"""A reward source held within two limits, with the share of answers that reached one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.batches import Scores
from tutelage.errors import UsageError
from tutelage.rewards._base import RewardSource
from tutelage.types import Sample


class Clipped(RewardSource):
    """value = min(max(inner, low), high); the part `clipped` is 1 where a limit was reached."""

    def __init__(self, inner: RewardSource, low: float, high: float) -> None:
        if not low < high:
            raise UsageError(f"clip(…, {low:g}, {high:g}): the first limit must be below the second")
        self.inner, self.low, self.high = inner, low, high

    def score(self, samples: Sequence[Sample]) -> Scores:
        found = self.inner.score(samples)
        clipped = ((found.value < self.low) | (found.value > self.high)).float()
        return Scores(found.value.clamp(self.low, self.high), {**found.parts, "clipped": clipped})

    def sources(self) -> Sequence[RewardSource]:
        return [self.inner]

    def settle(self) -> None:
        self.inner.settle()

    def state(self) -> dict[str, Any]:
        return self.inner.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.inner.restore(state)
