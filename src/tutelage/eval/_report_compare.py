"""The report's comparison of several runs: where each ended, score against distance, a line per method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tutelage.errors import DataError, MissingInputError
from tutelage.eval._report_charts import Series, line_chart, short
from tutelage.eval._report_read import Found, RunFolder
from tutelage.eval._report_words import t
from tutelage.eval.frontier import RunPoint, run_points

_TONES = ("blue", "gold", "green", "red", "violet", "grey")
_SCORES = (("gold", "chart_gold"), ("reward", "chart_proxy"))


def compared(found: Found) -> dict[str, Any] | None:
    """The runs that moved a policy by a known distance, if there are two or more; None otherwise."""
    ends = [(run, point) for run in found.runs if (point := _end(run)) is not None]
    if len(ends) < 2:
        return None
    points = [point for _, point in ends]
    methods = sorted({point.method for point in points})
    tones = {method: _TONES[place % len(_TONES)] for place, method in enumerate(methods)}
    charts = [_chart(points, tones, score, word) for score, word in _SCORES]
    best = max((one for one in ends if one[1].gold is not None), key=lambda one: one[1].gold or 0.0, default=None)
    return {
        "charts": [chart for chart in charts if chart],
        "legend": [{"name": method, "tone": tone} for method, tone in tones.items()],
        "rows": [_row(run, point) for run, point in sorted(ends, key=lambda one: (one[1].method, one[1].kl))],
        "best": t("compared_best", run=best[0].name, gold=f"{best[1].gold:.3f}", kl=f"{best[1].kl:.2f}")
        if best
        else "",
    }


def _end(run: RunFolder) -> RunPoint | None:
    """None for a run that has no distance (a reward model, say), or no score."""
    try:
        (point,) = run_points([run.path])
    except (DataError, MissingInputError):
        return None
    return None if point.gold is None and point.reward is None else point


def _chart(points: Sequence[RunPoint], tones: dict[str, str], score: str, word: str) -> dict[str, Any] | None:
    lines: list[Series] = []
    for method, tone in tones.items():
        known = sorted(
            (math.sqrt(one.kl), value)
            for one in points
            if one.method == method and (value := one.gold if score == "gold" else one.reward) is not None
        )
        if known:
            lines.append(Series(method, tuple(x for x, _ in known), tuple(y for _, y in known), tone))
    if not lines:
        return None
    return {"title": t(word), "svg": line_chart(lines, label=f"{score}, √KL", x_name=t("root_kl"))}


def _row(run: RunFolder, point: RunPoint) -> dict[str, str]:
    measured = any((run.path / place).is_file() for place in ("eval/eval.json", "eval.json"))
    source = "eval.json" if measured else "metrics.jsonl"
    numbers = {"kl": point.kl, "gold": point.gold, "reward": point.reward}
    told = {name: "" if value is None else short(round(value, 3)) for name, value in numbers.items()}
    return {"method": point.method, "setting": point.setting, "run": f"{run.name}/{source}"} | told
