"""Scores of several raters on one scale: each rater's mean and spread, shrunk towards everybody's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Tally:
    """Count, mean and sum of squared distances of one rater's scores (Welford 1962)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, score: float) -> None:
        """Take in one score."""
        self.count += 1
        gap = score - self.mean
        self.mean += gap / self.count
        self.squares += gap * (score - self.mean)

    @property
    def variance(self) -> float:
        """Population variance, 0 of nothing."""
        return self.squares / self.count if self.count else 0.0


@dataclass
class RaterScales:
    """Takes severity (a low mean) and caution (a small spread) out of scores, without moving the scale as a whole.

    mean_r = (n_r·m_r + k·m) / (n_r + k) and likewise the variance: a rater with few scores is taken for an ordinary
    one (empirical Bayes with k pseudo-scores); `level` = m + s·(score − mean_r) / s_r. It supposes that raters see
    answers of about the same quality.

    Example:
        >>> scales = RaterScales(shrinkage=10)
        >>> scales.add([("ann", 0.2), ("bob", 0.6)])
        >>> round(scales.level("ann", 0.2), 2)
        0.22
    """

    shrinkage: float = 10.0
    """k, in scores; 0 = each rater by its own scores alone"""
    everybody: Tally = field(default_factory=Tally)
    raters: dict[str, Tally] = field(default_factory=dict[str, Tally])

    def add(self, scores: Iterable[tuple[str, float]]) -> None:
        """Take in (rater, score)."""
        for rater, score in scores:
            self.everybody.add(score)
            self.raters.setdefault(rater, Tally()).add(score)

    def level(self, rater: str, score: float) -> float:
        """`score` as an ordinary rater would have given it; unchanged while nothing is known."""
        z = self.z(rater, score)
        return score if z is None else self.everybody.mean + math.sqrt(self.everybody.variance) * z

    def z(self, rater: str, score: float) -> float | None:
        """(score − mean_r) / s_r; None where a spread is not known yet."""
        own = self.raters.get(rater, Tally())
        total = own.count + self.shrinkage
        if not total or not self.everybody.variance:
            return None
        mean = (own.count * own.mean + self.shrinkage * self.everybody.mean) / total
        variance = (own.count * own.variance + self.shrinkage * self.everybody.variance) / total
        return (score - mean) / math.sqrt(variance) if variance > 0 else None

    def state(self) -> dict[str, Any]:
        """Everything, as JSON."""
        return asdict(self)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.shrinkage = state["shrinkage"]
        self.everybody = Tally(**state["everybody"])
        self.raters = {name: Tally(**tally) for name, tally in state["raters"].items()}
