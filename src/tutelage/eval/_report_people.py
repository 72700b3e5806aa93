"""The report's people: the same prompts answered before and after, and what raters saw and said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.eval._base import Measure
from tutelage.eval._report_charts import interval_bar, short
from tutelage.eval._report_read import Found, Row
from tutelage.eval._report_tables import percent
from tutelage.eval._report_words import t

_PER_LANGUAGE = 6
_PER_KIND = 3
_SCORES = ("gold", "reward")


def answers(found: Found) -> dict[str, Any] | None:
    """The first few answers of each language of the last evaluation that kept some; never hand-picked."""
    for one in reversed(found.evals):
        if not one.answers:
            continue
        groups: dict[str, list[Row]] = {}
        for row in one.answers:
            groups.setdefault(str(row.get("lang") or ""), []).append(row)
        shown = {lang: rows[:_PER_LANGUAGE] for lang, rows in sorted(groups.items())}
        mixed = [rows[i] for i in range(_PER_LANGUAGE) for rows in shown.values() if i < len(rows)]
        most = max(len(rows) for rows in shown.values())
        return {
            "note": t("in_order", n=most, all=len(one.answers)),
            "source": f"{one.name}/answers.jsonl",
            "rows": [_pair(row) for row in mixed],
        }
    return None


def _pair(row: Row) -> dict[str, Any]:
    lang = str(row.get("lang") or "")
    return {
        "id": str(row.get("id", "")),
        "lang": lang if lang in ("en", "zh") else "",
        "prompt": str(row.get("prompt", "")),
        "reference": str(row.get("reference") or ""),
        "before": None if row.get("baseline") is None else str(row["baseline"]),
        "after": str(row.get("model", "")),
        "before_scores": _scores(row, "baseline"),
        "after_scores": _scores(row, "model"),
    }


def _scores(row: Row, side: str) -> list[tuple[str, str]]:
    found = [(name, row.get(f"{name}_{side}")) for name in _SCORES]
    return [(name, f"{value:.2f}") for name, value in found if isinstance(value, (int, float))]


def raters(found: Found) -> dict[str, Any]:
    """A few questions of each kind with every judgement, and each rater's own win rate."""
    shown: list[dict[str, Any]] = []
    counts: dict[str, int] = {}
    for source, rows in found.questions:
        for row in rows:
            kind = str(row.get("kind", "pair"))
            if row.get("judgements") and counts.get(kind, 0) < _PER_KIND:
                counts[kind] = counts.get(kind, 0) + 1
                shown.append(_question(row, kind, source))
    table, source = _rater_table(found)
    return {"questions": shown, "table": table, "source": source, "worth": [_worth(*one) for one in found.people]}


def _worth(source: str, told: Row) -> dict[str, Any]:
    """One person's pairs: how often they chose as the other raters and as the hidden taste, and how often those did."""
    rows = [
        (str(told.get("rater", "")), told.get("with_others"), told.get("with_taste")),
        (t("worth_others"), told.get("others_together"), told.get("others_with_taste")),
    ]
    return {
        "note": t("worth_note", n=told.get("judged", 0), ties=told.get("ties", 0), skipped=told.get("skipped", 0)),
        "rows": [{"name": name, "raters": _share(with_), "taste": _share(taste)} for name, with_, taste in rows],
        "source": source,
    }


def _share(told: Any) -> dict[str, Any] | None:
    if not isinstance(told, dict) or told.get("value") is None:
        return None
    value, low, high = (float(told[name]) for name in ("value", "low", "high"))
    return {
        "value": percent(value),
        "bar": interval_bar(value, low, high, scale=(0, 1), marks=[0.5]),
        "of": f"{told['same']}/{told['of']}",
    }


def _rater_table(found: Found) -> tuple[list[dict[str, Any]], str]:
    for one in reversed(found.evals):
        measures: Mapping[str, Any] = one.content.get("measures") or {}
        rows = [
            (name.partition("/")[2], Measure.from_json(value)) for name, value in measures.items() if _is_rater(name)
        ]
        if rows:
            return [_rater(name, measure) for name, measure in rows], f"{one.name}/eval.json › measures.rater/*"
    return [], ""


def _is_rater(name: str) -> bool:
    return name.startswith("rater/")


def _rater(name: str, measure: Measure) -> dict[str, Any]:
    known = measure.low is not None and measure.high is not None
    return {
        "name": name,
        "value": percent(measure.value),
        "bar": interval_bar(measure.value, measure.low, measure.high, scale=(0, 1), marks=[0.5]),
        "interval": f"{percent(measure.low or 0)} – {percent(measure.high or 0)}" if known else "",
        "n": measure.n,
    }


def _question(row: Row, kind: str, source: str) -> dict[str, Any]:
    candidates: Sequence[Row] = row.get("candidates") or []
    judgements: Sequence[Row] = row.get("judgements") or []
    wins = [sum(_first(vote) == index for vote in judgements) for index in range(len(candidates))]
    best = max(wins, default=0)
    return {
        "kind": kind if kind in ("pair", "ranking", "scores") else "pair",
        "source": f"{source} › {row.get('id', '')}",
        "prompt": str(row.get("prompt", "")),
        "candidates": [
            {
                "letter": _letter(index),
                "text": str(candidate.get("text", "")),
                "model": str(candidate.get("model", "")),
                "best": len(candidates) > 1 and best > 0 and wins[index] == best and wins.count(best) == 1,
            }
            for index, candidate in enumerate(candidates)
        ],
        "votes": [_vote(vote, kind) for vote in judgements],
    }


def _vote(vote: Row, kind: str) -> dict[str, Any]:
    ranks: Sequence[int] = vote.get("ranks") or []
    shown: Sequence[int] = vote.get("shown") or []
    if kind == "scores":
        said: Any = " · ".join(f"{key} {short(float(value))}" for key, value in (vote.get("scores") or {}).items())
    elif vote.get("both_bad"):
        said = t("both_bad")
    elif kind == "pair":
        first = _first(vote)
        said = t("tie") if first is None else _letter(first)
    else:
        levels = sorted(set(ranks))
        said = " > ".join(" = ".join(_letter(i) for i, rank in enumerate(ranks) if rank == level) for level in levels)
    left = _letter(shown[0]) if kind == "pair" and shown else ""
    return {"rater": str(vote.get("rater", "")), "said": said, "left": left}


def _first(vote: Row) -> int | None:
    """Which candidate stands alone in first place."""
    ranks: Sequence[int] = vote.get("ranks") or []
    best = [index for index, rank in enumerate(ranks) if rank == 1]
    return best[0] if len(best) == 1 and not vote.get("both_bad") else None


def _letter(index: int) -> str:
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[index] if 0 <= index < 26 else str(index + 1)
