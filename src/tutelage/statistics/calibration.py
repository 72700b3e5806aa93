"""Whether margins of a reward model are the log odds that they claim to be: the temperature that makes them so."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_MOST = 1e3


def temperature(margins: Array, weights: Array | None = None) -> float:
    """T > 0 that minimises Σ w·(−log σ(margin / T)) (Guo et al. 2017, 1706.04599, §4.2), between 1/1000 and 1000.

    T > 1 says that the model is surer than it is right. Where the margins know nothing (or are wrong more often than
    not) T is 1000: no certainty at all.

    Args:
        margins: [P], score(better) − score(worse); ties are left out by the caller.
    """
    weight = np.ones_like(margins) if weights is None else weights
    low, high = 1 / _MOST, _MOST  # of a = 1/T; the slope in a rises, so it crosses 0 once
    for _ in range(100):
        middle = (low * high) ** 0.5
        slope = -(weight * margins * np.exp(-np.logaddexp(0.0, middle * margins))).sum()
        low, high = (middle, high) if slope < 0 else (low, middle)
    return float(1 / (low * high) ** 0.5)
