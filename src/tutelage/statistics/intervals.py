"""How sure a number is: Wilson for shares, the percentile bootstrap over whole clusters for everything else."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
FEWEST = 3
"""Clusters below which a bootstrap says nothing: every draw of one is the data itself, and two show hardly more."""


class Interval(NamedTuple):
    """An estimate with the ends of its interval."""

    value: float
    low: float
    high: float


def wilson(successes: float, trials: float, z: float = 1.959964) -> Interval | None:
    """The Wilson score interval of a share (Wilson 1927); None without trials, as there is nothing to estimate."""
    if trials <= 0:
        return None
    share = successes / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def bootstrap(
    estimate: Callable[[Weights], float | None], clusters: int, *, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> Interval | None:
    """The percentile bootstrap: clusters are drawn with replacement, as a whole (Efron 1979).

    Args:
        estimate: the statistic given how often each cluster was drawn (float64 [clusters]); None = undefined.
        clusters: how many there are (items, prompts).

    Returns:
        None when the statistic is undefined on the data itself.
    """
    value = estimate(np.ones(clusters))
    if value is None:
        return None
    rng = np.random.default_rng(seed)
    shares = np.full(clusters, 1.0 / clusters)
    drawn = (estimate(rng.multinomial(clusters, shares).astype(np.float64)) for _ in range(draws))
    values = [number for number in drawn if number is not None]
    if not values:
        return Interval(value, value, value)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))
