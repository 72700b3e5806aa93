"""The report's curves: which metrics of a run are drawn first, which together, and everything else behind a click."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tutelage.eval._report_charts import Series, line_chart, short
from tutelage.eval._report_read import RunFolder
from tutelage.eval._report_words import t
from tutelage.eval.frontier import Point, frontier, points_of

_MOST_SAMPLES = 24
_NOISE = 0.03
"""How far the calmed quality (0–1) may fall below its best before it counts; the alarm of a run uses the same."""


@dataclass(frozen=True)
class _Wanted:
    """A chart that newcomers look for, and the names its metric may have (the first that is there)."""

    word: str
    names: tuple[str, ...]
    tone: str = "blue"


_PROXY = _Wanted("chart_proxy", (r"reward/mean", r"reward", r"score/mean", r"eval/reward"))
_GOLD = _Wanted("chart_gold", (r"gold/mean", r"gold", r"eval/gold"), "gold")
_KL = _Wanted("chart_kl", (r"policy/kl", r"(.*/)?kl"), "violet")
_CHARTS = (
    _Wanted("chart_loss", (r"loss", r"loss/total", r"loss/policy", r"loss/\w+")),
    _KL,
    _Wanted("chart_accuracy", (r"(reward/)?accuracy",), "green"),
    _Wanted("chart_margin", (r"(.*/)?margin",), "violet"),
    _Wanted("chart_entropy", (r"(.*/)?entropy",)),
    _Wanted("chart_length", (r"answer/length", r"(.*/)?length"), "grey"),
    _Wanted("chart_stop", (r"(?!eval/)(.*/)?stop_rate",), "green"),
    _Wanted("chart_clip", (r"(.*/)?(clip_fraction|clipped)",), "red"),
    _Wanted("chart_value", (r"(.*/)?explained_variance",), "grey"),
    _Wanted("chart_perplexity", (r"eval/perplexity", r"(.*/)?perplexity"), "gold"),
    _Wanted("chart_gradient", (r"(.*/)?grad_norm",), "violet"),
    _Wanted("chart_rate", (r"(.*/)?learning_rate(/policy)?",), "grey"),
)
_ONLY_FEW = {"chart_gradient", "chart_rate"}
"""Shown first only where there is little else to show."""


def run_view(run: RunFolder, roots: Sequence[Path]) -> dict[str, Any]:
    """Everything the page shows of one run."""
    columns = _columns(run.rows)
    source = _source(run, roots)
    used: set[str] = set()
    charts = [chart for chart in (_proxy_and_gold(run, columns, source, used),) if chart]
    for wanted in _CHARTS:
        if len(charts) >= 3 and wanted.word in _ONLY_FEW:
            continue
        if name := _find(wanted, columns):
            used.add(name)
            charts.append(_one(wanted, name, columns, source, used))
    if distance := _distance(run, columns, source):
        charts.insert(1 if charts else 0, distance)
    more = [
        {"title": name, "svg": line_chart([Series(name, *column, "grey")], label=name, height=130)}
        for name, column in sorted(columns.items())
        if name not in used
    ]
    return {
        "name": run.name,
        "command": run.command if run.command != run.name else "",
        "steps": sum(row["step"] > 0 for row in run.rows),  # the row of step 0 looks at what is there before training
        "charts": charts,
        "more": more,
        "samples": [_sample(row) for row in _spread(run.samples, _MOST_SAMPLES)],
        "config": run.config,
        "lineage": _pretty(run.lineage),
        "source": source,
    }


_Column = tuple[tuple[float, ...], tuple[float, ...]]


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, _Column]:
    """metric → (steps, values), numbers only."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        for name, value in row.items():
            plain = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if plain and name not in ("step", "time"):
                steps, values = found.setdefault(name, ([], []))
                steps.append(float(row["step"]))
                values.append(float(value))
    return {name: (tuple(steps), tuple(values)) for name, (steps, values) in found.items()}


def _find(wanted: _Wanted, columns: Mapping[str, _Column]) -> str | None:
    for pattern in wanted.names:
        for name in sorted(columns, key=lambda name: (name.startswith("eval/"), name)):
            if re.fullmatch(pattern, name) and not name.startswith("preflight/"):
                return name
    return None


def _one(wanted: _Wanted, name: str, columns: Mapping[str, _Column], source: str, used: set[str]) -> dict[str, Any]:
    series = [Series(name, *columns[name], wanted.tone)]
    held_out = "eval/" + name.rpartition("/")[2]
    if held_out in columns and held_out != name:
        series.append(Series(held_out, *columns[held_out], "red" if wanted.tone != "red" else "gold"))
        used.add(held_out)
    legend = [{"name": one.name, "tone": one.tone} for one in series] if len(series) > 1 else []
    return {
        "title": t(wanted.word),
        "wide": False,
        "legend": legend,
        "panels": [{"title": "", "tone": "", "last": "", "svg": line_chart(series, label=name)}],
        "note": "",
        "source": f"{source}/metrics.jsonl › {', '.join(one.name for one in series)}",
    }


