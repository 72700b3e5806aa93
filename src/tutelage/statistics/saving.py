"""What asking about chosen pairs saves against asking at random: labels to the same accuracy, with an interval.

Each replicate (a seed, or another split) gives two curves of held-out accuracy against labels. The mean of the random
curves ends at the target; the saving is 1 − labels at which the mean of the chosen ones reaches it / labels at which
the random one does, and the interval draws replicates. Means are taken where every curve has been, made non-decreasing
(the best so far) and read linearly between their points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.statistics.intervals import Interval, Weights, bootstrap, wilson

Curve = Sequence[tuple[float, float]]
"""(labels, held-out accuracy), at least two points"""
_LEAST_LABELS = 200


@dataclass(frozen=True)
class Saving:
    """Share of the labels that was saved; negative: it took more."""

    interval: Interval | None
    """over replicates; None: fewer than five of them, which says nothing"""
    replicates: int

    def __str__(self) -> str:
        if self.interval is None:
            return f"no saving shown: {self.replicates} replicates, 5 are the least"
        value, low, high = (f"{100 * number:.0f}%" for number in self.interval)
        if self.interval.low <= 0 <= self.interval.high:
            return f"no saving ({value}, {low} to {high})"
        return f"{value} of the labels saved ({low} to {high})" if self.interval.low > 0 else f"costs {value[1:]} more"


def labels_saved(random: Sequence[Curve], chosen: Sequence[Curve], *, draws: int = 1000, seed: int = 0) -> Saving:
    """The saving over replicates: random[i] and chosen[i] belong together (the same seed, the same held-out rows)."""
    if len(random) != len(chosen):
        raise ValueError(f"{len(random)} and {len(chosen)} curves do not pair up")
    if len(random) < 5:
        return Saving(None, len(random))
    grid = np.unique([labels for curve in (*random, *chosen) for labels, _ in curve])
    first = max(min(labels for labels, _ in curve) for curve in (*random, *chosen))
    last = min(max(labels for labels, _ in curve) for curve in (*random, *chosen))
    grid = grid[(grid >= first) & (grid <= last)]
    heights = [np.array([_read(curve, grid) for curve in arm]) for arm in (random, chosen)]

    def saved(drawn: Weights) -> float:
        one, other = (list(zip(grid.tolist(), (drawn @ arm / drawn.sum()).tolist(), strict=True)) for arm in heights)
        target = max(accuracy for _, accuracy in one)
        return 1 - _labels_to(other, target) / _labels_to(one, target)

    return Saving(bootstrap(saved, len(random), draws=draws, seed=seed), len(random))


def _read(curve: Curve, grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """The accuracy at each of `grid`."""
    points = np.array(sorted(curve), dtype=np.float64)
    return np.asarray(np.interp(grid, points[:, 0], points[:, 1]), dtype=np.float64)


def _labels_to(curve: Curve, target: float) -> float:
    """Labels at which the best so far reaches `target`; where it never does, its last point and a half more."""
    best, labels = -np.inf, 0.0
    for number, accuracy in sorted(curve):
        if accuracy >= target:
            share = 1.0 if best == -np.inf or accuracy == best else (target - best) / (accuracy - best)
            return labels + share * (number - labels)
        if accuracy > best:
            best, labels = accuracy, number
    return 1.5 * max(number for number, _ in curve)


def why_still_random(labels: int, right: int, tried: int) -> str:
    """Why pairs should still be chosen at random; empty: the reward model knows enough to choose them.

    Args:
        labels: judgements so far.
        right: held-out pairs on which the reward model agrees with people, of `tried`.
    """
    if labels < _LEAST_LABELS:
        return f"{labels} labels, {_LEAST_LABELS} are the least: the heads of a reward model are still noise"
    share = wilson(right, tried)
    if share is None or share.value <= 0.55 or share.low <= 0.5:
        told = "unknown" if share is None else f"{share.value:.2f} ({share.low:.2f} to {share.high:.2f})"
        return f"held-out accuracy {told}: above 0.55 with an interval above 0.5 is wanted"
    return ""
