"""Whom to believe: Dawid–Skene for choices among classes, and a side-aware form of it for pairwise votes.

Both are EM on the same idea: what is true and how each rater errs explain each other. For pairs, a rater's errors are
described per *screen side* (what is chosen when the truth stands left, or right), so that somebody who mostly clicks
left, somebody who clicks anywhere and somebody who answers upside down are all seen, and their votes count for what
they tell: log P(vote | truth left) − log P(vote | truth right), which may be nothing or the opposite.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
H = TypeVar("H", bound=Hashable)


@dataclass(frozen=True)
class DawidSkene:
    """The fit of Dawid & Skene 1979."""

    classes: tuple[Hashable, ...]
    labels: Mapping[Hashable, Hashable]
    """item → most probable class"""
    posteriors: Mapping[Hashable, tuple[float, ...]]
    """item → probability of each class"""
    errors: Mapping[Hashable, Array]
    """rater → [true class, answered class]"""
    prevalence: tuple[float, ...]
    iterations: int


def dawid_skene(
    rows: Iterable[tuple[Hashable, Hashable, Hashable]],
    *,
    smoothing: float = 0.01,
    rounds: int = 200,
    tolerance: float = 1e-7,
) -> DawidSkene:
    """EM for the true class of each item and the confusion matrix of each rater (Dawid & Skene 1979, eq. 2.3–2.5).

    Args:
        rows: (item, rater, class); several answers of a rater to one item count each.
        smoothing: added to every cell of a confusion matrix (the paper has 0).
    """
    answers = list(rows)
    items, item = numbered([row[0] for row in answers])
    raters, rater = numbered([row[1] for row in answers])
    classes, given = numbered([row[2] for row in answers])
    truth = np.zeros((len(items), len(classes)))
    np.add.at(truth, (item, given), 1.0)
    truth /= truth.sum(1, keepdims=True)
    errors, prevalence, iterations = np.zeros(0), np.zeros(0), 0
    while iterations < rounds:
        iterations += 1
        errors = np.full((len(raters), len(classes), len(classes)), float(smoothing))
        np.add.at(errors.transpose(0, 2, 1), (rater, given), truth[item])
        errors /= np.maximum(errors.sum(2, keepdims=True), 1e-300)
        prevalence = truth.mean(0)
        logs = np.tile(np.log(np.maximum(prevalence, 1e-300)), (len(items), 1))
        np.add.at(logs, item, np.log(np.maximum(errors[rater, :, given], 1e-300)))
        new = np.exp(logs - logs.max(1, keepdims=True))
        new /= new.sum(1, keepdims=True)
        moved = float(np.abs(new - truth).max())
        truth = new
        if moved < tolerance:
            break
    return DawidSkene(
        classes=tuple(classes),
        labels={name: classes[int(best)] for name, best in zip(items, truth.argmax(1), strict=True)},
        posteriors={name: tuple(map(float, row)) for name, row in zip(items, truth, strict=True)},
        errors={name: errors[index] for index, name in enumerate(raters)},
        prevalence=tuple(map(float, prevalence)),
        iterations=iterations,
    )


class PairVote(Protocol):
    """One rater's choice between a first and a second thing (`tutelage.store.votes.Vote` is one)."""

    @property
    def item(self) -> str: ...
    @property
    def rater(self) -> str: ...
    @property
    def choice(self) -> int:
        """+1 the first is better, 0 tie, −1 the second."""
        ...

    @property
    def left(self) -> bool | None:
        """Whether the first stood left on the screen; None = not known."""
        ...


@dataclass(frozen=True)
class PairRater:
    """How one rater votes on pairs."""

    votes: int
    accuracy: float
    """P(choosing the better one | it chose), the mean over both sides; 0.5 = tells nothing, 0 = upside down."""
    left: float
    """P(choosing left | it chose) were the better one on the left half of the time; 0.5 = no side bias."""
    ties: float
    """P(tie)"""
    weight: float
    """2·accuracy − 1 from 0 (no better than chance, or upside down) to 1 (never wrong): a loss weight for its rows."""


@dataclass(frozen=True)
class PairModel:
    """What is probably true of each pair, and how far each rater can be believed."""

    first: Mapping[str, float]
    """item → P(the first is better)"""
    ties: Mapping[str, float]
    """item → share of ties among its votes, weighted by rater"""
    raters: Mapping[str, PairRater]
    overlap: float
    """Mean votes per item: near 1, nobody can be checked by another and all raters stay at the prior."""


