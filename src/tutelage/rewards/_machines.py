"""The machines of a classical reward: linear ones, and the RBF kernel, exact for few judgements, else by Nyström.

way = ways(kind, X, judgements, γ)      what does not depend on C is computed once
machine, scores = way(C)                the machine, and its score of each row of X
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError
from tutelage.rewards._examples import Examples

Array = NDArray[np.float64]
EXACT_ROWS = 1000
"""Above it a kernel (n² numbers, and a search in them) is approximated, and linear machines are fitted without one."""
LANDMARKS = 512
"""answers through which Nyström's approximation sees all others"""
_DENSE_NUMBERS = 4 * 10**7
_PASSES = 1000
"""over the pairs: the weak end of the grid would take tens of thousands, and is not chosen for its last digits"""


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


Way = Callable[[float], tuple[Machine, Array]]
"""strength → the machine and its scores of all answers, [A]"""


def ways(kind: str, X: Any, found: Examples, gamma: float) -> Way:
    """A machine's fit for any strength.

    Args:
        kind: `ridge`, `svm` or `svm-rbf`
        X: CSR [A, D], one row for each of `found.answers`
        gamma: of the RBF kernel exp(−γ‖x − s‖²)
    """
    if kind == "svm-rbf":
        return _nystrom(X, found, gamma) if landmarks(kind, found) else _exact(X, found, gamma)
    fit = _ridge if kind == "ridge" else _linear

    def way(strength: float) -> tuple[Machine, Array]:
        machine = fit(X, found, strength)
        return machine, machine(X)

    return way


def landmarks(kind: str, found: Examples) -> int:
    """Through how many answers the kernel is approximated; 0 = it is exact, or there is none."""
    return min(LANDMARKS, len(found.used)) if kind == "svm-rbf" and len(found) > EXACT_ROWS else 0


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
        model: Any = LinearSVC(C=C, loss="hinge", fit_intercept=False, max_iter=_PASSES, random_state=0)
        return _fitted(model, D, y, weight)
    y, weight, few = found.y, found.weight, len(found) <= EXACT_ROWS
    if found.target == "class":
        _require_two(y)
        model = SVC(C=C, kernel="linear") if few else LinearSVC(C=C, loss="hinge", max_iter=_PASSES, random_state=0)
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


def _exact(X: Any, found: Examples, gamma: float) -> Way:
    """The kernel itself, of all answers with all others."""
    from sklearn.svm import SVC, SVR

    G = _rbf(X, X, gamma)
    if found.target == "pair":
        return _rank(X, G, found, gamma)
    rows, K = X[found.first], G[np.ix_(found.first, found.first)]
    if found.target == "class":
        _require_two(found.y)

    def way(C: float) -> tuple[Machine, Array]:
        model: Any = SVC(C=C, kernel="precomputed") if found.target == "class" else SVR(C=C, kernel="precomputed")
        model.fit(K, found.y, sample_weight=found.weight)
        weights, intercept = np.ravel(model.dual_coef_).astype(np.float64), float(model.intercept_[0])
        scores = G[:, found.first[model.support_]] @ weights + intercept
        return Machine(weights, intercept, rows[model.support_], gamma), scores

    return way


def _rank(X: Any, G: Array, found: Examples, gamma: float) -> Way:
    """RankSVM in the kernel's space: ⟨φ(i) − φ(j), φ(k) − φ(l)⟩ from the kernel of answers.

    Each pair stands there both ways round, with half its weight, so that the best intercept is 0.
    """
    from sklearn.svm import SVC

    rows = np.flatnonzero(found.y > 0)
    if not len(rows):
        raise DataError("of some fold only ties are left", fix="give more judgements, or --kind ridge")
    i, j, need = found.first[rows], found.second[rows], found.y[rows]
    K = (G[np.ix_(i, i)] - G[np.ix_(i, j)] - G[np.ix_(j, i)] + G[np.ix_(j, j)]) / np.outer(need, need)
    both = np.block([[K, -K], [-K, K]])
    weight = np.tile(found.weight[rows] * need / 2, 2)

    def way(C: float) -> tuple[Machine, Array]:
        model: Any = SVC(C=C, kernel="precomputed")
        model.fit(both, np.repeat([1.0, -1.0], len(rows)), sample_weight=weight)
        alpha = np.zeros(2 * len(rows))
        alpha[model.support_] = np.ravel(model.dual_coef_)
        pull = (alpha[: len(rows)] - alpha[len(rows) :]) / need
        size = G.shape[0]
        weights: Array = (np.bincount(i, pull, size) - np.bincount(j, pull, size)).astype(np.float64)
        kept = np.flatnonzero(weights)
        return Machine(weights[kept], 0.0, X[kept], gamma), G[:, kept] @ weights[kept]

    return way


def _nystrom(X: Any, found: Examples, gamma: float) -> Way:
    """The kernel through some of the judged answers: a linear machine on their space (Williams & Seeger 2001)."""
    from sklearn.kernel_approximation import Nystroem

    count = landmarks("svm-rbf", found)
    space: Any = Nystroem(kernel="rbf", gamma=gamma, n_components=count, random_state=0)
    Z = space.fit(X[found.used]).transform(X)

    def way(C: float) -> tuple[Machine, Array]:
        flat = _linear(Z, found, C)
        weights = np.asarray(space.normalization_.T @ flat.weights, dtype=np.float64)
        return Machine(weights, flat.intercept, space.components_, gamma), flat(Z)

    return way


def _rbf(X: Any, Y: Any, gamma: float) -> Array:
    from sklearn.metrics.pairwise import rbf_kernel

    return rbf_kernel(X, Y, gamma=gamma)
