"""How severe each rater is and how much of the scale they use: scores of several raters made comparable."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

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
        centre = sum(everyone) / len(everyone)
        spread = sum((score - centre) ** 2 for score in everyone) / len(everyone)
        pull = prior if rater else 0.0
        mean = (sum(own) + pull * centre) / (len(own) + pull)
        variance = (sum((score - mean) ** 2 for score in own) + pull * spread) / (len(own) + pull)
        found[rater, aspect] = RaterScale(mean, max(math.sqrt(variance), _LEAST_DEVIATION), len(own))
    return found
