"""Whether a model that learned scores means them: the slope of what raters said on what it says, and its error.

Scores are no probabilities, so calibration is that of a regression (Cox 1958; Steyerberg et al. 2010): where raters'
scores rise by `slope` points for each point of the model's, 1 is honest, below 1 it exaggerates, above 1 it is timid.
"""

from __future__ import annotations

import math

import numpy as np

from tutelage.eval._base import Measure, percentiles, resamples
from tutelage.statistics.evidence import AnswerScores

_LEAST = 8
"""answers below which nothing is said"""


def score_calibration(found: AnswerScores) -> dict[str, Measure]:
    """`score_correlation`, `score_slope`, `score_error` of held-out answers, intervals over prompts; {} of too few."""
    if len(found.told) < _LEAST or found.predicted.std() == 0 or found.told.std() == 0:
        return {}
    names = {name: place for place, name in enumerate(dict.fromkeys(found.group))}
    of = np.array([names[group] for group in found.group])
    x, y = found.predicted, found.told
    sums = np.stack([np.bincount(of, column) for column in (np.ones_like(x), x, y, x * x, x * y, y * y)], 1)
    told = {"score_correlation": 0, "score_slope": 1, "score_error": 2}
    hows = ("Pearson's, of the model's scores with raters'", "raters' points for one point of the model's; 1 is honest",
            "root mean square, in standard scores or levels")  # fmt: skip
    whole, drawn = _line(sums.sum(0)[None])[0], _line(resamples(len(names), 0) @ sums)
    made: dict[str, Measure] = {}
    for (name, place), how in zip(told.items(), hows, strict=True):
        column = drawn[:, place][np.isfinite(drawn[:, place])]
        low, high = percentiles(column) if len(column) else (None, None)
        made[name] = Measure(float(whole[place]), low, high, len(names), how)
    return made


def score_notes(measures: dict[str, Measure]) -> list[str]:
    """What the slope says, where its interval leaves no doubt."""
    slope = measures.get("score_slope")
    if slope is None or slope.low is None or slope.high is None:
        return []
    shown = f"{slope.value:.2f} ({slope.low:.2f} to {slope.high:.2f})"
    if slope.high < 1:
        return [f"its scores exaggerate: where they differ by 1, raters' differ by {shown}"]
    if slope.low > 1:
        return [f"its scores are timid: where they differ by 1, raters' differ by {shown}"]
    return []


def _line(sums: np.ndarray) -> np.ndarray:
    """[…, (n, Σx, Σy, Σxx, Σxy, Σyy)] → […, (correlation, slope of y on x, root mean square of y − x)]."""
    n, x, y, xx, xy, yy = np.moveaxis(sums.astype(float), -1, 0)
    vx, vy, cov = xx - x * x / n, yy - y * y / n, xy - x * y / n
    with np.errstate(divide="ignore", invalid="ignore"):
        found = [cov / np.sqrt(vx * vy), cov / vx, np.sqrt(np.maximum(yy - 2 * xy + xx, 0) / n)]
    return np.stack([np.where(np.isfinite(one), one, math.nan) for one in found], -1)
