"""Do raters say the same? Krippendorff's alpha, percent agreement, Cohen's kappa and Gwet's AC1.

Every function takes long rows `(item, rater, value)`, as they come from the store or a CSV, and answers None where the
number is undefined (nobody shares an item, or everybody always says the same), never NaN.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tutelage.statistics.intervals import Interval, Weights, bootstrap

Level = Literal["nominal", "ordinal", "interval", "ratio"]
Row = tuple[Hashable, Hashable, float]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Table:
    """How often each value was given to each item that at least two answers are about."""

    values: Array
    """[V] the distinct values, sorted"""
    counts: Array
    """[items, V]"""


def _table(rows: Iterable[Row]) -> _Table | None:
    answers: dict[Hashable, list[float]] = {}
    for item, _, value in rows:
        answers.setdefault(item, []).append(value)
    shared = [given for given in answers.values() if len(given) > 1]
    if not shared:
        return None
    values = sorted({value for given in shared for value in given})
    column = {value: index for index, value in enumerate(values)}
    counts = np.zeros((len(shared), len(values)))
    for index, given in enumerate(shared):
        for value in given:
            counts[index, column[value]] += 1
    return _Table(np.asarray(values, dtype=np.float64), counts)


def krippendorff_alpha(rows: Iterable[Row], level: Level = "nominal") -> float | None:
    """Krippendorff's alpha: 1 = perfect, 0 = as by chance (Krippendorff 2011, any number of raters, missing data).

    Args:
        rows: (item, rater, value); the same rater may answer an item more than once.
        level: nominal for choices, ordinal for scores in order, interval for differences that mean something.
    """
    table = _table(rows)
    return None if table is None else _alpha(table, level, np.ones(len(table.counts)))


def alpha_interval(
    rows: Iterable[Row], level: Level = "nominal", *, draws: int = 500, seed: int = 0
) -> Interval | None:
    """Alpha with its 95% bootstrap interval over items."""
    table = _table(rows)
    if table is None:
        return None
    return bootstrap(lambda drawn: _alpha(table, level, drawn), len(table.counts), draws=draws, seed=seed)


def _alpha(table: _Table, level: Level, drawn: Weights) -> float | None:
    answers = table.counts.sum(1)
    totals = drawn @ table.counts
    distance = _distance(table.values, totals, level)
    # observed: every ordered pair of answers within an item, each item weighing as much as it has answers
    pairs = ((table.counts @ distance) * table.counts).sum(1)  # a value is at distance 0 from itself
    observed = float((drawn * pairs / (answers - 1)).sum())
    expected = float(totals @ distance @ totals)
    everything = float(totals.sum())
    return None if expected <= 0 else 1 - (everything - 1) * observed / expected


def _distance(values: Array, totals: Array, level: Level) -> Array:
    """Squared distances between values, [V, V]."""
    if level == "nominal":
        return 1.0 - np.eye(len(values))
    if level == "interval":
        return (values[:, None] - values[None, :]) ** 2
    if level == "ratio":
        added = values[:, None] + values[None, :]
        return np.where(added == 0, 0.0, ((values[:, None] - values[None, :]) / np.where(added == 0, 1.0, added)) ** 2)
    below = np.cumsum(totals) - totals / 2  # ordinal: how many answers lie between the two values
    return (below[:, None] - below[None, :]) ** 2


def percent_agreement(rows: Iterable[Row], *, draws: int = 500, seed: int = 0) -> Interval | None:
    """Share of equal ones among the pairs of answers to the same item; bootstrap over items."""
    table = _table(rows)
    if table is None:
        return None
    answers = table.counts.sum(1)
    pairs = answers * (answers - 1)
    equal = (table.counts * (table.counts - 1)).sum(1)

    def share(drawn: Weights) -> float | None:
        everything = float(drawn @ pairs)
        return float(drawn @ equal) / everything if everything else None

    return bootstrap(share, len(answers), draws=draws, seed=seed)


def shared_items(rows: Iterable[Row]) -> int:
    """How many items have at least two answers."""
    table = _table(rows)
    return 0 if table is None else len(table.counts)


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """Cohen's kappa of two raters who judged the same items in the same order (Cohen 1960)."""
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} answers do not pair up")
    if not first:
        return None
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / len(first)
    chance = sum(first.count(value) * second.count(value) for value in set(first)) / len(first) ** 2
    return None if chance >= 1 else (observed - chance) / (1 - chance)


def gwet_ac1(rows: Iterable[Row]) -> float | None:
    """Gwet's AC1, which unlike kappa does not collapse when one answer dominates (Gwet 2008)."""
    table = _table(rows)
    if table is None or len(table.values) < 2:
        return None
    answers = table.counts.sum(1)
    observed = float(((table.counts * (table.counts - 1)).sum(1) / (answers * (answers - 1))).mean())
    prevalence = (table.counts / answers[:, None]).mean(0)
    chance = float((prevalence * (1 - prevalence)).sum()) / (len(table.values) - 1)
    return (observed - chance) / (1 - chance)
