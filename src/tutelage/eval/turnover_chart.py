"""Proxy and gold against distance as one SVG: a row of panels per proxy; gold solid, promised dashed, fits thin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import chain

from tutelage.eval._plane import TONES, Plane, page
from tutelage.eval.turnover import Turnover

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _GAP = 380, 280, 52, 48, 30, 22
_HEAD = 52
_CURVE_POINTS = 60


def chart(rows: Sequence[tuple[str, Sequence[Turnover]]], title: str) -> str:
    """An SVG of every row of courses, those that train in the left panel, best-of-n in the right one.

    Args:
        rows: the name of each proxy and the courses that followed it

    Returns:
        SVG text; "" without courses.
    """
    known = [(name, list(some)) for name, some in rows if some]
    if not known:
        return ""
    methods = sorted({one.course.method for _, some in known for one in some})
    tones = {method: TONES[index % len(TONES)] for index, method in enumerate(methods)}
    body = [f'<text x="{_LEFT}" y="18" font-weight="bold">{escape(title)}</text>', *_legend(tones)]
    for row, (name, some) in enumerate(known):
        for column, form in enumerate(("rl", "best-of-n")):
            mine = [one for one in some if one.course.form == form]
            if not mine:
                continue
            top, left = _HEAD + row * _HEIGHT + _TOP, column * _WIDTH + _LEFT
            values = [value for one in mine for value in _values(one)]
            far = max((math.sqrt(point.kl) for one in mine for point in one.course.points), default=0.0)
            place = Plane(left, top, (column + 1) * _WIDTH - _GAP, _HEAD + (row + 1) * _HEIGHT - _BOTTOM,
                          max(far, 1e-9), min(values), max(values))  # fmt: skip
            heading = escape(f"{name}: {'trained' if form == 'rl' else 'chosen'}")
            body += [f'<text x="{left}" y="{top - 10}">{heading}</text>', *place.axes(), place.level(mine[0].start)]
            body += chain.from_iterable(_course(place, one, tones[one.course.method]) for one in mine)
    return page(2 * _WIDTH, _HEAD + len(known) * _HEIGHT, title, body)


def _values(one: Turnover) -> list[float]:
    points = one.course.points
    return [one.start, *(value for point in points for value in (point.gold, point.proxy) if value is not None)]


def _course(place: Plane, one: Turnover, tone: str) -> list[str]:
    def way(part: str) -> list[tuple[float, float]]:
        spots = [(math.sqrt(p.kl), (p.gold if part == "gold" else p.proxy) or 0.0) for p in one.course.points]
        return [(0.0, one.start), *spots]

    drawn = [place.line(way("proxy"), tone, 'stroke-width="1.5" stroke-dasharray="5 4"')]
    drawn.append(place.line(way("gold"), tone, 'stroke-width="2"'))
    for fitted, dashes in ((one.gold, ""), (one.promised, 'stroke-dasharray="5 4"')):
        if fitted is not None:
            end = math.sqrt(one.course.points[-1].kl)
            curve = [
                (d, min(max(one.start + fitted.gain(d), place.low), place.high))
                for d in (end * step / _CURVE_POINTS for step in range(_CURVE_POINTS + 1))
            ]
            drawn.append(place.line(curve, tone, f'stroke-width=".8" opacity=".55" {dashes}'))
    x, y = place(math.sqrt(one.peak.kl), one.peak.gold or 0.0)
    told = escape(f"{one.course.method}: gold is highest at √KL {math.sqrt(one.peak.kl):.2f}: {one.peak.gold:.3f}")
    return [*drawn, f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{tone}"><title>{told}</title></circle>']


def _legend(tones: dict[str, str]) -> list[str]:
    made, x = list[str](), float(_LEFT)
    for name, tone in tones.items():
        made.append(
            f'<circle cx="{x + 5}" cy="34" r="4" fill="{tone}"/><text x="{x + 14}" y="38">{escape(name)}</text>'
        )
        x += 34 + 7 * len(name)
    for name, style in (
        ("gold", 'stroke-width="2"'),
        ("gold as the proxy promises", 'stroke-width="1.5" stroke-dasharray="5 4"'),
        ("Gao et al.'s forms", 'stroke-width=".8" opacity=".55"'),
    ):
        made.append(f'<path d="M{x},34h24" stroke="#444" {style}/><text x="{x + 30}" y="38">{escape(name)}</text>')
        x += 50 + 7 * len(name)
    return made
