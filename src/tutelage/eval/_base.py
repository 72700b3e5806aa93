"""One measured number with its 95% interval, and the intervals themselves (NumPy only)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
RESAMPLES = 2000
_Z = 1.959963984540054  # 97.5% quantile of the normal distribution
SUMMARY = {
    "gold_before": "baseline/gold",
    "gold_after": "model/gold",
    "gold_gain": "gain/gold",
    "win_rate": "win_rate",
    "stop_rate": "model/stop_rate",
    "kl": "kl",
    "reward_accuracy": "reward_accuracy",
    "length_only_accuracy": "length_only_accuracy",
    "rater_agreement": "rater_agreement",
}
"""number in `summary.json` → measure in `eval.json`"""


@dataclass(frozen=True)
class Measure:
    """A number, how sure it is and how it was found.

    Example:
        >>> Measure(0.71, 0.64, 0.78, 200, "blind comparisons, ties half; bootstrap by prompt")
    """

    value: float
    low: float | None = None
    """Lower end of the 95% interval; None where no interval is defined."""
    high: float | None = None
    n: int = 0
    """How many independent things (prompts, groups) it rests on."""
    how: str = ""

    def as_json(self) -> dict[str, Any]:
        """A JSON object without NaN."""
        return {key: _finite(value) for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Measure:
        """The measure that `as_json` wrote; a value that was not finite comes back as NaN."""
        value = row.get("value")
        return cls(
            math.nan if value is None else float(value),
            row.get("low"),
            row.get("high"),
            int(row.get("n", 0)),
            str(row.get("how", "")),
        )


def wilson(wins: float, n: int) -> tuple[float, float]:
    """95% Wilson score interval of a proportion `wins / n`; ties may count half (Wilson 1927, eq. 5).

    Raises:
        ValueError: `n` is not positive, or `wins` is outside [0, n].
    """
    if n <= 0 or not 0 <= wins <= n:
        raise ValueError(f"a proportion needs 0 <= wins <= n and n > 0, not {wins} of {n}")
    share, z2 = wins / n, _Z * _Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return (max(0.0, middle - half) if wins else 0.0), (min(1.0, middle + half) if wins < n else 1.0)


def bootstrap_mean(
    values: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    weights: Sequence[float] | None = None,
    *,
    how: str = "",
    seed: int = 0,
) -> Measure:
    """Weighted mean of `values` with a 95% percentile bootstrap over clusters (default: each value is its own).

    Values of one cluster (answers to one prompt, pairs of one ranking) are drawn together, since they are not
    independent. With fewer than two clusters there is no interval.

    Raises:
        ValueError: no values, lengths that differ, or weights that sum to nothing.
    """
    data = np.asarray(values, dtype=np.float64)
    weight = np.ones_like(data) if weights is None else np.asarray(weights, dtype=np.float64)
    keys = list(range(len(data))) if clusters is None else list(clusters)
    if not len(data) or not len(data) == len(weight) == len(keys):
        raise ValueError(f"{len(data)} values, {len(weight)} weights and {len(keys)} clusters")
    index, count = _numbered(keys)
    top = np.bincount(index, weights=data * weight, minlength=count)
    bottom = np.bincount(index, weights=weight, minlength=count)
    if bottom.sum() <= 0:
        raise ValueError("the weights sum to nothing")
    value = float(top.sum() / bottom.sum())
    if count < 2:
        return Measure(value, n=count, how=how)
    draws = resamples(count, seed)
    low, high = percentiles((draws @ top) / np.maximum(draws @ bottom, 1e-300))
    return Measure(value, low, high, count, how)


def bootstrap_gain(
    before: Sequence[float],
    after: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    *,
    how: str = "",
    seed: int = 0,
) -> Measure:
    """Mean of `after - before`, paired by position, with a 95% bootstrap over clusters.

    Raises:
        ValueError: the two have different lengths, or are empty.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} values before and {len(after)} after cannot be paired")
    return bootstrap_mean([b - a for a, b in zip(before, after, strict=True)], clusters, how=how, seed=seed)


def standard_error(values: Sequence[float]) -> float:
    """Standard error of the mean of independent values; 0 for fewer than two."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0


def resamples(count: int, seed: int, draws: int = RESAMPLES) -> Array:
    """float64 [draws, count]: how often each of `count` clusters is drawn in each bootstrap resample."""
    return np.random.default_rng([seed, count]).multinomial(count, np.full(count, 1 / count), size=draws).astype(float)


def percentiles(draws: Array) -> tuple[float, float]:
    """The 2.5% and 97.5% percentiles of bootstrap draws."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def _numbered(keys: Sequence[Hashable]) -> tuple[NDArray[np.int64], int]:
    order: dict[Hashable, int] = {}
    index = np.array([order.setdefault(key, len(order)) for key in keys], dtype=np.int64)
    return index, len(order)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