_PRIOR = np.array([[0.70, 0.10, 0.20], [0.20, 0.10, 0.70]])
_PRIOR_VOTES = 4.0
"""A rater starts as 70% right, worth four votes a side: enough to tame raters with few votes, nothing against many."""


@dataclass(frozen=True)
class VoteTable:
    """Pairwise votes as small whole numbers, about 10 bytes a vote, however long the names of things are."""

    item: NDArray[np.int32]
    """[votes] which pair of answers"""
    rater: NDArray[np.int32]
    """[votes] place in `raters`"""
    choice: NDArray[np.int8]
    """[votes] +1 the first is better, 0 tie, −1 the second"""
    left: NDArray[np.int8]
    """[votes] 1 the first stood left, 0 it did not, −1 not known"""
    raters: Sequence[str]
    known: NDArray[np.int8]
    """[items] +1 or −1 where the truth is known, else 0"""


@dataclass(frozen=True)
class TableModel:
    """`PairModel` of a table."""

    first: Array
    """[items] P(the first is better)"""
    ties: Array
    """[items] share of ties among the votes, weighted by rater"""
    raters: Mapping[str, PairRater]


def believe_table(table: VoteTable, *, rounds: int = 200, tolerance: float = 1e-6) -> TableModel:
    """`believe_raters` in memory that does not grow with the votes beyond the table and three numbers an item."""
    items = len(table.known)
    fixed = table.known != 0
    truth = np.where(fixed, table.known > 0, _majority(table.item, table.choice, items))
    skill = np.zeros((len(table.raters), 2, 3))
    for _ in range(rounds):
        skill = _skill(table, truth)
        new = np.where(fixed, table.known > 0, 1 / (1 + np.exp(-np.clip(_evidence(table, skill), -30, 30))))
        moved = float(np.abs(new - truth).max(initial=0.0))
        truth = new
        if moved < tolerance:
            break
    votes = np.bincount(table.rater, minlength=len(table.raters))
    described = {name: _describe(skill[index], int(votes[index])) for index, name in enumerate(table.raters)}
    weight = np.array([described[name].weight for name in table.raters] or [0.0])
    return TableModel(truth, _tie_share(table, weight, items), described)


def believe_raters(
    votes: Sequence[PairVote], *, gold: Mapping[str, int] | None = None, rounds: int = 200, tolerance: float = 1e-6
) -> PairModel:
    """Side-aware Dawid–Skene over pairwise votes, by EM from the majority; both answers equally probable beforehand.

    With less than two votes per item nothing tells raters apart; they all keep the prior.

    Args:
        gold: item → +1 or −1 where the truth is known: raters are measured by it. 0 says nothing.
    """
    items, table = _tabled(votes, gold or {})
    found = believe_table(table, rounds=rounds, tolerance=tolerance)
    return PairModel(
        first=dict(zip(items, map(float, found.first), strict=True)),
        ties=dict(zip(items, map(float, found.ties), strict=True)),
        raters=found.raters,
        overlap=len(votes) / max(1, len(items)),
    )


def believe_everyone(votes: Sequence[PairVote]) -> PairModel:
    """The plain majority, every rater weighing 1: P(first) is the share of votes for it, ties counting half."""
    items, table = _tabled(votes, {})
    everyone = believe_table(table).raters
    told = {name: PairRater(each.votes, each.accuracy, each.left, each.ties, 1.0) for name, each in everyone.items()}
    first = _majority(table.item, table.choice, len(items))
    ties = _tie_share(table, np.ones(max(1, len(table.raters))), len(items))
    return PairModel(
        first=dict(zip(items, map(float, first), strict=True)),
        ties=dict(zip(items, map(float, ties), strict=True)),
        raters=told,
        overlap=len(votes) / max(1, len(items)),
    )


def head_count(votes: Iterable[PairVote]) -> tuple[dict[str, float], dict[str, float]]:
    """item → share of votes for the first, ties counting half; item → share of ties. As `believe_everyone` has it."""
    tally: dict[str, list[int]] = {}
    for vote in votes:
        counted = tally.setdefault(vote.item, [0, 0, 0])
        counted[vote.choice + 1] += 1
    first = {item: (won + tied / 2) / (lost + tied + won) for item, (lost, tied, won) in tally.items()}
    return first, {item: tied / (lost + tied + won) for item, (lost, tied, won) in tally.items()}


