"""Who is better overall: Bradley–Terry from votes and Plackett–Luce from rankings, with ties, side, style, intervals.

    P(left wins) ∝ exp(s_left + b)     P(right wins) ∝ exp(s_right)     P(tie) ∝ ν · exp((s_left + b + s_right) / 2)

is Davidson 1970 with a side term b (Davidson & Beaver 1977): b > 0 says that left is chosen for being left. Style adds
β · (style of the first − style of the second). Rankings are read from the top: who is next among those left, a tied
group S at once with ν_|S| · exp(mean of s over S) (Davidson–Luce: Firth, Kosmidis & Turner 2019, eq. 3), and b for
standing first, less further down, 0 for standing last. Strengths s are in log odds and sum to 0, with a weak normal
prior, so that whoever always wins stays finite.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tutelage.statistics._choice import Choices, Intervals, gathered, spread
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
    style: tuple[float, ...] = ()
    """style of the first less that of the second, in the order of `styles`"""


class Ranked(NamedTuple):
    """One ranking of players."""

    players: Sequence[str]
    ranks: Sequence[float]
    """of each player, the smallest is the best; equal = tie"""
    shown: Sequence[int] = ()
    """shown[0] is the index of the player who stood first; empty = not known"""
    weight: float = 1.0
    cluster: str = ""


@dataclass(frozen=True)
class Leaderboard:
    """Strengths in log odds with 95% intervals; the best first."""

    strengths: dict[str, Interval]
    tie: float
    """ν of Davidson: 0 = no ties; P(tie) between equals is ν / (2 + ν)"""
    side: Interval
    """b: log odds that standing left adds"""
    battles: int
    style: Mapping[str, Interval] = field(default_factory=dict)
    """what one unit of each style adds, in log odds; strengths are what is left without it"""


def bradley_terry(
    battles: Iterable[Battle],
    *,
    prior: float = 0.01,
    intervals: Intervals = "bootstrap",
    draws: int = 200,
    seed: int = 0,
    styles: Sequence[str] = (),
) -> Leaderboard | None:
    """Fit strengths, ties, side and style by maximum a posteriori, intervals over clusters. None: no battles.

    Args:
        prior: precision of the normal prior on each parameter.
        intervals: `bootstrap` refits `draws` times (0 = no width); `sandwich` is one fit, for many clusters.
        styles: names of what `Battle.style` holds; a battle without style counts as equal in it.
    """
    fought = list(battles)
    if not fought:
        return None
    players = sorted({name for battle in fought for name in (battle.first, battle.second)})
    ties = any(battle.choice == 0 for battle in fought)
    sided = any(battle.left is not None for battle in fought)
    layout = _Layout(players, 1 if ties else 0, sided, styles)
    kinds: dict[tuple[str, str, int, bool | None, tuple[float, ...]], int] = {}
    told = [kinds.setdefault((b.first, b.second, b.choice, b.left, b.style), len(kinds)) for b in fought]
    design = np.zeros((len(kinds), 2 + ties, layout.size))
    for gap, (first, second, _, left, style) in zip(design, kinds, strict=True):
        gap[0, layout.place[first]], gap[0, layout.place[second]] = 0.5, -0.5
        if sided and left is not None:
            gap[0, layout.side] = 0.5 if left else -0.5
        gap[0, layout.style : layout.style + len(style)] = np.array(style) / 2
        gap[1] = -gap[0]
        if ties:
            gap[2, layout.tie] = 1.0
    starts = np.arange(len(kinds)) * (2 + ties)
    column = np.array([{1: 0, -1: 1, 0: 2}[choice] for _, _, choice, _, _ in kinds])
    who = gathered(told, [battle.cluster for battle in fought], [battle.weight for battle in fought])
    choices = Choices(design.reshape(-1, layout.size), starts, starts + column, *who)
    return layout.read(*spread(choices, prior, layout.readings(), intervals, draws, seed), len(fought))


def plackett_luce(
    rankings: Iterable[Ranked],
    *,
    prior: float = 0.01,
    intervals: Intervals = "bootstrap",
    draws: int = 200,
    seed: int = 0,
    most_tied: int = 3,
) -> Leaderboard | None:
    """Strengths from whole rankings with ties and place on the screen; `battles` counts rankings. None: no rankings.

    Args:
        prior, intervals, draws: as for `bradley_terry`.
        most_tied: a larger group of equals says nothing of who is in it, only that it is above those below.
    """
    given = [ranking for ranking in rankings if len(ranking.players) > 1]
    if not given:
        return None
    players = sorted({name for ranking in given for name in ranking.players})
    tied = max((size for ranking in given for size in _group_sizes(ranking) if size <= most_tied), default=1)
    layout = _Layout(players, tied - 1, any(ranking.shown for ranking in given), ())
    blocks: list[Array] = []
    chosen: list[int] = []
    said: list[int] = []
    for number, ranking in enumerate(given):
        traits = _traits(ranking, layout)
        ranks = np.asarray(ranking.ranks, dtype=np.float64)
        for rank in np.unique(ranks):
            left, top = np.flatnonzero(ranks >= rank), np.flatnonzero(ranks == rank)
            if len(left) < 2 or len(top) > tied:
                continue
            groups, sizes = _groups(len(left), tied)
            block = groups @ traits[left]
            block[np.flatnonzero(sizes > 1), layout.tie + sizes[sizes > 1] - 2] = 1.0
            member = np.isin(left, top) / len(top)
            chosen.append(int(np.flatnonzero((groups == member).all(1))[0]))
            blocks.append(block)
            said.append(number)
    if not blocks:
        return None
    starts = np.cumsum([0, *(len(block) for block in blocks[:-1])])
    who = gathered(
        range(len(said)),
        [given[number].cluster or f"ranking {number}" for number in said],
        [given[number].weight for number in said],
    )
    choices = Choices(np.concatenate(blocks), starts, starts + np.array(chosen), *who)
    return layout.read(*spread(choices, prior, layout.readings(), intervals, draws, seed), len(given))


def _group_sizes(ranking: Ranked) -> list[int]:
    return [list(ranking.ranks).count(rank) for rank in set(ranking.ranks)]


def _traits(ranking: Ranked, layout: _Layout) -> Array:
    """[players of the ranking, P]: who it is, and how far to the front it stood (1 = first, 0 = last)."""
    traits = np.zeros((len(ranking.players), layout.size))
    traits[range(len(traits)), [layout.place[name] for name in ranking.players]] = 1.0
    if ranking.shown:
        traits[list(ranking.shown), layout.side] = np.linspace(1.0, 0.0, len(traits))
    return traits


@cache
def _groups(count: int, most: int) -> tuple[Array, NDArray[np.int64]]:
    """Every group of 1 to `most` out of `count`: [groups, count] with 1/size for its members, and the sizes."""
    members = [group for size in range(1, min(most, count) + 1) for group in combinations(range(count), size)]
    matrix = np.zeros((len(members), count))
    for row, group in zip(matrix, members, strict=True):
        row[list(group)] = 1 / len(group)
    return matrix, np.array([len(group) for group in members])


class _Layout:
    """Where each parameter stands in θ: strengths, log ν of 2, 3 … tied, side, styles."""

    def __init__(self, players: Sequence[str], ties: int, sided: bool, styles: Sequence[str]) -> None:
        self.players = players
        self.place = {name: index for index, name in enumerate(players)}
        self.tie = len(players)
        self.ties = ties
        self.side = self.tie + ties
        self.sided = sided
        self.style = self.side + sided
        self.styles = styles
        self.size = self.style + len(styles)

    def readings(self) -> Array:
        """[P, P]: θ with the mean strength taken off the strengths."""
        found = np.eye(self.size)
        found[: self.tie, : self.tie] -= 1 / self.tie
        return found

    def read(self, value: Array, low: Array, high: Array, battles: int) -> Leaderboard:
        """The parameters by name."""
        found = [Interval(float(v), float(a), float(b)) for v, a, b in zip(value, low, high, strict=True)]
        order = np.argsort(-value[: self.tie], kind="stable")
        return Leaderboard(
            strengths={self.players[int(index)]: found[int(index)] for index in order},
            tie=float(np.exp(value[self.tie])) if self.ties else 0.0,
            side=found[self.side] if self.sided else Interval(0.0, 0.0, 0.0),
            battles=battles,
            style=dict(zip(self.styles, found[self.style :], strict=True)),
        )
