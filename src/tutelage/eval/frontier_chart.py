"""Score against distance for several methods, as one SVG that stands alone: points, fitted curves, a legend."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from tutelage.eval._plane import TONES, Plane, page
from tutelage.eval.frontier import Fit, RunPoint

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 640, 400, 56, 44, 34, 130
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
    tones = {method: TONES[index % len(TONES)] for index, method in enumerate(methods)}
    far = {method: max(math.sqrt(one.kl) for one, _ in known if one.method == method) for method in methods}
    curves = {
        method: [
            (d, start + one.gain(d)) for d in (far[method] * step / _CURVE_POINTS for step in range(_CURVE_POINTS + 1))
        ]
        for method, one in fits.items()
        if method in far
    }
    ys = [start, *(value for _, value in known), *(y for curve in curves.values() for _, y in curve)]
    place = Plane(_LEFT, _TOP, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM, max(*far.values(), 1e-9), min(ys), max(ys))
    body = [f'<text x="{_LEFT}" y="18" font-weight="bold">{escape(title)}</text>', *place.axes(), place.level(start)]
    body += [place.line(curve, tones[method], 'stroke-width="1.5" opacity=".6"') for method, curve in curves.items()]
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
    return page(_WIDTH, _HEIGHT, title, body)
