"""What more labels would bring: accuracy of a small reward on fixed features, fitted to ever more of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
_POWERS = np.linspace(0.3, 1.0, 8)
_RIDGES = (1.0, 10.0, 100.0)
_MOST_FEATURES = 96
_LEAST_GROUPS = 32


@dataclass(frozen=True)
class LearningCurve:
    """Held-out accuracy against the number of pairs learned from, and where it leads.

    Example:
        >>> curve.points[-1], curve.sentence()
        ((1703, 0.712), '60 more pairs: +0.1 points (-0.0 to 0.4); twice as many: +1.2 points (-0.2 to 3.0)')
    """

    points: tuple[tuple[int, float], ...]
    """(pairs, held-out accuracy 0–1, mean over draws)"""
    more: int
    gain: tuple[float, float, float]
    """points of accuracy (0–1) that `more` pairs would add: guess, 10% and 90% of the draws"""
    double: tuple[float, float, float]
    """the same for twice as many pairs"""
    power: float
    """c of error(n) = a + b·n^(−c)"""

    def sentence(self) -> str:
        """Both guesses in words."""
        one, two = (
            f"{g * 100:+.1f} points ({lo * 100:.1f} to {hi * 100:.1f})" for g, lo, hi in (self.gain, self.double)
        )
        return f"{self.more} more pairs: {one}; twice as many: {two}"

    def as_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return asdict(self)


def learning_curve(
    train: Array,
    held_out: Array,
    groups: Sequence[str],
    *,
    held_out_groups: Sequence[str] = (),
    more: int = 60,
    draws: int = 8,
    seed: int = 0,
) -> LearningCurve | None:
    """Fit Bradley–Terry on feature differences of ever more groups of pairs, and a power law to the held-out error.

    The law error(n) = a + b·n^(−c), a, b ≥ 0 (Hestness et al. 2017, 1712.00409) is fitted to each draw, which takes
    other groups to learn from and other held-out groups; the draws give the interval. What it says holds for a linear
    reward on the features of the model that training began with: a guess, and on the careful side where fine-tuning
    learns features too. None: too few groups, or no features.

    Args:
        train, held_out: [P, H] features of the better answer less those of the worse.
        groups: of the training pairs (prompts); pairs of one group stay together.
        more: how many pairs more to guess for.
    """
    names = sorted(set(groups))
    if len(names) < _LEAST_GROUPS or len(held_out) < _LEAST_GROUPS or not train.shape[1]:
        return None
    train, held_out = _reduced(train, held_out)
    member = np.array([{name: place for place, name in enumerate(names)}[group] for group in groups])
    tested = list(held_out_groups) or [str(index) for index in range(len(held_out))]
    places = {name: place for place, name in enumerate(sorted(set(tested)))}
    test_member = np.array([places[name] for name in tested])
    rng = np.random.default_rng([seed, len(train)])
    ridge = _choose_ridge(train, member, rng)
    errors, sizes = np.zeros((draws, len(_SHARES))), np.zeros((draws, len(_SHARES)))
    for draw in range(draws):
        order = rng.permutation(len(names))
        weight = rng.exponential(size=len(places))[test_member]
        for column, share in enumerate(_SHARES):
            taken = np.isin(member, order[: max(2, round(share * len(names)))])
            margin = held_out @ _fit(train[taken], ridge)
            wrong = np.where(margin == 0, 0.5, margin < 0)
            errors[draw, column], sizes[draw, column] = np.average(wrong, weights=weight), taken.sum()
    now = len(train)
    laws = [_law(sizes[draw], errors[draw]) for draw in range(draws)]
    whole = _law(sizes.mean(0), errors.mean(0))
    return LearningCurve(
        points=tuple((round(float(n)), 1 - float(e)) for n, e in zip(sizes.mean(0), errors.mean(0), strict=True)),
        more=more,
        gain=_gain(whole, laws, now, now + more),
        double=_gain(whole, laws, now, 2 * now),
        power=whole[2],
    )


def _reduced(train: Array, held_out: Array) -> tuple[Array, Array]:
    """On the largest principal directions, each with variance 1 on the training pairs."""
    _, scale, directions = np.linalg.svd(train, full_matrices=False)
    kept = min(_MOST_FEATURES, int((scale > scale[0] * 1e-6).sum()))
    basis = directions[:kept].T / (scale[:kept] / np.sqrt(len(train)))
    return train @ basis, held_out @ basis


def _fit(differences: Array, ridge: float) -> Array:
    """argmin Σ −log σ(x·w) + ridge/2·|w|², by Newton."""
    w = np.zeros(differences.shape[1])
    for _ in range(12):
        wrong = np.exp(-np.logaddexp(0.0, differences @ w))
        gradient = ridge * w - differences.T @ wrong
        curvature = (differences * (wrong * (1 - wrong))[:, None]).T @ differences + ridge * np.eye(len(w))
        step = np.linalg.solve(curvature, gradient)
        w = w - step
        if np.abs(step).max() < 1e-6:
            break
    return w


def _choose_ridge(train: Array, member: NDArray[np.int64], rng: np.random.Generator) -> float:
    """The ridge that is best on a fifth of the groups after learning from the rest."""
    left_out = rng.random(member.max() + 1) < 0.2
    test = left_out[member]
    if not test.any() or test.all():
        return _RIDGES[1]
    losses = [np.logaddexp(0, -train[test] @ _fit(train[~test], ridge)).mean() for ridge in _RIDGES]
    return _RIDGES[int(np.argmin(losses))]


def _law(sizes: Array, errors: Array) -> tuple[float, float, float]:
    """(a, b, c) of a + b·n^(−c), least squares with a, b ≥ 0."""
    best = (float(errors.mean()), 0.0, float(_POWERS[0]))
    least = float(((errors - errors.mean()) ** 2).sum())
    for power in _POWERS:
        x = sizes**-power
        slope = float(((x - x.mean()) * (errors - errors.mean())).sum() / max(((x - x.mean()) ** 2).sum(), 1e-30))
        floor = float(errors.mean() - slope * x.mean())
        if floor < 0:
            floor, slope = 0.0, float((x * errors).sum() / (x * x).sum())
        if slope > 0 and (loss := float(((errors - floor - slope * x) ** 2).sum())) < least:
            least, best = loss, (floor, slope, float(power))
    return best


def _gain(
    whole: tuple[float, float, float], laws: Sequence[tuple[float, float, float]], now: int, then: int
) -> tuple[float, float, float]:
    def gained(law: tuple[float, float, float]) -> float:
        return law[1] * (now ** -law[2] - then ** -law[2])

    low, high = np.percentile([gained(law) for law in laws], [10, 90])
    return gained(whole), float(low), float(high)