def _proxy_and_gold(
    run: RunFolder, columns: Mapping[str, _Column], source: str, used: set[str]
) -> dict[str, Any] | None:
    """Both rewards, one above the other on the same steps, so that they can be seen to part."""
    proxy, gold = _find(_PROXY, columns), _find(_GOLD, columns)
    if proxy is None or (gold is None and _find(_KL, columns) is None):
        return None
    pairs = [(wanted, name) for wanted, name in ((_PROXY, proxy), (_GOLD, gold)) if name]
    used.update(name for _, name in pairs)
    panels: list[dict[str, Any]] = []
    held = False
    for wanted, name in pairs:
        series = [Series(name, *columns[name], wanted.tone)]
        held_out = {"chart_gold": "eval/gold", "chart_proxy": "eval/reward"}[wanted.word]
        if held_out in columns and held_out != name:
            series.append(Series(held_out, *columns[held_out], "grey"))
            used.add(held_out)
            held = True
        svg = line_chart(series, label=name, height=172, floor=columns[name][1][0])
        panels.append({"title": t(wanted.word), "tone": wanted.tone, "last": short(columns[name][1][-1]), "svg": svg})
    return {
        "title": t("chart_rewards" if gold else "chart_proxy"),
        "wide": len(panels) > 1,
        "legend": [],
        "panels": panels,
        "note": t("start_level") + (" " + t("held_out") if held else ""),
        "source": f"{source}/metrics.jsonl › {', '.join(name for _, name in pairs)}",
    }


def _distance(run: RunFolder, columns: Mapping[str, _Column], source: str) -> dict[str, Any] | None:
    """Proxy and gold against KL, and the verdict on over-optimisation."""
    kl, proxy, gold = (_find(wanted, columns) for wanted in (_KL, _PROXY, _GOLD))
    if kl is None or (proxy is None and gold is None):
        return None
    points = points_of(run.rows, kl, proxy, gold)
    if len(points) < 2:
        return None
    panels: list[dict[str, Any]] = []
    for wanted, name in ((_PROXY, proxy), (_GOLD, gold)):
        values = [(p.kl, p.proxy if wanted is _PROXY else p.gold) for p in points]
        kept = [(x, y) for x, y in values if y is not None]
        if name and kept:
            series = Series(name, tuple(x for x, _ in kept), tuple(y for _, y in kept), wanted.tone)
            svg = line_chart([series], label=f"{name} ~ {kl}", height=172, dots=True, x_name=Markup("KL"))
            panels.append({"title": t(wanted.word), "tone": wanted.tone, "last": "", "svg": svg})
    verdict = frontier(_calmed(points), tolerance=_NOISE)
    over = t("over_no")
    if verdict.over_optimised and verdict.best:
        over = t("over_yes", lost=short(verdict.lost), step=verdict.best.step)
    return {
        "title": t("frontier"),
        "wide": len(panels) > 1,
        "legend": [],
        "panels": panels,
        "note": t("frontier_note") + (" " + over if gold else ""),
        "source": f"{source}/metrics.jsonl › {', '.join(name for name in (kl, proxy, gold) if name)}",
    }


def _calmed(points: Sequence[Point]) -> list[Point]:
    """Running means over a tenth of the run (at least 5 points), so that one lucky batch is not taken for the best."""
    half = max(2, len(points) // 20)
    calm: list[Point] = []
    for index in range(half, max(half + 1, len(points) - half)):
        window = points[max(0, index - half) : index + half + 1]
        proxy, gold = _mean([p.proxy for p in window]), _mean([p.gold for p in window])
        calm.append(Point(window[len(window) // 2].step, _mean([p.kl for p in window]) or 0.0, proxy, gold))
    return calm


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _sample(row: Mapping[str, Any]) -> dict[str, Any]:
    texts = ("prompt", "completion", "text")
    facts = [
        (key, short(value) if isinstance(value, float) else str(value))
        for key, value in row.items()
        if key not in texts and isinstance(value, (str, int, float))
    ]
    prompt = row.get("prompt", "")
    return {
        "facts": facts,
        "prompt": prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False),
        "completion": str(row.get("completion", row.get("text", ""))),
    }


def _spread(rows: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """At most `most` rows, evenly from the first to the last."""
    if len(rows) <= most:
        return list(rows)
    return [rows[round(index * (len(rows) - 1) / (most - 1))] for index in range(most)]


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, indent=2) if text else ""
    except ValueError:
        return text


def _source(run: RunFolder, roots: Sequence[Path]) -> str:
    for root in roots:
        if run.path.is_relative_to(root):
            return (Path(root.resolve().name) / run.path.relative_to(root)).as_posix()
    return run.name
