"""Strengths when some raters do not look: Bradley–Terry where each vote is either read off the answers or a habit.

    P(rater chooses left) = g_rater · σ(s_left − s_right) + (1 − g_rater) · σ(q_rater)

g is how often the rater looks, σ(q) how often it clicks left when it does not (Chen et al. 2013, "Pairwise ranking
aggregation in a crowdsourced setting", eq. 5, with the click's side as in crowd-kit's NoisyBradleyTerry). Normal priors
on s and q and a normal prior on the logit of g keep raters of few votes ordinary. A rater who answers upside down is
taken for one who does not look: whom to read backwards is told by `raters.believe_raters`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tutelage.statistics.raters import numbered

Array = NDArray[np.float64]
_LOOKS = 1.5
"""mean of the prior on the logit of g: 82%; its standard deviation is 1.5"""


class Click(NamedTuple):
    """One vote as it was clicked."""

    rater: str
    left: str
    right: str
    chose_left: bool


@dataclass(frozen=True)
class NoisyRanking:
    """The fit: who is strong, who looks, and what a rater clicks who does not."""

    strengths: Mapping[str, float]
    """log odds, summing to 0; the best first"""
    looks: Mapping[str, float]
    """rater → g, 0 to 1"""
    clicks_left: Mapping[str, float]
    """rater → σ(q): P(left) when it does not look"""


def noisy_bradley_terry(clicks: Iterable[Click], *, prior: float = 0.1) -> NoisyRanking:
    """Fit by maximum a posteriori; ties are left out by the caller.

    Args:
        prior: precision of the normal prior on each strength and each q.
    """
    votes = list(clicks)
    players, player = numbered([name for vote in votes for name in (vote.left, vote.right)])
    raters, rater = numbered([vote.rater for vote in votes])
    if not votes:
        return NoisyRanking({}, {}, {})
    from scipy.optimize import minimize  # 0.2 s that only this fit needs

    sign = np.array([1.0 if vote.chose_left else -1.0 for vote in votes])
    fit = _Fit(player[::2], player[1::2], rater, sign, len(players), len(raters), prior)
    start = np.concatenate([np.zeros(len(players) + len(raters)), np.full(len(raters), _LOOKS)])
    options = {"maxiter": 5000, "maxfun": 20000, "ftol": 1e-15, "gtol": 1e-9}
    found = minimize(fit.negative, start, jac=True, method="L-BFGS-B", options=options)
    theta = np.asarray(found.x, dtype=np.float64)
    strength = theta[: len(players)] - theta[: len(players)].mean()
    chance = 1 / (1 + np.exp(-theta[len(players) :]))
    return NoisyRanking(
        strengths={players[int(index)]: float(strength[index]) for index in np.argsort(-strength, kind="stable")},
        looks=dict(zip(raters, map(float, chance[len(raters) :]), strict=True)),
        clicks_left=dict(zip(raters, map(float, chance[: len(raters)]), strict=True)),
    )


@dataclass(frozen=True)
class _Fit:
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    rater: NDArray[np.int64]
    sign: Array
    players: int
    raters: int
    prior: float

    def likelihood(self, theta: Array) -> tuple[Array, Array, Array, Array]:
        """log P of each vote, and of what it is made: σ(y·gap), σ(y·q), g."""
        habit, looks = theta[self.players + self.rater], theta[self.players + self.raters + self.rater]
        seen = _sigmoid(self.sign * (theta[self.left] - theta[self.right]))
        clicked, share = _sigmoid(self.sign * habit), _sigmoid(looks)
        return np.log(share * seen + (1 - share) * clicked), seen, clicked, share

    def negative(self, theta: Array) -> tuple[float, Array]:
        """Minus the log posterior, and its slope."""
        logs, seen, clicked, share = self.likelihood(theta)
        chance = np.exp(logs)
        away = theta.copy()
        away[self.players + self.raters :] -= _LOOKS
        precision = np.full(len(theta), self.prior)
        precision[self.players + self.raters :] = 1 / _LOOKS**2
        slope = precision * away
        gap = self.sign * share * seen * (1 - seen) / chance
        np.add.at(slope, self.left, -gap)
        np.add.at(slope, self.right, gap)
        np.add.at(slope, self.players + self.rater, -self.sign * (1 - share) * clicked * (1 - clicked) / chance)
        np.add.at(slope, self.players + self.raters + self.rater, -(seen - clicked) * share * (1 - share) / chance)
        return float(precision @ away**2) / 2 - float(logs.sum()), slope


def _sigmoid(x: Array) -> Array:
    return np.exp(-np.logaddexp(0.0, -x))