def _tabled(votes: Sequence[PairVote], gold: Mapping[str, int]) -> tuple[list[str], VoteTable]:
    items, item = numbered([vote.item for vote in votes])
    names, rater = numbered([vote.rater for vote in votes])
    left = [-1 if vote.left is None else int(vote.left) for vote in votes]
    table = VoteTable(
        item.astype(np.int32),
        rater.astype(np.int32),
        np.array([vote.choice for vote in votes], dtype=np.int8),
        np.array(left, dtype=np.int8),
        names,
        np.array([gold.get(name, 0) for name in items], dtype=np.int8),
    )
    return items, table


def numbered(values: Sequence[H]) -> tuple[list[H], Indices]:
    """The distinct values, sorted as text, and each value's place among them."""
    distinct = sorted(set(values), key=str)
    place = {value: index for index, value in enumerate(distinct)}
    return distinct, np.array([place[value] for value in values], dtype=np.int64)


_PART = 1 << 16
"""votes that are worked on at once"""


def _parts(table: VoteTable) -> Iterator[tuple[Indices, Indices, Indices, NDArray[np.bool_], NDArray[np.bool_]]]:
    """Some votes at a time: item, rater, clicked (0 = left, 1 = tie, 2 = right), first stood left, side known."""
    for start in range(0, len(table.item), _PART):
        part = slice(start, start + _PART)
        choice, left = table.choice[part].astype(np.int64), table.left[part]
        first_left = left != 0
        clicked = 1 - np.where(first_left, choice, -choice)
        yield table.item[part].astype(np.int64), table.rater[part].astype(np.int64), clicked, first_left, left >= 0


def _majority(item: NDArray[np.int32], choice: NDArray[np.int8], items: int) -> Array:
    votes, half = np.bincount(item, minlength=items), np.zeros(items)
    for start in range(0, len(item), _PART):
        part = slice(start, start + _PART)
        np.add.at(half, item[part], (choice[part] + 1) / 2)
    return half / np.maximum(votes, 1)


def _skill(table: VoteTable, truth: Array) -> Array:
    """[raters, truth left/right, clicked left/tie/right]; a vote of unknown side counts half mirrored."""
    cells = len(table.raters) * 6
    counts = np.zeros(cells)
    for item, rater, clicked, first_left, known in _parts(table):
        left_true = np.where(first_left, truth[item], 1 - truth[item])
        share = np.where(known, 1.0, 0.5)
        mirror = ~known
        for place, chance in ((0, left_true), (1, 1 - left_true)):
            counts += np.bincount(rater * 6 + place * 3 + clicked, share * chance, cells)
            if mirror.any():
                turned = rater[mirror] * 6 + (1 - place) * 3 + 2 - clicked[mirror]
                counts += np.bincount(turned, 0.5 * chance[mirror], cells)
    found = counts.reshape(-1, 2, 3) + _PRIOR * _PRIOR_VOTES
    return found / found.sum(2, keepdims=True)


def _evidence(table: VoteTable, skill: Array) -> Array:
    """[items] what their votes say for "the first is better", in log odds."""
    evidence = np.zeros(len(table.known))
    mirrored = (skill + skill[:, ::-1, ::-1]) / 2
    seen, unseen = np.log(skill[:, 0] / skill[:, 1]), np.log(mirrored[:, 0] / mirrored[:, 1])
    for item, rater, clicked, first_left, known in _parts(table):
        tells = np.where(known, seen[rater, clicked], unseen[rater, clicked])
        np.add.at(evidence, item, np.where(first_left, 1, -1) * tells)
    return evidence


def _tie_share(table: VoteTable, weight: Array, items: int) -> Array:
    votes, ties = np.zeros(items), np.zeros(items)
    for start in range(0, len(table.item), _PART):
        part = slice(start, start + _PART)
        heard = weight[table.rater[part]]
        np.add.at(votes, table.item[part], heard)
        np.add.at(ties, table.item[part], heard * (table.choice[part] == 0))
    return np.where(votes > 0, ties / np.maximum(votes, 1e-12), 1.0)


def _describe(skill: Array, votes: int) -> PairRater:
    """`skill` of one rater, [truth left/right, clicked left/tie/right], as numbers that people understand."""
    decided = skill[:, [0, 2]] / skill[:, [0, 2]].sum(1, keepdims=True)
    accuracy = float((decided[0, 0] + decided[1, 1]) / 2)
    return PairRater(
        votes=votes,
        accuracy=accuracy,
        left=float(decided[:, 0].mean()),
        ties=float(skill[:, 1].mean()),
        weight=max(0.0, 2 * accuracy - 1),
    )
