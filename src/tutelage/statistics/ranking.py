"""Who is better overall: Bradley–Terry and Plackett–Luce with ties, side and intervals.

    P(left wins) ∝ exp(s_left + b)     P(right wins) ∝ exp(s_right)     P(tie) ∝ ν · exp((s_left + b + s_right) / 2)

is Davidson 1970 with a side term b (Davidson & Beaver 1977): b > 0 says that left is chosen for being left.
Strengths s are in log odds and sum to 0, with a weak normal prior, so that whoever always wins stays finite.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tutelage.statistics.intervals import Interval

Array = NDArray[np.float64]


class Battle(NamedTuple):
    """One vote between two players."""

    first: str
    second: str
    choice: int
    """+1 the first is better, 0 tie, −1 the second"""
    left: bool | None = None
    """whether the first stood left; None = not known, then the side says nothing"""
    weight: float = 1.0
    cluster: str = ""
    """what belongs together when intervals are drawn (the prompt); empty: every battle for itself"""


@dataclass(frozen=True)
class Leaderboard:
    """Strengths in log odds with 95% intervals; the best first."""

    strengths: dict[str, Interval]
    tie: float
    """ν of Davidson: 0 = no ties; P(tie) between equals is ν / (2 + ν)"""
    side: Interval
    """b: log odds that standing left adds"""
    battles: int


@dataclass(frozen=True)
class _Counts:
    """Battles that say the same, counted per cluster."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    choice: NDArray[np.int64]
    side: Array
    """+1 the first stood left, −1 right, 0 not known"""
    weight: Array
    """[clusters, kinds of battle]"""


def bradley_terry(
    battles: Iterable[Battle], *, prior: float = 0.01, draws: int = 200, seed: int = 0
) -> Leaderboard | None:
    """Fit strengths, ties and side by maximum a posteriori; intervals by bootstrap over clusters. None: no battles.

    Args:
        prior: precision of the normal prior on each strength and on the side term.
        draws: bootstrap refits; 0 = intervals of no width.
    """
    fought = list(battles)
    if not fought:
        return None
    players = sorted({name for battle in fought for name in (battle.first, battle.second)})
    counts = _count(fought, players)
    value = _fit(counts, counts.weight.sum(0), len(players), prior)
    rng = np.random.default_rng(seed)
    clusters = len(counts.weight)
    shares = np.full(clusters, 1.0 / clusters)
    drawn = (rng.multinomial(clusters, shares) @ counts.weight for _ in range(draws))
    fits = [_fit(counts, weight, len(players), prior, value) for weight in drawn]
    low, high = np.quantile(np.array([*fits, value]), [0.025, 0.975], axis=0) if draws else (value, value)
    found = [Interval(float(v), float(a), float(b)) for v, a, b in zip(value, low, high, strict=True)]
    order = np.argsort(-value[: len(players)], kind="stable")
    return Leaderboard(
        strengths={players[index]: found[index] for index in order},
        tie=float(np.exp(value[-2])) if any(battle.choice == 0 for battle in fought) else 0.0,
        side=found[-1],
        battles=len(fought),
    )


def _count(battles: Sequence[Battle], players: Sequence[str]) -> _Counts:
    place = {name: index for index, name in enumerate(players)}
    kinds: dict[tuple[int, int, int, int], int] = {}
    clusters: dict[str, int] = {}
    cells: list[tuple[int, int, float]] = []
    for number, battle in enumerate(battles):
        side = 0 if battle.left is None else (1 if battle.left else -1)
        key = (place[battle.first], place[battle.second], battle.choice, side)
        cluster = clusters.setdefault(battle.cluster or f"#{number}", len(clusters))
        cells.append((cluster, kinds.setdefault(key, len(kinds)), battle.weight))
    weight = np.zeros((len(clusters), len(kinds)))
    for cluster, kind, amount in cells:
        weight[cluster, kind] += amount
    first, second, choice, side = (np.array(column, dtype=np.int64) for column in zip(*kinds, strict=True))
    return _Counts(first, second, choice, side.astype(np.float64), weight)


def _fit(counts: _Counts, weight: Array, players: int, prior: float, start: Array | None = None) -> Array:
    """[strengths …, log ν, side] at the maximum of the posterior."""
    from scipy.optimize import minimize  # 0.2 s that only a leaderboard needs

    ties = bool((counts.choice == 0).any())
    sided = bool((counts.side != 0).any())

    def negative(values: Array) -> tuple[float, Array]:
        gap = values[counts.first] - values[counts.second] + counts.side * values[-1] * sided
        logits = np.stack([gap / 2, -gap / 2, np.full_like(gap, values[-2] if ties else -np.inf)])
        top = logits.max(0)
        chance = np.exp(logits - top)
        total = chance.sum(0)
        chance /= total
        chosen = np.where(counts.choice > 0, logits[0], np.where(counts.choice < 0, logits[1], logits[2]))
        loss = float((weight * (top + np.log(total) - chosen)).sum())
        slope = weight * ((chance[0] - chance[1]) / 2 - counts.choice / 2)
        gradient = np.zeros_like(values)
        np.add.at(gradient, counts.first, slope)
        np.add.at(gradient, counts.second, -slope)
        gradient[-1] = float((slope * counts.side).sum()) * sided
        gradient[-2] = float((weight * (chance[2] - (counts.choice == 0))).sum()) * ties
        return loss + prior / 2 * float(values @ values), gradient + prior * values

    found = minimize(
        negative, np.zeros(players + 2) if start is None else start, jac=True, method="L-BFGS-B", tol=1e-10
    )
    value = np.asarray(found.x, dtype=np.float64)
    value[:players] -= value[:players].mean()
    return value


def plackett_luce(rankings: Iterable[Sequence[str]], *, prior: float = 0.01) -> dict[str, float]:
    """Strengths from whole rankings, best first in each (Plackett 1975; Luce 1959), summing to 0; without ties."""
    from scipy.optimize import minimize

    orders = [list(ranking) for ranking in rankings]
    players = sorted({name for order in orders for name in order})
    if not players:
        return {}
    place = {name: index for index, name in enumerate(players)}
    numbered = [np.array([place[name] for name in order], dtype=np.int64) for order in orders]

    def negative(values: Array) -> tuple[float, Array]:
        loss, gradient = prior / 2 * float(values @ values), prior * values
        for order in numbered:
            told = values[order]
            remaining = np.logaddexp.accumulate(told[::-1])[::-1]  # log Σ exp over those not yet placed
            loss += float((remaining - told)[:-1].sum())
            share = np.exp(told - remaining[:-1, None]) * (np.arange(len(order)) >= np.arange(len(order) - 1)[:, None])
            np.add.at(gradient, order, share.sum(0))
            np.add.at(gradient, order[:-1], -1.0)
        return loss, gradient

    found = minimize(negative, np.zeros(len(players)), jac=True, method="L-BFGS-B", tol=1e-10)
    value = found.x - found.x.mean()
    return {players[index]: float(value[index]) for index in np.argsort(-value, kind="stable")}
