"""Score against distance for several methods, as one SVG that stands alone: points, fitted curves, a legend."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from tutelage.eval._report_charts import short, ticks
from tutelage.eval.frontier import Fit, RunPoint

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 640, 400, 56, 44, 34, 130
_TONES = ("#1f6fb2", "#b8860b", "#2e8b57", "#b22222", "#7b4fa3", "#444444", "#0f8a8a")
_CURVE_POINTS = 60


def chart(points: Sequence[RunPoint], *, score: str, title: str, start: float, fits: Mapping[str, Fit]) -> str:
    """An SVG of `score` ("gold" or "reward") against √KL.

    Args:
        start: the score of the model that all began with, at distance 0
        fits: method → curve of the gain over `start`, drawn up to that method's farthest point

    Returns:
        SVG text; "" if no point has the score.
    """
    known = [(one, value) for one in points if (value := one.gold if score == "gold" else one.reward) is not None]
    if not known:
        return ""
    methods = sorted({one.method for one, _ in known})
    tones = {method: _TONES[index % len(_TONES)] for index, method in enumerate(methods)}
    far = {method: max(math.sqrt(one.kl) for one, _ in known if one.method == method) for method in methods}
    curves = {
        method: [
            (d, start + one.gain(d)) for d in (far[method] * step / _CURVE_POINTS for step in range(_CURVE_POINTS + 1))
        ]
        for method, one in fits.items()
        if method in far
    }
    ys = [start, *(value for _, value in known), *(y for curve in curves.values() for _, y in curve)]
    place = _Place(max(*far.values(), 1e-9), min(ys), max(ys))
    body = [*_axes(place), *_level(place, start)]
    for method, curve in curves.items():
        spots = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in curve)
        body.append(
            f'<polyline points="{spots}" fill="none" stroke="{tones[method]}" stroke-width="1.5" opacity=".6"/>'
        )
    for one, value in known:
        x, y = place(math.sqrt(one.kl), value)
        told = escape(f"{one.method} {one.setting}: KL {one.kl:.2f}, {score} {value:.3f}")
        body.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{tones[one.method]}"><title>{told}</title></circle>'
        )
    for index, method in enumerate(methods):
        y = _TOP + 16 * index
        body.append(f'<circle cx="{_WIDTH - _RIGHT + 16}" cy="{y - 4}" r="4" fill="{tones[method]}"/>')
        body.append(f'<text x="{_WIDTH - _RIGHT + 26}" y="{y}">{escape(method)}</text>')
    head = f'<text x="{_LEFT}" y="18" font-weight="bold">{escape(title)}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="12" role="img"><title>{escape(title)}</title><rect width="100%" height="100%" fill="#fff"/>'
        f"{head}{''.join(body)}</svg>\n"
    )


class _Place:
    """Data to pixels; distances begin at 0."""

    def __init__(self, far: float, low: float, high: float) -> None:
        self.far, self.low, self.high = far, low, high if high > low else low + 1.0

    def __call__(self, x: float, y: float) -> tuple[float, float]:
        across = _LEFT + x / self.far * (_WIDTH - _LEFT - _RIGHT)
        down = _HEIGHT - _BOTTOM - (y - self.low) / (self.high - self.low) * (_HEIGHT - _TOP - _BOTTOM)
        return across, down


def _axes(place: _Place) -> list[str]:
    left, right, floor = _LEFT, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    lines = [f'<path d="M{left},{_TOP}V{floor}H{right}" fill="none" stroke="#999"/>']
    for x in ticks(0.0, place.far, 6):
        across = place(x, place.low)[0]
        lines.append(f'<text x="{across:.1f}" y="{floor + 16}" text-anchor="middle">{short(x)}</text>')
    for y in ticks(place.low, place.high, 5):
        down = place(0.0, y)[1]
        lines.append(f'<path d="M{left},{down:.1f}H{right}" stroke="#eee"/>')
        lines.append(f'<text x="{left - 6}" y="{down + 4:.1f}" text-anchor="end">{short(y)}</text>')
    middle = (left + right) / 2
    return [*lines, f'<text x="{middle:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">√KL to the start (nats)</text>']


def _level(place: _Place, start: float) -> list[str]:
    down = place(0.0, start)[1]
    return [f'<path d="M{_LEFT},{down:.1f}H{_WIDTH - _RIGHT}" stroke="#888" stroke-dasharray="4 3"/>']
