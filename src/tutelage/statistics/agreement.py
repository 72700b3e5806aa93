"""Do raters say the same? Krippendorff's alpha, kappas of Cohen and Fleiss, Gwet's AC1, percent agreement, tau-b.

Every function takes long rows `(item, rater, value)`, as they come from the store or a CSV. What is undefined (nobody
shares an item, or everybody always says the same) is None, never NaN; `measure` says which of the two it is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tutelage.statistics.intervals import FEWEST, Interval, Weights, bootstrap

Level = Literal["nominal", "ordinal", "interval", "ratio"]
Coefficient = Literal["alpha", "percent", "fleiss", "ac1", "cohen"]
Row = tuple[Hashable, Hashable, float]
Array = NDArray[np.float64]
NOTHING_SHARED = "nobody shares an item"
NO_VARIATION = "no variation"


@dataclass(frozen=True)
class Agreement:
    """One coefficient with its 95% interval, or the reason why there is none."""

    name: str
    interval: Interval | None
    items: int
    """how many at least two answers are about"""
    undefined: str = ""
    """NOTHING_SHARED or NO_VARIATION where `interval` is None"""
    clusters: int = 0
    """how many clusters (prompts) those items are of; below FEWEST the ends of `interval` say nothing"""

    def __str__(self) -> str:
        if self.interval is None:
            return f"undefined: {self.undefined}"
        if self.clusters < FEWEST:
            return f"{self.interval.value:.2f}"
        return f"{self.interval.value:.2f} ({self.interval.low:.2f} to {self.interval.high:.2f})"


def measure(
    rows: Iterable[Row],
    coefficient: Coefficient,
    level: Level = "nominal",
    *,
    clusters: Mapping[Hashable, Hashable] | None = None,
    draws: int = 500,
    seed: int = 0,
) -> Agreement:
    """A coefficient with its interval by bootstrap over clusters of items.

    Args:
        level: of alpha; the others compare values as names.
        clusters: item → what is drawn as a whole (its prompt); without, every item for itself.
    """
    given = list(rows)
    name = f"alpha ({level})" if coefficient == "alpha" else coefficient
    table = _table(given)
    shared = 0 if table is None else int(table.shared.sum())
    if table is None or not shared:
        return Agreement(name, None, 0, NOTHING_SHARED)
    whole: dict[Hashable, int] = {}
    names = table.items if clusters is None else [clusters[item] for item in table.items]
    place = np.array([whole.setdefault(cluster, len(whole)) for cluster in names])
    statistic = _statistic(given, table, coefficient, level)
    found = bootstrap(lambda drawn: statistic(drawn[place]), len(whole), draws=draws, seed=seed)
    return Agreement(name, found, shared, "" if found else NO_VARIATION, len(set(place[table.shared].tolist())))


def _statistic(
    rows: Sequence[Row], table: _Table, coefficient: Coefficient, level: Level
) -> Callable[[Weights], float | None]:
    """The coefficient given how often each item was drawn."""
    if coefficient == "alpha":
        return lambda drawn: _alpha(table, level, drawn)
    if coefficient == "percent":
        return lambda drawn: _percent(table, drawn)
    if coefficient == "cohen":
        met = _meetings(rows, table)
        return lambda drawn: _mean_kappa(met, drawn, len(table.values))
    return lambda drawn: _gwet(table, drawn, by_chance="fleiss" if coefficient == "fleiss" else "ac1")


@dataclass(frozen=True)
class _Table:
    """How often each value was given to each item."""

    items: Sequence[Hashable]
    values: Array
    """[V] the distinct values, sorted"""
    counts: Array
    """[items, V]"""
    shared: NDArray[np.bool_]
    """[items] whether at least two answers are about it"""


def _table(rows: Iterable[Row]) -> _Table | None:
    answers: dict[Hashable, list[float]] = {}
    for item, _, value in rows:
        answers.setdefault(item, []).append(value)
    if not answers:
        return None
    values = sorted({value for given in answers.values() for value in given})
    column = {value: index for index, value in enumerate(values)}
    counts = np.zeros((len(answers), len(values)))
    for index, given in enumerate(answers.values()):
        for value in given:
            counts[index, column[value]] += 1
    return _Table(list(answers), np.asarray(values, dtype=np.float64), counts, counts.sum(1) > 1)


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
    return measure(rows, "alpha", level, draws=draws, seed=seed).interval


def _alpha(table: _Table, level: Level, drawn: Weights) -> float | None:
    counts, drawn = table.counts[table.shared], drawn[table.shared]
    totals = drawn @ counts
    distance = _distance(table.values, totals, level)
    # observed: every ordered pair of answers within an item, each item weighing as much as it has answers
    pairs = ((counts @ distance) * counts).sum(1)  # a value is at distance 0 from itself
    observed = float((drawn * pairs / (counts.sum(1) - 1)).sum())
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
    return measure(rows, "percent", draws=draws, seed=seed).interval


def _percent(table: _Table, drawn: Weights) -> float | None:
    answers = table.counts.sum(1)
    everything = float(drawn @ (answers * (answers - 1)))
    return float(drawn @ (table.counts * (table.counts - 1)).sum(1)) / everything if everything else None


def shared_items(rows: Iterable[Row]) -> int:
    """How many items have at least two answers."""
    table = _table(rows)
    return 0 if table is None else int(table.shared.sum())


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """Cohen's kappa of two raters who judged the same items in the same order (Cohen 1960)."""
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} answers do not pair up")
    column: dict[Hashable, int] = {}
    pairs = [[column.setdefault(value, len(column)) for value in pair] for pair in zip(first, second, strict=True)]
    told = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return _kappa(told[:, 0], told[:, 1], np.ones(len(told)), len(column))


