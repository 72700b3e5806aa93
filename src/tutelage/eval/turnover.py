"""Where gold turns over while the proxy goes on rising: one method followed to the end of what its proxy can bear.

Gao et al. 2022 (2210.10760, fig. 1) draw proxy and gold on one scale against d = √KL. Their proxies were made to agree
with gold in scale; here the start's own answers tell what a point of the proxy is worth (`promise`), so that the dashed
line is the gold that the proxy promises, and the two lie on one another as long as it keeps its word.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tutelage.errors import DataError
from tutelage.eval.frontier import Fit, Form, Point, best_of_points, fit, frontier

_SURE = 2.0
"""standard errors that a difference must have to count"""


@dataclass(frozen=True)
class Promise:
    """What the proxy's points are worth in gold, by the start's answers.

    Example:
        >>> promise([[0.0, 1.0, 2.0]], [[0.2, 0.3, 0.4]]).of(3.0)
        0.5
    """

    proxy: float
    """the start's mean score by the proxy"""
    gold: float
    """the start's mean gold"""
    slope: float
    """gold for a point of the proxy, between answers to one prompt"""
    correlation: float
    """of both, between answers to one prompt"""

    def of(self, proxy: float) -> float:
        """Gold where the proxy stands at `proxy`, if nothing changed but the answers' rank."""
        return self.gold + self.slope * (proxy - self.proxy)


def promise(proxy: Sequence[Sequence[float]], gold: Sequence[Sequence[float]]) -> Promise:
    """Least squares of gold on proxy within prompts: a policy changes its answers, never its prompts.

    Args:
        proxy, gold: one row of scores per prompt, answers of the start

    Raises:
        DataError: the proxy gives all answers to a prompt one score, for every prompt.
    """
    pairs = [
        (p - statistics.fmean(ps), g - statistics.fmean(gs))
        for ps, gs in zip(proxy, gold, strict=True)
        for p, g in zip(ps, gs, strict=True)
    ]
    across, up = math.fsum(p * p for p, _ in pairs), math.fsum(g * g for _, g in pairs)
    if not across:
        raise DataError("the proxy tells no two answers apart", fix="learn it from more judgements")
    both = math.fsum(p * g for p, g in pairs)
    level = [statistics.fmean(value for row in rows for value in row) for rows in (proxy, gold)]
    return Promise(level[0], level[1], both / across, both / math.sqrt(across * up) if up else 0.0)


@dataclass(frozen=True)
class Course:
    """One method's way away from the start.

    Example:
        >>> Course("rloo", "rl", (Point(10, 0.8, 0.5, 0.5), Point(20, 9.0, 0.9, 0.4)), noise=0.01)
    """

    method: str
    form: Form
    points: tuple[Point, ...]
    """in the order of the run; `proxy` as gold that is promised, in units of gold"""
    noise: float
    """standard error of one point's gold"""


def windows(points: Sequence[Point], width: int) -> tuple[list[Point], float]:
    """Means of `width` steps each, a shorter end left out, and the standard error of one mean's gold.

    The error comes from the scatter within windows, so a trend inside them makes it larger, never smaller.

    Raises:
        DataError: no window is whole.
    """
    known = [point for point in points if point.gold is not None and point.proxy is not None]
    cut = [known[start : start + width] for start in range(0, len(known) - width + 1, width)]
    if not cut:
        raise DataError(f"{len(known)} steps with gold and proxy make no window of {width}", fix="train for longer")
    golds = [[point.gold or 0.0 for point in one] for one in cut]
    means = [
        Point(
            one[-1].step,
            max(0.0, statistics.fmean(point.kl for point in one)),
            statistics.fmean(point.proxy or 0.0 for point in one),
            statistics.fmean(gold),
        )
        for one, gold in zip(cut, golds, strict=True)
    ]
    scatter = statistics.fmean(statistics.variance(gold) for gold in golds) if width > 1 else 0.0
    return means, math.sqrt(scatter / width)


def trained(method: str, points: Sequence[Point], width: int, start: Promise) -> Course:
    """The course of a run, from the points of its metrics (see `frontier.points_of`)."""
    means, noise = windows(points, width)
    return Course(method, "rl", tuple(replace(one, proxy=start.of(one.proxy or 0.0)) for one in means), noise)


