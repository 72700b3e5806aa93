"""SVG charts made by hand: lines over steps, points over KL, and a number with its interval on a scale."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 380, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 24
_MOST_POINTS = 300
STEPS = Markup('<tspan class="en">step</tspan><tspan class="zh">步</tspan>')


@dataclass(frozen=True)
class Series:
    """One line.

    Example:
        >>> Series("gold", (0, 10, 20), (0.55, 0.61, 0.72), "gold")
    """

    name: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    tone: str = "blue"
    """Which colour of the style sheet: blue, gold, green, red, violet or grey."""


def line_chart(
    series: Sequence[Series],
    *,
    label: str,
    height: int = HEIGHT,
    dots: bool = False,
    floor: float | None = None,
    x_name: Markup = STEPS,
) -> Markup:
    """Lines over a common x axis; a smoothed line over the raw one where there are many noisy points.

    `floor` draws a dotted level (chance, the start). `dots` joins nothing: points only, with the step as their order.
    """
    series = [thinned(one) for one in series if one.xs]
    if not series:
        return Markup("")
    xs = [x for one in series for x in one.xs]
    ys = [y for one in series for y in one.ys] + ([floor] if floor is not None else [])
    x_ticks, y_ticks = ticks(min(xs), max(xs), 5), ticks(min(ys), max(ys), 4)
    place = _Place((min(xs), max(xs)), (min([*y_ticks, *ys]), max([*y_ticks, *ys])), height)
    corner = f'<text x="{_LEFT - 6}" y="{height - 7}" text-anchor="end">{x_name}</text>'
    body = [corner, *_axes(place, x_ticks, y_ticks)]
    if floor is not None:
        y = place.y(floor)
        body.append(f'<line class="floor" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
    for one in series:
        body += _marks(one, place) if dots else _line(one, place)
    data = [
        {
            "name": one.name,
            "tone": one.tone,
            "points": [[x, y, *place.at(x, y)] for x, y in zip(one.xs, one.ys, strict=True)],
        }
        for one in series
    ]
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}" '
        f'data-series="{escape(json.dumps(data, ensure_ascii=False))}">'
        f"<title>{escape(label)}</title>{''.join(body)}</svg>"
    )


def interval_bar(
    value: float, low: float | None, high: float | None, *, scale: tuple[float, float], marks: Sequence[float] = ()
) -> Markup:
    """A dot with its 95% interval on a scale; `marks` are levels to compare with (chance, a ceiling)."""
    start, end = scale
    span = (end - start) or 1.0

    def x(number: float) -> float:
        return 4 + 232 * min(1.0, max(0.0, (number - start) / span))

    lines = "".join(f'<line class="mark" x1="{x(m):.1f}" x2="{x(m):.1f}" y1="1" y2="17"/>' for m in marks)
    whisker = ""
    if low is not None and high is not None:
        whisker = f'<line class="whisker" x1="{x(low):.1f}" x2="{x(high):.1f}" y1="9" y2="9"/>'
    return Markup(
        '<svg class="bar" viewBox="0 0 240 18" preserveAspectRatio="xMinYMid meet" aria-hidden="true">'
        '<line class="rail" x1="4" x2="236" y1="9" y2="9"/>'
        f'{lines}{whisker}<circle cx="{x(value):.1f}" cy="9" r="5"/></svg>'
    )


def ticks(low: float, high: float, about: int) -> list[float]:
    """About `about` round numbers (1, 2, 2.5 or 5 times a power of ten) within [low, high]; `low` alone if none is."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999), 10 * power)
    first = math.ceil(low / step - 1e-9)
    found = [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]
    return found or [low]


def short(value: float) -> str:
    """A number for an axis: at most 4 significant digits, k and M for thousands, powers of ten below 0.01."""
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.3g}M"
    if size >= 1e4:
        return f"{value / 1e3:.3g}k"
    if size and size < 0.01:
        digits, power = f"{value:.1e}".split("e")
        return f"{digits.removesuffix('.0')}e{int(power)}"
    return f"{value:.4g}"


