"""A reward source on the scale of its own history: less the running mean, over the running standard deviation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from tutelage.batches import Scores
from tutelage.rewards._base import RewardSource
from tutelage.types import Sample


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared distances of all numbers so far."""

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    def joined(self, values: Tensor) -> Moments:
        """With `values` taken in (Chan, Golub & LeVeque 1979, eq. 1.5), in float64."""
        more = values.double()
        if not len(more):
            return self
        count = self.count + len(more)
        gap = float(more.mean()) - self.mean
        squares = self.squares + float(((more - more.mean()) ** 2).sum()) + gap**2 * self.count * len(more) / count
        return Moments(count, self.mean + gap * len(more) / count, squares)

    @property
    def std(self) -> float:
        """Population standard deviation, 0 of nothing."""
        return (self.squares / self.count) ** 0.5 if self.count else 0.0


class Normalised(RewardSource):
    """value = (inner − mean) / std over all answers of the steps before; the first step is judged by its own.

    The raw score is the part `raw`. Changes the scale that the price of drift is weighed against, so the optimum too.
    """

    def __init__(self, inner: RewardSource) -> None:
        self.inner = inner
        self.seen = Moments()
        self._next = Moments()

    def score(self, samples: Sequence[Sample]) -> Scores:
        found = self.inner.score(samples)
        self._next = self.seen.joined(found.value)
        moments = self.seen if self.seen.count else self._next
        scale = moments.std or 1.0  # all alike so far: no scale is known
        value = ((found.value.double() - moments.mean) / scale).float()
        return Scores(value, {**found.parts, "raw": found.value})

    def sources(self) -> Sequence[RewardSource]:
        return [self.inner]

    def settle(self) -> None:
        self.seen = self._next
        self.inner.settle()

    def state(self) -> dict[str, Any]:
        return {"seen": asdict(self.seen), "inner": self.inner.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.seen = self._next = Moments(**state["seen"])
        self.inner.restore(state["inner"])