def _kappa(first: NDArray[np.int64], second: NDArray[np.int64], weight: Weights, values: int) -> float | None:
    total = float(weight.sum())
    if total <= 0:
        return None
    ones, twos = (np.bincount(told, weight, values) / total for told in (first, second))
    chance = float(ones @ twos)
    return None if chance >= 1 - 1e-12 else (float(weight @ (first == second)) / total - chance) / (1 - chance)


_Meetings = list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]
"""for each two raters: places of the items that both judged, what the one said, what the other said"""


def _meetings(rows: Sequence[Row], table: _Table) -> _Meetings:
    place = {item: index for index, item in enumerate(table.items)}
    column = {value: index for index, value in enumerate(table.values.tolist())}
    said: dict[Hashable, dict[int, int]] = {}
    for item, rater, value in rows:  # the last answer of a rater to an item stands
        said.setdefault(rater, {})[place[item]] = column[value]
    raters = list(said.values())
    met: _Meetings = []
    for index, one in enumerate(raters):
        for other in raters[:index]:
            both = sorted(one.keys() & other.keys())
            if both:
                columns = (both, [one[item] for item in both], [other[item] for item in both])
                met.append((np.array(columns[0]), np.array(columns[1]), np.array(columns[2])))
    return met


def _mean_kappa(met: _Meetings, drawn: Weights, values: int) -> float | None:
    """Cohen's kappa averaged over all two raters where it is defined (Light 1971)."""
    found = [_kappa(first, second, drawn[items], values) for items, first, second in met]
    defined = [value for value in found if value is not None]
    return sum(defined) / len(defined) if defined else None


def fleiss_kappa(rows: Iterable[Row]) -> float | None:
    """Fleiss's kappa (Fleiss 1971); with unequal numbers of answers in the form of Gwet 2014, §2.4."""
    table = _table(rows)
    return None if table is None else _gwet(table, np.ones(len(table.counts)), by_chance="fleiss")


def gwet_ac1(rows: Iterable[Row]) -> float | None:
    """Gwet's AC1, which unlike kappa does not collapse when one answer dominates (Gwet 2008).

    Items with one answer say how common each value is, and nothing about agreement.
    """
    table = _table(rows)
    return None if table is None else _gwet(table, np.ones(len(table.counts)), by_chance="ac1")


def _gwet(table: _Table, drawn: Weights, by_chance: Literal["fleiss", "ac1"]) -> float | None:
    answers = table.counts.sum(1)
    compared = float(drawn[table.shared].sum())
    if compared <= 0 or len(table.values) < 2:
        return None
    pairs = np.maximum(answers * (answers - 1), 1)
    observed = float((drawn * (table.counts * (table.counts - 1)).sum(1) / pairs)[table.shared].sum()) / compared
    common = drawn @ (table.counts / answers[:, None]) / float(drawn.sum())
    chance = float((common**2).sum())
    if by_chance == "ac1":
        chance = (1 - chance) / (len(table.values) - 1)
    return None if chance >= 1 - 1e-12 else (observed - chance) / (1 - chance)


def tau_b(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kendall's tau-b of two rankings of the same things (Kendall 1945); None where one is all ties."""
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} ranks do not pair up")
    one, two = (np.sign(np.subtract.outer(ranks, ranks)) for ranks in (np.array(first), np.array(second)))
    both = float((one * one).sum()) * float((two * two).sum())
    return float((one * two).sum()) / both**0.5 if both else None


def rank_agreement(
    rows: Iterable[tuple[Hashable, Hashable, Sequence[float]]],
    *,
    clusters: Mapping[Hashable, Hashable] | None = None,
    draws: int = 500,
    seed: int = 0,
) -> Agreement:
    """tau-b averaged over all two raters of an item, then over items, with a bootstrap over clusters of items.

    Args:
        rows: (item, rater, rank of each candidate).
    """
    given: dict[Hashable, list[Sequence[float]]] = {}
    for item, _, ranks in rows:
        given.setdefault(item, []).append(ranks)
    sums: dict[Hashable, list[float]] = {}
    shared = 0
    for item, rankings in given.items():
        shared += len(rankings) > 1
        pairs = (tau_b(one, other) for index, one in enumerate(rankings) for other in rankings[:index])
        defined = [value for value in pairs if value is not None]
        if defined:
            sums.setdefault(item if clusters is None else clusters[item], []).append(sum(defined) / len(defined))
    if not sums:
        return Agreement("tau-b", None, shared, NO_VARIATION if shared else NOTHING_SHARED)
    total = np.array([sum(values) for values in sums.values()])
    count = np.array([len(values) for values in sums.values()], dtype=np.float64)
    found = bootstrap(lambda drawn: float(drawn @ total / (drawn @ count)), len(total), draws=draws, seed=seed)
    return Agreement("tau-b", found, shared, clusters=len(sums))
