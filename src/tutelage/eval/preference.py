"""How often a scorer agrees with people: accuracy with its interval, calibration, and the length-only baseline."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from tutelage.eval._base import Measure, bootstrap_mean
from tutelage.eval.text import tokens
from tutelage.types import Preference, plain

_TIE = 1e-9


def accuracy(
    margins: Sequence[float], groups: Sequence[Hashable] | None = None, weights: Sequence[float] | None = None
) -> Measure:
    """Share of pairs with `margin = score(chosen) - score(rejected) > 0`, equal scores half, 0–1.

    The interval is a bootstrap over `groups` (one question, or one prompt: its pairs are not independent).

    Raises:
        ValueError: no pairs, or a margin that is not finite.
    """
    if not all(math.isfinite(margin) for margin in margins):
        raise ValueError("a margin is not finite")
    right = [0.5 if abs(margin) < _TIE else float(margin > 0) for margin in margins]
    return bootstrap_mean(right, groups, weights, how="pairs where the better answer scores higher; bootstrap by group")


@dataclass(frozen=True)
class Calibration:
    """Whether "70% sure" is right 70% of the time.

    Example:
        >>> calibration([2.0, 1.0, -0.5]).ece
    """

    ece: float
    """Expected calibration error, 0–0.5: mean |confidence - accuracy| over bins, by their size."""
    bins: tuple[tuple[float, float, int], ...]
    """(mean confidence, accuracy, pairs) of each bin that holds a pair."""


def calibration(margins: Sequence[float], bins: int = 10) -> Calibration:
    """Calibration of the Bradley–Terry probability sigmoid(|margin|), in `bins` of equal width on [0.5, 1].

    Source: Guo et al. 2017 (ECE), folded to the answer that the scorer prefers, since chosen always comes first.
    """
    if not margins:
        raise ValueError("no pairs")
    data = np.asarray(margins, dtype=np.float64)
    confidence = 1 / (1 + np.exp(-np.abs(data)))
    right = np.where(np.abs(data) < _TIE, 0.5, data > 0)
    place = np.minimum(((confidence - 0.5) * 2 * bins).astype(int), bins - 1)
    rows = [
        (float(confidence[place == b].mean()), float(right[place == b].mean()), int((place == b).sum()))
        for b in range(bins)
        if (place == b).any()
    ]
    return Calibration(sum(abs(sure - share) * n for sure, share, n in rows) / len(data), tuple(rows))


def length_only(pairs: Sequence[Preference], train: Sequence[Preference] | None = None) -> Measure:
    """Accuracy of a rule that looks at length alone: "longer is better" or "shorter is better", 0–1.

    The direction is learned on `train`; without it the better of both on `pairs` is taken, which flatters the
    baseline. Length is counted in words (Chinese: characters); equal lengths count half.

    Raises:
        ValueError: no pairs.
    """
    if not pairs:
        raise ValueError("no pairs")
    differences = _length_margins(pairs)
    learned = differences if train is None else _length_margins(train)
    sign = 1.0 if sum(float(d > 0) - float(d < 0) for d in learned) >= 0 else -1.0
    found = accuracy([sign * d for d in differences], [pair.group or i for i, pair in enumerate(pairs)])
    rule = "longer is better" if sign > 0 else "shorter is better"
    source = "these pairs" if train is None else "the training pairs"
    return Measure(found.value, found.low, found.high, found.n, f"rule '{rule}', direction from {source}")


def _length_margins(pairs: Sequence[Preference]) -> list[float]:
    return [float(len(tokens(plain(pair.chosen))) - len(tokens(plain(pair.rejected)))) for pair in pairs]
