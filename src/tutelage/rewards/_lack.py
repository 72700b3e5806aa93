"""What an answer lacks of a quality, as a cost: 1 less a score between 0 and 1, or less one of its aspects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tutelage.batches import Scores
from tutelage.errors import UsageError
from tutelage.rewards._base import RewardSource
from tutelage.types import Sample

PREFIX = "lack:"


class Lack(RewardSource):
    """1 − score, so that a source that says how safe an answer is says what its harm costs.

    Example:
        >>> Lack.named("lack:taste:news#faithful", make)  # 1 − the aspect `faithful` of the taste `news`
    """

    def __init__(self, source: RewardSource, aspect: str = "") -> None:
        self.source = source
        self.aspect = aspect

    @classmethod
    def named(cls, name: str, make: Callable[[str], RewardSource]) -> Lack:
        """From `lack:SOURCE`; a taste may be followed by `#ASPECT`, other sources have their own way to say it."""
        inner = name.removeprefix(PREFIX)
        aspect = ""
        if inner.startswith("taste:"):
            inner, _, aspect = inner.partition("#")
        return cls(make(inner), aspect)

    def score(self, samples: Sequence[Sample]) -> Scores:
        """
        Raises:
            UsageError: the source has no such aspect.
        """
        found = self.source.score(samples)
        if self.aspect and samples and self.aspect not in found.parts:
            raise UsageError(f"there is no aspect '{self.aspect}'", fix=f"aspects: {', '.join(found.parts) or 'none'}")
        value = 1 - (found.parts[self.aspect] if self.aspect and samples else found.value)
        return Scores(value, {"lack": value})

    def sources(self) -> Sequence[RewardSource]:
        return [self.source]

    def settle(self) -> None:
        self.source.settle()

    def state(self) -> dict[str, Any]:
        return self.source.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.source.restore(state)