def thinned(one: Series) -> Series:
    """At most 300 points, the lowest and the highest of each stretch kept, so that no spike is lost."""
    keep = [i for i, y in enumerate(one.ys) if math.isfinite(y) and math.isfinite(one.xs[i])]
    if len(keep) > _MOST_POINTS:
        width = math.ceil(len(keep) / (_MOST_POINTS // 2))
        stretches = [keep[i : i + width] for i in range(0, len(keep), width)]
        ends = [{min(s, key=lambda i: one.ys[i]), max(s, key=lambda i: one.ys[i])} for s in stretches]
        keep = sorted(set().union(*ends) | {keep[0], keep[-1]})
    return Series(one.name, tuple(one.xs[i] for i in keep), tuple(one.ys[i] for i in keep), one.tone)


@dataclass(frozen=True)
class _Place:
    """Data to pixels."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    height: int

    def x(self, value: float) -> float:
        low, high = self.x_range
        share = (value - low) / (high - low) if high > low else 0.5
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        share = (value - low) / (high - low) if high > low else 0.5
        return self.height - _BOTTOM - share * (self.height - _TOP - _BOTTOM)

    def at(self, x: float, y: float) -> tuple[float, float]:
        return round(self.x(x), 1), round(self.y(y), 1)


def _axes(place: _Place, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> list[str]:
    out: list[str] = []
    for tick in y_ticks:
        y = place.y(tick)
        out.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{short(tick)}</text>')
    for tick in x_ticks:
        x = place.x(tick)
        if x < _LEFT + 14:
            continue  # the name of the axis stands there
        anchor = "end" if x > WIDTH - _RIGHT - 8 else "middle"
        out.append(f'<text x="{x:.1f}" y="{place.height - 7}" text-anchor="{anchor}">{short(tick)}</text>')
    return out


def _line(one: Series, place: _Place) -> list[str]:
    points = [place.at(x, y) for x, y in zip(one.xs, one.ys, strict=True)]
    if len(points) == 1:
        return [f'<circle class="dot {one.tone}" cx="{points[0][0]}" cy="{points[0][1]}" r="3.5"/>']
    smooth = _smoothed(one)
    if smooth is None:
        end = points[-1]
        dots = [f'<circle class="dot {one.tone}" cx="{x}" cy="{y}" r="2.4"/>' for x, y in points if len(points) <= 12]
        return [_path(points, f"line {one.tone}"), *(dots or [_end_dot(end, one.tone)])]
    drawn = [place.at(x, y) for x, y in zip(one.xs, smooth, strict=True)]
    return [_path(points, f"raw {one.tone}"), _path(drawn, f"line {one.tone}"), _end_dot(drawn[-1], one.tone)]


def _marks(one: Series, place: _Place) -> list[str]:
    points = [place.at(x, y) for x, y in zip(one.xs, one.ys, strict=True)]
    shades = [0.25 + 0.75 * index / max(1, len(points) - 1) for index in range(len(points))]
    dots = [
        f'<circle class="dot {one.tone}" cx="{x}" cy="{y}" r="3" fill-opacity="{shade:.2f}"/>'
        for (x, y), shade in zip(points, shades, strict=True)
    ]
    return [*dots, f'<circle class="ring {one.tone}" cx="{points[-1][0]}" cy="{points[-1][1]}" r="6"/>']


def _path(points: Sequence[tuple[float, float]], style: str) -> str:
    return f'<path class="{style}" d="M{"L".join(f"{x} {y}" for x, y in points)}"/>'


def _end_dot(point: tuple[float, float], tone: str) -> str:
    return f'<circle class="dot {tone}" cx="{point[0]}" cy="{point[1]}" r="3"/>'


def _smoothed(one: Series) -> list[float] | None:
    """A local straight line through a tenth of the points around each (unbiased at both ends); None if not needed."""
    count, spread = len(one.ys), max(one.ys) - min(one.ys)
    jumps = [abs(one.ys[i - 1] - 2 * one.ys[i] + one.ys[i + 1]) for i in range(1, count - 1)]
    if count < 30 or not spread or sum(jumps) / len(jumps) < 0.01 * spread:
        return None
    half = max(2, count // 20)
    out: list[float] = []
    for index in range(count):
        first = min(max(0, index - half), count - 2 * half - 1)
        window = one.ys[first : first + 2 * half + 1]
        slope = sum((place - half) * y for place, y in enumerate(window)) / sum(p * p for p in range(-half, half + 1))
        out.append(sum(window) / len(window) + slope * (index - first - half))
    return out
