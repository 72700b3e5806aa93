"""Who is able and what is hard: GLAD, where a rater is right with probability σ(ability · ease of the item).

    P(answer = truth) = σ(α_rater · exp(β_item)),   every other class equally probable  (Whitehill et al. 2009, eq. 1–2)

with the paper's normal priors (mean 1, variance 1) on α and β. Departing from the paper, which climbs by EM, the sum
over unknown truths is maximised directly: the same maximum, where both arrive, in a fraction of the steps.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.statistics.raters import numbered

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Glad:
    """The fit of Whitehill et al. 2009."""

    classes: tuple[Hashable, ...]
    posteriors: Mapping[Hashable, tuple[float, ...]]
    """item → probability of each class"""
    labels: Mapping[Hashable, Hashable]
    """item → most probable class"""
    ability: Mapping[Hashable, float]
    """rater → α: 0 = tells nothing, below 0 = upside down"""
    ease: Mapping[Hashable, float]
    """item → exp(β): near 0 = nobody can tell"""


def glad(rows: Iterable[tuple[Hashable, Hashable, Hashable]], *, prior_ability: float = 1.0) -> Glad:
    """Fit abilities, ease and labels by maximum a posteriori; every class equally probable beforehand.

    Args:
        rows: (item, rater, class).
        prior_ability: mean of the normal prior on α.
    """
    answers = list(rows)
    items, item = numbered([row[0] for row in answers])
    raters, rater = numbered([row[1] for row in answers])
    classes, given = numbered([row[2] for row in answers])
    if not answers:
        return Glad((), {}, {}, {}, {})
    from scipy.optimize import minimize  # 0.2 s that only this fit needs

    start = np.concatenate([np.full(len(raters), prior_ability), np.ones(len(items))])
    fit = _Fit(item, rater, given, len(items), len(raters), max(2, len(classes)), prior_ability)
    # `tol` of L-BFGS-B would also set ftol: both are set, so that it stops only where the slope is nothing
    options = {"maxiter": 5000, "maxfun": 20000, "ftol": 1e-15, "gtol": 1e-9}
    found = minimize(fit.negative, start, jac=True, method="L-BFGS-B", options=options)
    theta = np.asarray(found.x, dtype=np.float64)
    truth = fit.posterior(theta)[0][:, : len(classes)]
    return Glad(
        classes=tuple(classes),
        posteriors={name: tuple(map(float, row)) for name, row in zip(items, truth, strict=True)},
        labels={name: classes[int(best)] for name, best in zip(items, truth.argmax(1), strict=True)},
        ability=dict(zip(raters, map(float, theta[: len(raters)]), strict=True)),
        ease=dict(zip(items, map(float, np.exp(theta[len(raters) :])), strict=True)),
    )


@dataclass(frozen=True)
class _Fit:
    item: NDArray[np.int64]
    rater: NDArray[np.int64]
    given: NDArray[np.int64]
    items: int
    raters: int
    classes: int
    prior: float

    def posterior(self, theta: Array) -> tuple[Array, float, Array]:
        """P(class) of each item [items, classes], the log-likelihood, and σ of each answer [answers]."""
        strength = theta[self.rater] * np.exp(theta[self.raters + self.item])
        right = -np.logaddexp(0.0, -strength)
        wrong = -np.logaddexp(0.0, strength) - np.log(self.classes - 1)
        logs = np.zeros((self.items, self.classes))
        np.add.at(logs, self.item, wrong[:, None])
        np.add.at(logs, (self.item, self.given), right - wrong)
        top = logs.max(1, keepdims=True)
        chance = np.exp(logs - top)
        total = chance.sum(1, keepdims=True)
        return chance / total, float((top + np.log(total)).sum()) - self.items * np.log(self.classes), np.exp(right)

    def negative(self, theta: Array) -> tuple[float, Array]:
        """Minus the log posterior, and its slope."""
        truth, likelihood, sure = self.posterior(theta)
        pull = truth[self.item, self.given] - sure  # d log P / d strength, expected over the truth
        ease = np.exp(theta[self.raters + self.item])
        away = theta - np.r_[np.full(self.raters, self.prior), np.ones(self.items)]
        slope = away.copy()
        np.add.at(slope, self.rater, -pull * ease)
        np.add.at(slope, self.raters + self.item, -pull * ease * theta[self.rater])
        return float(away @ away) / 2 - likelihood, slope