def chosen(
    proxy: Sequence[Sequence[float]], gold: Sequence[Sequence[float]], sizes: Sequence[int], start: Promise
) -> Course:
    """The course of best-of-n by choosing among sampled answers, nothing trained; `step` is n.

    Args:
        proxy, gold: one row of N ≥ n scores per prompt, at least two prompts
    """
    points = [
        Point(n, one.kl, start.of(one.reward or 0.0), one.gold)
        for n, one in zip(sizes, best_of_points(proxy, gold, sizes), strict=True)
    ]
    most = max(sizes)
    gains = [
        (last.gold or 0.0) - (first.gold or 0.0)
        for p, g in zip(proxy, gold, strict=True)
        for first, last in [best_of_points([p], [g], [1, most])]
    ]
    return Course("best-of-n", "best-of-n", tuple(points), statistics.stdev(gains) / math.sqrt(len(gains)))


@dataclass(frozen=True)
class Turnover:
    """What became of one course.

    Example:
        >>> found = turnover(course, start=0.4)
        >>> found.peak.step, found.turned
        (120, True)
    """

    course: Course
    start: float
    """gold of the model that it began with"""
    peak: Point
    """where gold was highest"""
    turned: bool
    """after the peak the proxy rose on while gold fell by more than two standard errors of their difference"""
    lost: float
    """gold lost from the peak to the end"""
    parted: Point | None
    """the first point from which on, to the end, less gold came than was promised, by two standard errors"""
    gold: Fit | None
    """Gao's form through gold's gains; None where the way has fewer than two distances"""
    promised: Fit | None
    """the same form through the promised gains"""


def turnover(course: Course, start: float) -> Turnover:
    """Peak, parting and fits of a course.

    Raises:
        DataError: the course has no point.
    """
    if not course.points:
        raise DataError("a course without points has no turn", where=course.method)
    found = frontier(course.points, tolerance=_SURE * math.sqrt(2) * course.noise)
    assert found.best is not None, "every point of a course has gold"
    parted = None
    for point in reversed(course.points):
        if (point.proxy or 0.0) - (point.gold or 0.0) <= _SURE * course.noise:
            break
        parted = point
    gold, promised = (_fitted(course, start, part) for part in ("gold", "proxy"))
    return Turnover(course, start, found.best, found.over_optimised, found.lost, parted, gold, promised)


def _fitted(course: Course, start: float, part: str) -> Fit | None:
    ways = [(math.sqrt(point.kl), (point.gold if part == "gold" else point.proxy) or 0.0) for point in course.points]
    if len({d for d, _ in ways if d > 0}) < 2:
        return None
    return fit([d for d, _ in ways], [value - start for _, value in ways], course.form)


def as_json(found: Turnover) -> dict[str, Any]:
    """For a file; distances as √KL."""
    told: dict[str, Any] = {"points": [_told(point) for point in found.course.points], "noise": found.course.noise}
    told |= {"peak": _told(found.peak), "turned": found.turned, "lost": found.lost}
    told["parted"] = _told(found.parted) if found.parted else None
    for name, one in (("gold", found.gold), ("promised", found.promised)):
        told[f"fit_{name}"] = asdict(one) | {"peak": one.peak} if one else None
    return told


def table(rows: Sequence[tuple[str, Turnover]]) -> str:
    """A Markdown table; each row with the name of its proxy."""
    heads = ("proxy", "method", "√KL at the end", "gold: start", "peak", "at √KL", "end", "promised at the end")
    heads = (*heads, "parted at √KL", "turned over", "α", "β", "fitted peak at √KL", "explained")
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for name, one in rows:
        last = one.course.points[-1]
        cells = [name, one.course.method, _distance(last), _score(one.start), _score(one.peak.gold)]
        cells += [_distance(one.peak), _score(last.gold), _score(last.proxy)]
        cells += [_distance(one.parted) if one.parted else "never", "yes" if one.turned else "no"]
        lines.append(f"| {' | '.join([*cells, *_fit_cells(one, math.sqrt(last.kl))])} |")
    return "\n".join(lines)


def _fit_cells(one: Turnover, end: float) -> list[str]:
    if one.gold is None:
        return ["", "", "", ""]
    peak = one.gold.peak
    place = "none" if peak is None else f"{peak:.2f}" if peak <= end else "beyond the end"
    return [f"{one.gold.alpha:.3f}", f"{one.gold.beta:.3f}", place, f"{one.gold.explained:.2f}"]


def _told(point: Point) -> dict[str, float | int | None]:
    told = {"step": point.step, "kl": point.kl, "d": math.sqrt(point.kl)}
    return told | {"promised": point.proxy, "gold": point.gold}


def _distance(point: Point) -> str:
    return f"{math.sqrt(point.kl):.2f}"


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
