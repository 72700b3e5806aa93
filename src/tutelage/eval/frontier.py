"""Score against KL: how much was gained for how far the model moved, and whether the proxy was over-optimised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """One moment of a run.

    Example:
        >>> Point(step=20, kl=3.1, proxy=1.4, gold=0.72)
    """

    step: int
    kl: float
    """Sequence KL to the reference, in nats."""
    proxy: float | None
    """What was optimised: the reward model's mean score."""
    gold: float | None
    """What was meant: the hidden taste or people's own score."""


@dataclass(frozen=True)
class Frontier:
    """The points in order of KL, the best one by gold, and the verdict.

    Example:
        >>> frontier(points).over_optimised
        False
    """

    points: tuple[Point, ...]
    best: Point | None
    """The point of highest gold."""
    over_optimised: bool
    """After the best point the proxy went on rising while gold fell (Gao et al. 2022, arXiv 2210.10760)."""
    lost: float
    """How much gold was lost from the best point to the last one; 0 when the last one is the best."""


def points_of(rows: Sequence[Mapping[str, object]], kl: str, proxy: str | None, gold: str | None) -> list[Point]:
    """Points from `metrics.jsonl` rows: each row with a KL and at least one of proxy and gold."""
    found = [
        Point(int(_number(row.get("step")) or 0), distance, _pick(row, proxy), _pick(row, gold))
        for row in rows
        if (distance := _number(row.get(kl))) is not None
    ]
    return [point for point in found if point.proxy is not None or point.gold is not None]


def frontier(points: Sequence[Point], tolerance: float = 0.02) -> Frontier:
    """Order the points by KL and look for over-optimisation.

    `tolerance`: how far gold must fall below its best, in units of gold, to count; set it to about the half-width of
    gold's interval.
    """
    ordered = tuple(sorted(points, key=lambda point: point.kl))
    judged = sorted((p for p in points if p.gold is not None), key=lambda point: point.step)
    if not judged:
        return Frontier(ordered, None, False, 0.0)
    best = max(judged, key=lambda point: point.gold or 0.0)
    last = judged[-1]
    lost = (best.gold or 0.0) - (last.gold or 0.0)
    rising = best.proxy is not None and last.proxy is not None and last.proxy > best.proxy
    return Frontier(ordered, best, rising and lost > tolerance, max(0.0, lost))


def _pick(row: Mapping[str, object], key: str | None) -> float | None:
    return None if key is None else _number(row.get(key))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
