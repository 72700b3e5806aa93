"""How severe each rater is and how much of the scale they use: scores of several raters made comparable."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tutelage.errors import UsageError

_LEAST_DEVIATION = 1e-3


@dataclass(frozen=True)
class RaterScale:
    """Where one rater's scores of one aspect lie.

    Example:
        >>> RaterScale(0.6, 0.2, 40).standard(0.8)
        1.0
    """

    mean: float
    deviation: float
    """> 0"""
    scores: int
    """how many it rests on"""

    def standard(self, score: float) -> float:
        """The score in deviations from the rater's mean."""
        return (score - self.mean) / self.deviation


@dataclass
class Tally:
    """Count, mean and sum of squared distances of scores, one after another (Welford 1962)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, scores: Iterable[float]) -> Tally:
        """All of `scores`."""
        tally = cls()
        for score in scores:
            tally.add(score)
        return tally

    def add(self, score: float) -> None:
        """Take in one score."""
        self.count += 1
        gap = score - self.mean
        self.mean += gap / self.count
        self.squares += gap * (score - self.mean)


def rater_scales(scores: Iterable[tuple[str, str, float]], prior: float = 10.0) -> Mapping[tuple[str, str], RaterScale]:
    """Mean and deviation of each (rater, aspect), drawn towards those of all raters of the aspect.

    As if every rater had given `prior` more scores as everybody else gives them (normal means and variances with
    conjugate priors; Gelman et al., BDA3, §3.3): a rater of two scores is not made extreme by them. `("", aspect)` is
    everybody, for raters who are not known.

    Args:
        scores: (rater, aspect, score), all on one scale, such as 0–1.
        prior: ≥ 0.
    """
    given: dict[tuple[str, str], list[float]] = {}
    for rater, aspect, score in scores:
        given.setdefault(("", aspect), []).append(score)
        if rater:
            given.setdefault((rater, aspect), []).append(score)
    found: dict[tuple[str, str], RaterScale] = {}
    for (rater, aspect), own in given.items():
        everyone = given["", aspect]
        found[rater, aspect] = drawn(Tally.of(own), Tally.of(everyone), prior if rater else 0.0)
    return found


def drawn(own: Tally, everybody: Tally, prior: float) -> RaterScale:
    """`own` drawn towards `everybody` as by `prior` more scores."""
    total = own.count + prior
    mean = (own.count * own.mean + prior * everybody.mean) / total
    squares = own.squares + own.count * (own.mean - mean) ** 2
    variance = (squares + prior * everybody.squares / everybody.count) / total
    return RaterScale(mean, max(math.sqrt(variance), _LEAST_DEVIATION), own.count)


class RaterScales:
    """Scales that grow with the scores heard: severity and caution taken out, the scale as a whole left in place.

    It supposes that raters see answers of about the same quality.

    Example:
        >>> scales = RaterScales(prior=10)
        >>> scales.add([("ann", 0.2), ("bob", 0.6)] * 50)
        >>> 0.3 < scales.level("ann", 0.2) < 0.6
        True
    """

    def __init__(self, prior: float = 10.0) -> None:
        if prior < 0:
            raise UsageError(f"shrinkage {prior:g} is below 0")
        self.prior = prior
        self.everybody = Tally()
        self.raters: dict[str, Tally] = {}

    def add(self, scores: Iterable[tuple[str, float]]) -> None:
        """Take in (rater, score), all on one scale."""
        for rater, score in scores:
            self.everybody.add(score)
            self.raters.setdefault(rater, Tally()).add(score)

    def level(self, rater: str, score: float) -> float:
        """`score` as an ordinary rater would have given it; unchanged while nothing is known of anybody."""
        own = self.raters.get(rater, Tally())
        if not self.everybody.count or not own.count + self.prior:
            return score
        everyone = drawn(self.everybody, self.everybody, 0.0)
        return everyone.mean + everyone.deviation * drawn(own, self.everybody, self.prior).standard(score)

    def state(self) -> dict[str, Any]:
        """Everything, as JSON."""
        raters = {name: asdict(tally) for name, tally in self.raters.items()}
        return {"prior": self.prior, "everybody": asdict(self.everybody), "raters": raters}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.prior = state["prior"]
        self.everybody = Tally(**state["everybody"])
        self.raters = {name: Tally(**tally) for name, tally in state["raters"].items()}
