"""What people say as the reward, directly: the mean of several raters' scores, 0 to 1.

For each answer:  scores on their scales → 0..1 → mean over aspects, per rater → (severity taken out) → mean over raters
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, Literal, NamedTuple, Protocol

import torch

from tutelage.batches import Scores
from tutelage.errors import DataError
from tutelage.rewards._base import RewardSource
from tutelage.types import Rating, Sample

Ask = Callable[[Sequence[Sample]], Sequence[Sequence[Rating]]]
"""answers → what raters said of each; it may wait for them, or raise; an answer that nobody scored has no ratings"""
Join = Literal["mean", "max"]
MODEL = "(model)"
"""the rater's name under which a model stands in for people who did not answer in time"""


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

    Scores count by their `weight` (how far each rater is believed), the same for all where nobody says.

    Parts: `people` (the value), `people/raters` (how many), `people/se` (standard error of the mean, where every answer
    has two raters or more), `people/raw` (before severity is taken out), `people/model` (1 where a model stood in), and
    one for each of several aspects.

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
        self._heard = [(rater, said.score) for given in raw for rater, said in given.items() if rater != MODEL]
        used = [[_Said(self._level(rater, said.score), said.weight) for rater, said in given.items()] for given in raw]
        value = torch.tensor([max(given).score if self.join == "max" else _mean(given) for given in used])
        people = [[said for rater, said in given.items() if rater != MODEL] for given in raw]
        parts = {"people": value, "people/raters": torch.tensor([float(len(given)) for given in people])}
        if all(len(given) > 1 for given in used):
            parts["people/se"] = torch.tensor([_error(given) for given in used])
        if self.scales:
            parts["people/raw"] = torch.tensor([_mean(list(given.values())) for given in raw])
        if any(MODEL in given for given in raw):
            parts["people/model"] = torch.tensor([float(MODEL in given) for given in raw])
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

    def _level(self, rater: str, score: float) -> float:
        return self.scales.level(rater, score) if self.scales and rater != MODEL else score

    def _chosen(self, ratings: Sequence[Rating]) -> list[Rating]:
        """Those that count: of the aspects asked for, and by raters who are believed at all."""
        chosen = [one for one in ratings if not self.aspects or one.aspect in self.aspects or one.rater == MODEL]
        return [rating for rating in chosen if rating.weight > 0]


def unit(rating: Rating) -> float:
    """A score on its scale as 0..1.

    Raises:
        DataError: the scale has no width.
    """
    low, high = rating.scale
    if not high > low:
        raise DataError(f"the scale of '{rating.aspect}' goes from {low:g} to {high:g}", fix="give the true ends")
    return (rating.score - low) / (high - low)


class _Said(NamedTuple):
    """What one rater says of one answer."""

    score: float
    """0..1"""
    weight: float


def _per_rater(ratings: Sequence[Rating]) -> dict[str, _Said]:
    given: dict[str, list[Rating]] = {}
    for rating in ratings:
        given.setdefault(rating.rater, []).append(rating)
    return {
        rater: _Said(fmean(unit(one) for one in said), fmean(one.weight for one in said))
        for rater, said in given.items()
    }


def _mean(given: Sequence[_Said]) -> float:
    """Σ weight · score / Σ weight; the plain mean where all weigh the same."""
    if len({said.weight for said in given}) == 1:
        return fmean(said.score for said in given)
    return sum(said.weight * said.score for said in given) / sum(said.weight for said in given)


def _error(given: Sequence[_Said]) -> float:
    """Standard error of `_mean` for two or more: s/√n where all weigh the same."""
    n, mean, total = len(given), _mean(given), sum(said.weight for said in given)
    squares = sum((said.weight * (said.score - mean) / total) ** 2 for said in given)
    return (squares * n / (n - 1)) ** 0.5


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
