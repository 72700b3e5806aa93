"""Ridge regression and support vector machines on features, by scikit-learn; how strong to regularise, by folds.

| target | ridge                            | svm                                                  |
|--------|----------------------------------|------------------------------------------------------|
| score  | Hoerl & Kennard 1970             | support vector regression (Drucker et al. 1997)      |
| class  | the same on ±1                   | Cortes & Vapnik 1995                                 |
| pair   | differences x_i − x_j → 1+margin | RankSVM (Herbrich et al. 2000; Joachims 2002, eq. 13) |

A pair with margin m asks w·(x_i − x_j) ≥ 1 + m; a tie asks for nothing but (ridge) that the difference be 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError
from tutelage.rewards._examples import Examples
from tutelage.rewards._features import Blocks, Scaling
from tutelage.rewards._machines import Machine, Way, ways

Array = NDArray[np.float64]
_FOLDS = 5
_RIDGE = tuple(float(10.0**power) for power in range(4, -4, -1))
_SVM = tuple(float(10.0**power) for power in range(-4, 3))
_WIDTHS = (0.3, 1.0, 3.0)
_PATIENCE = 2
"""strengths in a row that must be clearly worse for the weaker ones to be left untried"""


class Strength(NamedTuple):
    """How a machine is held back."""

    value: float
    """ridge: α, larger is stricter; svm: C, smaller is stricter"""
    width: float = 1.0
    """RBF: γ in units of 1 / (total variance of the features)"""


@dataclass(frozen=True)
class Chosen:
    """What cross-validation chose, and what it saw."""

    strength: Strength
    score: float
    """mean over the folds' held-out rows: accuracy (pair, class) or R² (score)"""
    error: float
    """standard error of that mean over the folds"""
    accuracy: float
    """held-out pairs of answers to one prompt in the right order"""
    tried: int = 0
    """strengths that were tried before it was chosen"""


def choose(kind: str, blocks: Blocks, found: Examples) -> Chosen:
    """The strength with the best mean over folds of whole prompts; the stricter one of equals.

    Each width is followed from strict to weak, and left when two strengths in a row were worse than its best by more
    than one standard error: from there on a machine only learns its pairs by heart, ever more slowly.

    Raises:
        DataError: fewer than two prompts, or too few judgements for every fold to be learned from and asked about.
    """
    prepared: list[tuple[Any, Examples, Examples, float]] = []
    for train, held_out in split(found):
        scaling = Scaling.of(blocks.take(train.used))
        prepared.append((scaling(blocks), train, held_out, scaling.variance(blocks.take(train.used))))
    seen: list[Chosen] = []
    for width in _WIDTHS if kind == "svm-rbf" else (1.0,):
        folds = [
            (ways(kind, X, train, width / max(variance, 1e-12)), train, held_out)
            for X, train, held_out, variance in prepared
        ]
        seen += _followed(folds, width, _RIDGE if kind == "ridge" else _SVM)
    sense = 1.0 if kind == "ridge" else -1.0
    best = max(seen, key=lambda one: (round(one.score, 9), sense * one.strength.value))
    return replace(best, tried=len(seen))


def _followed(folds: Sequence[tuple[Way, Examples, Examples]], width: float, grid: Sequence[float]) -> list[Chosen]:
    """What the folds say of each strength, as far as it is worth following; `grid` from strict to weak."""
    seen: list[Chosen] = []
    for value in grid:
        marks, orders = np.array([_asked(way(value)[1], train, held) for way, train, held in folds]).T
        marks, orders = (column[np.isfinite(column)] for column in (marks, orders))  # a fold of ties has no order
        if not len(marks):
            raise DataError("all judgements of a fold are ties: nothing can be held out", fix="judge more prompts")
        error = float(marks.std(ddof=1) / len(marks) ** 0.5) if len(marks) > 1 else 0.0
        accuracy = float(orders.mean()) if len(orders) else np.nan
        seen.append(Chosen(Strength(value, width), float(marks.mean()), error, accuracy))
        top = max(seen, key=lambda one: one.score)
        if len(seen) - seen.index(top) > _PATIENCE and all(
            one.score < top.score - top.error for one in seen[-_PATIENCE:]
        ):
            break
    return seen


def _asked(scores: Array, train: Examples, held_out: Examples) -> tuple[float, float]:
    return quality(scores, held_out, train), ordered(scores, held_out)


def split(found: Examples) -> Iterator[tuple[Examples, Examples]]:
    """(train, held out) of each fold; a prompt stands on one side only."""
    from sklearn.model_selection import GroupKFold

    groups = len(set(found.group.tolist()))
    if groups < 2:
        raise DataError("judgements of one prompt only: nothing can be held out", fix="judge answers to more prompts")
    folds = GroupKFold(min(_FOLDS, groups)).split(found.y, groups=found.group)
    for train, held_out in folds:
        yield found.take(train), found.take(held_out)


def solve(kind: str, X: Any, found: Examples, strength: Strength, variance: float = 1.0) -> Machine:
    """Fit one machine.

    Args:
        kind: `ridge`, `svm` or `svm-rbf`.
        X: CSR [A, D], one row for each of `found.answers`.
        variance: total variance of the features, the unit of the RBF's width.
    """
    return ways(kind, X, found, strength.width / max(variance, 1e-12))(strength.value)[0]


def quality(scores: Array, found: Examples, train: Examples) -> float:
    """Held-out accuracy (pair, class) or 1 − squared error / squared error of the training mean (score)."""
    if found.target == "score":
        mean = np.average(train.y, weights=train.weight)
        error, plain = (found.y - scores[found.first]) ** 2, (found.y - mean) ** 2
        total = float(np.sum(found.weight * plain))
        return 1 - float(np.sum(found.weight * error)) / total if total else 0.0
    if found.target == "class":
        right = np.sign(scores[found.first]) == found.y
        return float(np.average(right, weights=found.weight))
    return ordered(scores, found)


def ordered(scores: Array, found: Examples) -> float:
    """Weighted share of pairs in the right order, equal scores counting half; NaN without pairs."""
    first, second, weight = _pairs(found)
    if not len(first):
        return np.nan
    gap = scores[first] - scores[second]
    return float(np.average((gap > 0) + 0.5 * (gap == 0), weights=weight))


def _pairs(found: Examples) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    """Judged pairs that are no ties; of scores and classes, those within one prompt that differ."""
    if found.target == "pair":
        rows = np.flatnonzero(found.y > 0)
        return found.first[rows], found.second[rows], found.weight[rows]
    first: list[int] = []
    second: list[int] = []
    for group in np.unique(found.group):
        rows = np.flatnonzero(found.group == group)
        for one, two in product(rows, rows):
            if found.y[one] > found.y[two]:
                first.append(int(found.first[one]))
                second.append(int(found.first[two]))
    return np.array(first, dtype=np.int64), np.array(second, dtype=np.int64), np.ones(len(first))
