"""What people say as the reward, directly: the mean of several raters' scores, 0 to 1.

For each answer:  scores on their scales → 0..1 → mean over aspects, per rater → (severity taken out) → mean over raters
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, Literal, Protocol

import torch

from tutelage.batches import Scores
from tutelage.errors import DataError
from tutelage.rewards._base import RewardSource
from tutelage.types import Rating, Sample

Ask = Callable[[Sequence[Sample]], Sequence[Sequence[Rating]]]
"""answers → what raters said of each; it may wait for them, or raise; an answer that nobody scored has no ratings"""
Join = Literal["mean", "max"]


class Scales(Protocol):
    """Knows how severe each rater is (`tutelage.statistics.severity.RaterScales`)."""

    def add(self, scores: Iterable[tuple[str, float]]) -> None:
        """Take in (rater, score)."""
        ...

    def level(self, rater: str, score: float) -> float:
        """The score as an ordinary rater would have given it."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything, as JSON."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        ...


class Human(RewardSource):
    """The raters' own word. The mean of n scores is unbiased; their maximum is not, by more the more raters there are.

    Parts: `people` (the value), `people/raters` (how many), `people/se` (standard error of the mean, where every answer
    has two raters or more), `people/raw` (before severity is taken out), and one for each of several aspects.

    Args:
        ask: gives the ratings of each answer.
        aspects: which to use; () = all there are, each counting the same.
        join: how the raters' scores become one number.
        scales: takes severity and caution out of the scores; None = they count as they are.
    """

    def __init__(
        self, ask: Ask, aspects: Sequence[str] = (), join: Join = "mean", scales: Scales | None = None
    ) -> None:
        self.ask, self.aspects, self.join, self.scales = ask, tuple(aspects), join, scales
        self._heard: list[tuple[str, float]] = []

    def score(self, samples: Sequence[Sample]) -> Scores:
        """
        Raises:
            DataError: an answer has no score: none is made up.
        """
        told = [self._chosen(ratings) for ratings in self.ask(samples)]
        silent = [sample for sample, ratings in zip(samples, told, strict=True) if not ratings]
        if silent:
            about = f" of {', '.join(self.aspects)}" if self.aspects else ""
            raise DataError(
                f"{len(silent)} of {len(samples)} answers have no score{about} by people",
                where=f"sample {silent[0].id}: {silent[0].text[:80]!r}",
                fix="have them rated, or name a source that can score answers it has not seen (a reward model)",
            )
        raw = [_per_rater(ratings) for ratings in told]
        self._heard = [pair for given in raw for pair in given.items()]
        scales = self.scales
        used = [[scales.level(*pair) if scales else pair[1] for pair in given.items()] for given in raw]
        value = torch.tensor([max(given) if self.join == "max" else fmean(given) for given in used])
        parts = {"people": value, "people/raters": torch.tensor([float(len(given)) for given in used])}
        if all(len(given) > 1 for given in used):
            parts["people/se"] = torch.tensor([stdev(given) / len(given) ** 0.5 for given in used])
        if scales:
            parts["people/raw"] = torch.tensor([fmean(given.values()) for given in raw])
        return Scores(value, parts | _by_aspect(told))

    def settle(self) -> None:
        if self.scales:
            self.scales.add(self._heard)
        self._heard = []

    def state(self) -> dict[str, Any]:
        return self.scales.state() if self.scales else {}

    def restore(self, state: Mapping[str, Any]) -> None:
        if self.scales:
            self.scales.restore(state)

    def _chosen(self, ratings: Sequence[Rating]) -> list[Rating]:
        return [rating for rating in ratings if not self.aspects or rating.aspect in self.aspects]


def unit(rating: Rating) -> float:
    """A score on its scale as 0..1.

    Raises:
        DataError: the scale has no width.
    """
    low, high = rating.scale
    if not high > low:
        raise DataError(f"the scale of '{rating.aspect}' goes from {low:g} to {high:g}", fix="give the true ends")
    return (rating.score - low) / (high - low)


def _per_rater(ratings: Sequence[Rating]) -> dict[str, float]:
    given: dict[str, list[float]] = {}
    for rating in ratings:
        given.setdefault(rating.rater, []).append(unit(rating))
    return {rater: fmean(scores) for rater, scores in given.items()}


def _by_aspect(told: Sequence[Sequence[Rating]]) -> dict[str, torch.Tensor]:
    """The mean of each aspect, where there are several and every answer has all."""
    names = dict.fromkeys(rating.aspect for ratings in told for rating in ratings)
    complete = all({rating.aspect for rating in ratings} == names.keys() for ratings in told)
    if len(names) < 2 or not complete:
        return {}
    return {
        f"people/{name}": torch.tensor(
            [fmean(unit(rating) for rating in ratings if rating.aspect == name) for ratings in told]
        )
        for name in names
    }
