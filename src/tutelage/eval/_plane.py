"""The plane of a chart that stands alone: a score against the distance √KL, with axes, on white in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from tutelage.eval._report_charts import short, ticks

TONES = ("#1f6fb2", "#b8860b", "#2e8b57", "#b22222", "#7b4fa3", "#444444", "#0f8a8a")
"""one colour per method, each dark enough on white"""
_X_NAME = "√KL to the start (nats)"


@dataclass(frozen=True)
class Plane:
    """Data to pixels; distances begin at 0.

    Example:
        >>> Plane(left=56, top=34, right=510, floor=356, far=4.0, low=0.0, high=1.0)(2.0, 0.5)
        (283.0, 195.0)
    """

    left: float
    top: float
    right: float
    floor: float
    far: float
    """the largest distance, > 0"""
    low: float
    high: float

    def __call__(self, x: float, y: float) -> tuple[float, float]:
        span = self.high - self.low if self.high > self.low else 1.0
        across = self.left + x / self.far * (self.right - self.left)
        return across, self.floor - (y - self.low) / span * (self.floor - self.top)

    def axes(self) -> list[str]:
        """Both axes with round numbers."""
        lines = [
            f'<path d="M{self.left},{self.top}V{self.floor}H{self.right}" fill="none" stroke="#999"/>',
        ]
        for x in ticks(0.0, self.far, 6):
            across = self(x, self.low)[0]
            lines.append(f'<text x="{across:.1f}" y="{self.floor + 16}" text-anchor="middle">{short(x)}</text>')
        for y in ticks(self.low, self.high, 5):
            down = self(0.0, y)[1]
            lines.append(f'<path d="M{self.left},{down:.1f}H{self.right}" stroke="#eee"/>')
            lines.append(f'<text x="{self.left - 6}" y="{down + 4:.1f}" text-anchor="end">{short(y)}</text>')
        middle = (self.left + self.right) / 2
        return [*lines, f'<text x="{middle:.0f}" y="{self.floor + 36}" text-anchor="middle">{_X_NAME}</text>']

    def level(self, y: float) -> str:
        """A dashed line across, such as the score of the start."""
        down = self(0.0, y)[1]
        return f'<path d="M{self.left},{down:.1f}H{self.right}" stroke="#888" stroke-dasharray="4 3"/>'

    def line(self, spots: Sequence[tuple[float, float]], tone: str, more: str) -> str:
        """A line through `spots`; `more`: further attributes."""
        joined = " ".join("{:.1f},{:.1f}".format(*self(x, y)) for x, y in spots)
        return f'<polyline points="{joined}" fill="none" stroke="{tone}" {more}/>'


def page(width: int, height: int, title: str, body: Sequence[str]) -> str:
    """The whole SVG, on white wherever it is shown."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12" role="img"><title>{escape(title)}</title><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join(body)}</svg>\n"
    )
