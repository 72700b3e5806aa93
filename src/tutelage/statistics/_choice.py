"""Conditional logit: somebody chose one of several alternatives, each with exp(utility), utility linear in parameters.

    P(alternative a of a set) = exp(x_a · θ) / Σ_{a' of the set} exp(x_a' · θ)                  (McFadden 1974, eq. 12)

Bradley–Terry, Davidson's ties, a side term, style covariates and Plackett–Luce are all of this form, so that their
log-likelihood is concave and Newton's method finds its one maximum in a few steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Intervals = Literal["bootstrap", "sandwich"]
_STEPS = 100


@dataclass(frozen=True)
class Choices:
    """S choices among A alternatives in all, and who said them how often."""

    design: Array
    """[A, P]: x of each alternative, those of one set side by side"""
    starts: Indices
    """[S]: where each set begins in `design`"""
    chosen: Indices
    """[S]: which row of `design` was chosen"""
    told: Indices
    """[N]: which of the S choices was made …"""
    cluster: Indices
    """[N]: … in which cluster (prompt) …"""
    weight: Array
    """[N]: … and what it counts; two choices that say the same are one of S and two of N"""

    @property
    def clusters(self) -> int:
        return int(self.cluster.max()) + 1

    def weights(self, drawn: Array | None = None) -> Array:
        """What each of the S choices counts in all, [S], given how often each cluster was drawn."""
        amount = self.weight if drawn is None else self.weight * drawn[self.cluster]
        return np.bincount(self.told, amount, len(self.starts)).astype(np.float64)


def fit(choices: Choices, weight: Array, prior: float, start: Array | None = None) -> Array:
    """θ at the maximum of Σ weight·log P(chosen) − prior/2·|θ|², to rounding; `prior` > 0 or θ identified."""
    theta = np.zeros(choices.design.shape[1]) if start is None else start.copy()
    loss = _loss(choices, weight, prior, theta)
    for _ in range(_STEPS):
        mean, chance = _expected(choices, theta)
        slope = weight @ (mean - choices.design[choices.chosen]) + prior * theta
        step = np.linalg.lstsq(_curvature(choices, weight, prior, mean, chance), slope, rcond=None)[0]
        if float(slope @ step) < 1e-22 * max(1.0, loss) or float(np.abs(step).max(initial=0.0)) < 1e-13:
            break
        shrink = 1.0
        while (new := _loss(choices, weight, prior, theta - shrink * step)) > loss and shrink > 1e-8:
            shrink /= 2
        if new > loss:
            break
        theta, loss = theta - shrink * step, new
    return theta


def sandwich(choices: Choices, theta: Array, prior: float) -> Array:
    """H⁻¹ G H⁻¹, [P, P]: the covariance of θ that holds even where the model does not (Huber 1967; Liang & Zeger 1986).

    G sums the outer products of the clusters' scores, times C/(C − 1).
    """
    weight = choices.weights()
    mean, chance = _expected(choices, theta)
    curvature = np.linalg.pinv(_curvature(choices, weight, prior, mean, chance), hermitian=True)
    score = (mean - choices.design[choices.chosen])[choices.told] * choices.weight[:, None]
    summed = np.zeros((choices.clusters, len(theta)))
    np.add.at(summed, choices.cluster, score)
    correction = choices.clusters / max(1, choices.clusters - 1)
    return correction * curvature @ (summed.T @ summed) @ curvature


def spread(
    choices: Choices, prior: float, readings: Array, how: Intervals, draws: int, seed: int
) -> tuple[Array, Array, Array]:
    """(value, low, high) of `readings @ θ` with 95% intervals.

    Args:
        readings: [R, P], the linear functions of θ that are asked for.
        draws: refits of the bootstrap over clusters; 0 = intervals of no width.
    """
    theta = fit(choices, choices.weights(), prior)
    value = readings @ theta
    if how == "sandwich":
        half = 1.959964 * np.sqrt(np.maximum(np.diag(readings @ sandwich(choices, theta, prior) @ readings.T), 0.0))
        return value, value - half, value + half
    if not draws:
        return value, value, value
    rng = np.random.default_rng(seed)
    shares = np.full(choices.clusters, 1.0 / choices.clusters)
    drawn = (choices.weights(rng.multinomial(choices.clusters, shares).astype(np.float64)) for _ in range(draws))
    fits = [readings @ fit(choices, weight, prior, theta) for weight in drawn]
    low, high = np.quantile(np.array([*fits, value]), [0.025, 0.975], axis=0)
    return value, low, high


def gathered(told: Sequence[int], cluster: Sequence[str], weight: Sequence[float]) -> tuple[Indices, Indices, Array]:
    """The last three fields of `Choices` from lists; an empty cluster name is a cluster for itself."""
    places: dict[str, int] = {}
    numbers = [places.setdefault(name or f"#{number}", len(places)) for number, name in enumerate(cluster)]
    return np.array(told, dtype=np.int64), np.array(numbers, dtype=np.int64), np.array(weight, dtype=np.float64)


def _loss(choices: Choices, weight: Array, prior: float, theta: Array) -> float:
    utility = choices.design @ theta
    top = np.maximum.reduceat(utility, choices.starts)
    total = np.add.reduceat(np.exp(utility - np.repeat(top, _sizes(choices))), choices.starts)
    return float(weight @ (top + np.log(total) - utility[choices.chosen])) + prior / 2 * float(theta @ theta)


def _expected(choices: Choices, theta: Array) -> tuple[Array, Array]:
    """Mean x of each set [S, P], and the chance of each alternative [A]."""
    utility = choices.design @ theta
    sizes = _sizes(choices)
    chance = np.exp(utility - np.repeat(np.maximum.reduceat(utility, choices.starts), sizes))
    chance /= np.repeat(np.add.reduceat(chance, choices.starts), sizes)
    return np.add.reduceat(chance[:, None] * choices.design, choices.starts), chance


def _curvature(choices: Choices, weight: Array, prior: float, mean: Array, chance: Array) -> Array:
    each = np.repeat(weight, _sizes(choices)) * chance
    square = choices.design.T @ (each[:, None] * choices.design) - mean.T @ (weight[:, None] * mean)
    return square + prior * np.eye(len(square))


def _sizes(choices: Choices) -> Indices:
    return np.diff(choices.starts, append=len(choices.design))
