"""Ridge regression and support vector machines on features, by scikit-learn; how strong to regularise, by folds.

| target | ridge                            | svm                                                  |
|--------|----------------------------------|------------------------------------------------------|
| score  | Hoerl & Kennard 1970             | support vector regression (Drucker et al. 1997)      |
| class  | the same on ±1                   | Cortes & Vapnik 1995                                 |
| pair   | differences x_i − x_j → 1+margin | RankSVM (Herbrich et al. 2000; Joachims 2002, eq. 13) |

A pair with margin m asks w·(x_i − x_j) ≥ 1 + m; a tie asks for nothing but (ridge) that the difference be 0.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError, UsageError
from tutelage.rewards._examples import Examples
from tutelage.rewards._features import Blocks, Scaling

Array = NDArray[np.float64]
KERNEL_ROWS = 4000
"""Above it, kernels (n² numbers) are refused, and linear machines are fitted without one."""
_DENSE_NUMBERS = 4 * 10**7
_FOLDS = 5
_RIDGE = tuple(float(10.0**power) for power in range(-3, 5))
_SVM = tuple(float(10.0**power) for power in range(-4, 3))
_WIDTHS = (0.3, 1.0, 3.0)


class Strength(NamedTuple):
    """How a machine is held back."""

    value: float
    """ridge: α, larger is stricter; svm: C, smaller is stricter"""
    width: float = 1.0
    """RBF: γ in units of 1 / (total variance of the features)"""


@dataclass(frozen=True)
class Machine:
    """score(x) = w·x + b, or Σ c_s exp(−γ‖x − s‖²) + b."""

    weights: Array
    """[D], or [S] with support"""
    intercept: float
    support: Any = None
    """CSR [S, D], or None"""
    gamma: float = 0.0

    def __call__(self, X: Any) -> Array:
        """float64 [n]"""
        if self.support is None:
            return np.asarray(X @ self.weights).ravel() + self.intercept
        return _rbf(X, self.support, self.gamma) @ self.weights + self.intercept


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


def choose(kind: str, blocks: Blocks, found: Examples) -> Chosen:
    """The strength with the best mean over folds of whole prompts; the stricter one of equals.

    Raises:
        DataError: fewer than two prompts, or too few judgements for every fold to be learned from and asked about.
    """
    best: Chosen | None = None
    folds = list(split(found))
    prepared: list[tuple[Any, Examples, Examples, float]] = []
    for train, held_out in folds:
        scaling = Scaling.of(blocks.take(train.used))
        prepared.append((scaling(blocks), train, held_out, scaling.variance(blocks.take(train.used))))
    for strength in _grid(kind):
        seen: list[tuple[float, float]] = []
        for X, train, held_out, variance in prepared:
            scores = solve(kind, X, train, strength, variance)(X)
            seen.append((quality(scores, held_out, train), ordered(scores, held_out)))
        marks, orders = (column[np.isfinite(column)] for column in np.array(seen).T)  # a fold of ties has no order
        if not len(marks):
            raise DataError("all judgements of a fold are ties: nothing can be held out", fix="judge more prompts")
        error = float(marks.std(ddof=1) / len(marks) ** 0.5) if len(marks) > 1 else 0.0
        if best is None or float(marks.mean()) > best.score + 1e-9:
            best = Chosen(strength, float(marks.mean()), error, float(orders.mean()) if len(orders) else np.nan)
    assert best is not None
    return best


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
    if kind == "ridge":
        return _ridge(X, found, strength.value)
    if kind == "svm-rbf":
        return _kernel(X, found, strength.value, strength.width / max(variance, 1e-12))
    return _linear(X, found, strength.value)


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


def _grid(kind: str) -> list[Strength]:
    """Strictest first."""
    if kind == "ridge":
        return [Strength(value) for value in reversed(_RIDGE)]
    return [Strength(value, width) for value in _SVM for width in (_WIDTHS if kind == "svm-rbf" else (1.0,))]


def _ridge(X: Any, found: Examples, alpha: float) -> Machine:
    from sklearn.linear_model import Ridge

    pair = found.target == "pair"
    D = X[found.first] - X[found.second] if pair else X[found.first]
    small = D.shape[0] * D.shape[1] <= _DENSE_NUMBERS
    model = Ridge(alpha=alpha, fit_intercept=not pair, solver="cholesky" if small else "sparse_cg", tol=1e-8)
    model.fit(D.toarray() if small else D, found.y, sample_weight=found.weight)
    return Machine(np.asarray(model.coef_, dtype=np.float64).ravel(), float(model.intercept_))


def _linear(X: Any, found: Examples, C: float) -> Machine:
    from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR

    if found.target == "pair":
        D, y, weight = _differences(X, found)
        _require_two(y)
        model: Any = LinearSVC(C=C, loss="hinge", fit_intercept=False, max_iter=20_000, random_state=0)
        return _fitted(model, D, y, weight)
    y, weight, few = found.y, found.weight, len(found) <= KERNEL_ROWS
    if found.target == "class":
        _require_two(y)
        model = SVC(C=C, kernel="linear") if few else LinearSVC(C=C, loss="hinge", max_iter=20_000, random_state=0)
    else:  # scores lie within 0..1: a tube of a twentieth
        model = SVR(C=C, kernel="linear", epsilon=0.05) if few else LinearSVR(C=C, epsilon=0.05, random_state=0)
    return _fitted(model, X[found.first], y, weight)


def _require_two(y: Array) -> None:
    """
    Raises:
        DataError: a support vector machine would have nothing to tell apart.
    """
    if len(set(y.tolist())) < 2:
        raise DataError(
            "of some fold too little is left to tell two things apart", fix="give more judgements, or --kind ridge"
        )


def _fitted(model: Any, D: Any, y: Array, weight: Array) -> Machine:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():  # the weak end of the grid is slow, and not chosen for its last digits
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(D, y, sample_weight=weight)
    coef = model.coef_.toarray() if hasattr(model.coef_, "toarray") else model.coef_
    intercept = float(np.ravel(model.intercept_)[0]) if np.ndim(model.intercept_) else float(model.intercept_)
    return Machine(np.asarray(coef, dtype=np.float64).ravel(), intercept)


def _differences(X: Any, found: Examples) -> tuple[Any, Array, Array]:
    """Hinge on w·d ≥ 1 + m is (1 + m) times the hinge on w·d/(1 + m) ≥ 1. Every second pair is turned round."""
    import scipy.sparse as sp

    rows = np.flatnonzero(found.y > 0)
    need = found.y[rows]
    side = np.where(np.arange(len(rows)) % 2, -1.0, 1.0)
    D = X[found.first[rows]] - X[found.second[rows]]
    return sp.diags(side / need) @ D, side, found.weight[rows] * need


def _kernel(X: Any, found: Examples, C: float, gamma: float) -> Machine:
    from sklearn.svm import SVC, SVR

    if len(found) > KERNEL_ROWS:
        raise UsageError(
            f"{len(found)} judgements are too many for a kernel (limit {KERNEL_ROWS})",
            fix="--kind svm, ridge, or a neural kind",
        )
    if found.target == "pair":
        return _kernel_rank(X, found, C, gamma)
    D = X[found.first]
    if found.target == "class":
        _require_two(found.y)
    model: Any = SVC(C=C, kernel="precomputed") if found.target == "class" else SVR(C=C, kernel="precomputed")
    model.fit(_rbf(D, D, gamma), found.y, sample_weight=found.weight)
    weights = np.ravel(model.dual_coef_).astype(np.float64)
    return Machine(weights, float(model.intercept_[0]), D[model.support_], gamma)


def _kernel_rank(X: Any, found: Examples, C: float, gamma: float) -> Machine:
    """RankSVM in the kernel's space: ⟨φ(i) − φ(j), φ(k) − φ(l)⟩ from the kernel of answers.

    Each pair stands there both ways round, with half its weight, so that the best intercept is 0.
    """
    from sklearn.svm import SVC

    rows = np.flatnonzero(found.y > 0)
    if not len(rows):
        raise DataError("of some fold only ties are left", fix="give more judgements, or --kind ridge")
    first, second, need = found.first[rows], found.second[rows], found.y[rows]
    used, place = np.unique(np.concatenate([first, second]), return_inverse=True)
    i, j = place[: len(rows)], place[len(rows) :]
    G = _rbf(X[used], X[used], gamma)
    K = (G[np.ix_(i, i)] - G[np.ix_(i, j)] - G[np.ix_(j, i)] + G[np.ix_(j, j)]) / np.outer(need, need)
    model: Any = SVC(C=C, kernel="precomputed")
    weight = np.tile(found.weight[rows] * need / 2, 2)
    model.fit(np.block([[K, -K], [-K, K]]), np.repeat([1.0, -1.0], len(rows)), sample_weight=weight)
    alpha = np.zeros(2 * len(rows))
    alpha[model.support_] = np.ravel(model.dual_coef_)
    pull = (alpha[: len(rows)] - alpha[len(rows) :]) / need
    weights: Array = (np.bincount(i, pull, len(used)) - np.bincount(j, pull, len(used))).astype(np.float64)
    kept = np.flatnonzero(weights)
    return Machine(weights[kept], 0.0, X[used[kept]], gamma)


def _rbf(X: Any, Y: Any, gamma: float) -> Array:
    from sklearn.metrics.pairwise import rbf_kernel

    return rbf_kernel(X, Y, gamma=gamma)
