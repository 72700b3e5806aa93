"""Whom to believe: Dawid–Skene for choices among classes, and a side-aware form of it for pairwise votes.

Both are EM on the same idea: what is true and how each rater errs explain each other. For pairs, a rater's errors are
described per *screen side* (what is chosen when the truth stands left, or right), so that somebody who mostly clicks
left, somebody who clicks anywhere and somebody who answers upside down are all seen, and their votes count for what
they tell: log P(vote | truth left) − log P(vote | truth right), which may be nothing or the opposite.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
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


def believe_raters(
    votes: Sequence[PairVote], *, gold: Mapping[str, int] | None = None, rounds: int = 200, tolerance: float = 1e-6
) -> PairModel:
    """Side-aware Dawid–Skene over pairwise votes, by EM from the majority; both answers equally probable beforehand.

    With less than two votes per item nothing tells raters apart; they all keep the prior.

    Args:
        gold: item → +1 or −1 where the truth is known: raters are measured by it. 0 says nothing.
    """
    items, item = numbered([vote.item for vote in votes])
    names, rater = numbered([vote.rater for vote in votes])
    choice = np.array([vote.choice for vote in votes], dtype=np.int64)
    known = np.array([vote.left is not None for vote in votes], dtype=bool)
    first_left = np.array([vote.left is not False for vote in votes], dtype=bool)
    clicked = 1 - np.where(first_left, choice, -choice)  # column: 0 = left, 1 = tie, 2 = right
    fixed = np.array([(gold or {}).get(name, 0) for name in items], dtype=np.int64)
    truth = np.where(fixed == 0, _majority(item, choice, len(items)), fixed > 0)
    skill = np.zeros(0)
    for _ in range(rounds):
        skill = _skill(rater, clicked, known, np.where(first_left, truth[item], 1 - truth[item]), len(names))
        evidence = np.zeros(len(items))
        np.add.at(evidence, item, np.where(first_left, 1, -1) * _tells(skill, rater, clicked, known))
        new = np.where(fixed == 0, 1 / (1 + np.exp(-np.clip(evidence, -30, 30))), fixed > 0)
        moved = float(np.abs(new - truth).max(initial=0.0))
        truth = new
        if moved < tolerance:
            break
    described = {name: _describe(skill[index], int((rater == index).sum())) for index, name in enumerate(names)}
    weight = np.array([described[name].weight for name in names] or [0.0])
    ties = _tie_share(item, choice, weight[rater] if len(votes) else np.zeros(0), len(items))
    return PairModel(
        first=dict(zip(items, map(float, truth), strict=True)),
        ties=dict(zip(items, map(float, ties), strict=True)),
        raters=described,
        overlap=len(votes) / max(1, len(items)),
    )


def believe_everyone(votes: Sequence[PairVote]) -> PairModel:
    """The plain majority, every rater weighing 1: P(first) is the share of votes for it, ties counting half."""
    items, item = numbered([vote.item for vote in votes])
    choice = np.array([vote.choice for vote in votes], dtype=np.int64)
    everyone = believe_raters(votes).raters
    told = {name: PairRater(each.votes, each.accuracy, each.left, each.ties, 1.0) for name, each in everyone.items()}
    return PairModel(
        first=dict(zip(items, map(float, _majority(item, choice, len(items))), strict=True)),
        ties=dict(zip(items, map(float, _tie_share(item, choice, np.ones(len(votes)), len(items))), strict=True)),
        raters=told,
        overlap=len(votes) / max(1, len(items)),
    )


def numbered(values: Sequence[H]) -> tuple[list[H], Indices]:
    """The distinct values, sorted as text, and each value's place among them."""
    distinct = sorted(set(values), key=str)
    place = {value: index for index, value in enumerate(distinct)}
    return distinct, np.array([place[value] for value in values], dtype=np.int64)


def _majority(item: Indices, choice: Indices, items: int) -> Array:
    votes = np.bincount(item, minlength=items)
    return np.bincount(item, weights=(choice + 1) / 2, minlength=items) / np.maximum(votes, 1)


def _skill(rater: Indices, clicked: Indices, known: NDArray[np.bool_], left_true: Array, raters: int) -> Array:
    """[raters, truth left/right, clicked left/tie/right]; a vote of unknown side counts half mirrored."""
    counts = np.zeros((raters, 2, 3))
    share = np.where(known, 1.0, 0.5)
    mirror = ~known
    for truth, chance in ((0, left_true), (1, 1 - left_true)):
        np.add.at(counts[:, truth], (rater, clicked), share * chance)
        np.add.at(counts[:, 1 - truth], (rater[mirror], 2 - clicked[mirror]), 0.5 * chance[mirror])
    counts += _PRIOR * _PRIOR_VOTES
    return counts / counts.sum(2, keepdims=True)


def _tells(skill: Array, rater: Indices, clicked: Indices, known: NDArray[np.bool_]) -> Array:
    """What each vote says for "the truth is left", in log odds."""
    if not len(rater):
        return np.zeros(0)
    seen = np.log(skill[rater, 0, clicked] / skill[rater, 1, clicked])
    mirrored = (skill + skill[:, ::-1, ::-1]) / 2
    return np.where(known, seen, np.log(mirrored[rater, 0, clicked] / mirrored[rater, 1, clicked]))


def _tie_share(item: Indices, choice: Indices, weight: Array, items: int) -> Array:
    votes = np.bincount(item, weights=weight, minlength=items)
    ties = np.bincount(item, weights=weight * (choice == 0), minlength=items)
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
