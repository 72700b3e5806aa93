"""From counts and statistics to what the admin's pages show: figures, intervals, readings in words, times ago."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import exp
from typing import Any

from tutelage.web.text import HIDDEN

Row = dict[str, Any]
Words = Mapping[str, Any]
_KIND_OF = {"left": "warn", "right": "warn", "fast": "warn", "inconsistent": "warn", "one_number": "warn"}
"""faults that are habits rather than reasons to be left out"""


def visible(text: str) -> str:
    """Characters that cannot be seen or that turn the line around, as their code point."""
    return HIDDEN.sub(lambda found: f"⟨U+{ord(found.group()):04X}⟩", text)


def when(seconds: float) -> str:
    """A time of day in UTC, for people."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def iso(seconds: float) -> str:
    """A time for machines."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def ago(then: float | None, now: float, words: Words) -> str:
    """How long ago, in words; the date after two weeks."""
    if then is None:
        return words["never"]
    gone = max(0.0, now - then)
    if gone < 60:
        return words["now"]
    if gone < 3600:
        return words["minutes"].format(n=int(gone // 60))
    if gone < 86400:
        return words["hours"].format(n=int(gone // 3600))
    if gone < 14 * 86400:
        return words["days"].format(n=int(gone // 86400))
    return when(then)[:10]


def verdict(row: Mapping[str, Any], kind: str, words: Words) -> str:
    """What a judgement says, in a few words; answers are numbered as stored, not as shown."""
    if row["both_bad"]:
        return words["both_bad"]
    ranks: Sequence[int] = row["ranks"]
    if kind == "scores":
        return " · ".join(f"{aspect} {score:g}" for aspect, score in row["scores"].items())
    if kind == "edit":
        return words["edited"].format(n=len(row["edit"]))
    if kind == "best" and 1 in ranks:
        return words["best"].format(n=ranks.index(1) + 1)
    if kind == "pair" and len(ranks) == 2:
        said = words["tie"] if ranks[0] == ranks[1] else words["first" if ranks[0] < ranks[1] else "second"]
        return f"{said} · {words['strength'].format(n=row['strength'])}" if row["strength"] else said
    groups: dict[int, list[str]] = {}
    for index, rank in enumerate(ranks):
        groups.setdefault(rank, []).append(str(index + 1))
    return " > ".join(" = ".join(groups[rank]) for rank in sorted(groups))


def judgement_line(row: Mapping[str, Any], kind: str, now: float, words: Words) -> Row:
    """A judgement row as tables show it."""
    return {
        "rater": visible(row["rater"]),
        "said": verdict(row, kind, words["verdicts"]),
        "withdrawn": row["withdrawn"],
        "confirmed": row["confirmed"],
        "flags": row["flags"],
        "shown": " ".join(str(index + 1) for index in row["shown"]),
        "comment": visible(row["comment"]),
        "rubric": row["rubric"],
        "seconds": f"{row['seconds']:.1f}",
        "iso": iso(row["created"]),
        "ago": ago(row["created"], now, words["time"]),
    }


def agreement_lines(told: Mapping[str, Any], words: Words) -> list[Row]:
    """One row per kind of question and aspect: items, the two measures, and what they say in words."""
    told_words, kinds = words["agreement"], words["kinds"]
    rows: list[Row] = []
    for line in told["agreement"]:
        few = few_prompts(line["prompts"], words)
        alpha, equal = _interval(line, "alpha", few), _interval(line, "agreement", few)
        sort, _, aspect = line["question"].partition(": ")
        reading, kind = _reading(alpha)
        name = kinds.get(sort, sort) + (f" · {aspect}" if aspect else "")
        rows.append(
            {
                "name": name,
                "shared": line["shared_items"],
                "equal": equal,
                "alpha": alpha,
                "reading": told_words[f"reading_{reading}"],
                "kind": kind,
            }
        )
    return rows


def other_measures(told: Mapping[str, Any], words: Words) -> list[list[str]]:
    """Kind of question, then Fleiss' kappa, Gwet's AC1 and Kendall's tau-b, each with its interval."""
    names = {"fleiss": "prompts", "ac1": "prompts", "tau_b": "tau_b_prompts"}
    rows: list[list[str]] = []
    for line, shown in zip(told["agreement"], agreement_lines(told, words), strict=True):
        found = [_interval(line, name, few_prompts(line.get(carry, 0), words)) for name, carry in names.items()]
        rows.append([shown["name"], *("–" if one is None else _brief(one) for one in found)])
    return rows


def few_prompts(prompts: int, words: Words) -> str:
    """Why a bootstrap over so few prompts gives no interval; empty: it does."""
    reasons: Sequence[str] = words["agreement"]["few"]
    return reasons[max(0, prompts - 1)] if prompts <= len(reasons) else ""


def _brief(one: Row) -> str:
    if one["low"] is None:
        return f"{one['value']:.2f} ({one['few']})"
    return f"{one['value']:.2f} ({one['low']:.2f} – {one['high']:.2f})"


def _interval(line: Mapping[str, Any], name: str, few: str) -> Row | None:
    if line.get(name) is None:
        return None
    return {"value": line[name], "low": line[f"{name}_low"], "high": line[f"{name}_high"], "few": few}


def _reading(alpha: Row | None) -> tuple[str, str]:
    if alpha is None:
        return "undefined", ""
    if alpha["low"] is None:
        return "few", ""
    if alpha["high"] < 0:
        return "opposed", "bad"
    if alpha["low"] <= 0:
        return "none", "bad"
    if alpha["value"] < 0.2:
        return "low", "warn"
    return ("good", "good") if alpha["value"] >= 0.5 else ("fair", "accent")


def rater_rows(
    told: Mapping[str, Any], excluded: Mapping[str, str], names: Mapping[str, str], words: Words
) -> list[Row]:
    """One row per rater with signs of trouble in words, worst first.

    Args:
        names: rater → how the admin calls them.
    """
    rows = [_rater_row(line, excluded, names, words["raters"]) for line in told["raters"]]
    return sorted(rows, key=lambda row: (row["excluded"], -len(row["signs"]), -row["judgements"]))


def _rater_row(line: Mapping[str, Any], excluded: Mapping[str, str], names: Mapping[str, str], words: Words) -> Row:
    count, rater = line["judgements"], line["rater"]
    agrees: Mapping[str, float] | None = line["detail"]["agrees"]  # of choices on which the others have a word
    signs: list[Row] = []
    if rater in excluded:
        signs.append({"kind": "", "text": words["sign_off"]})
    faults: Sequence[str] = line["faults"]
    signs += [{"kind": _KIND_OF.get(fault, "bad"), "text": words["faults"].get(fault, fault)} for fault in faults]
    left = None
    if line["left"] is not None:
        tilted = "left" in faults or "right" in faults
        left = {"value": line["left"], "low": line["left_low"], "high": line["left_high"], "kind": "warn" * tilted}
    trouble = any(sign["kind"] == "bad" for sign in signs)
    called = names.get(rater, visible(rater))
    return {
        "rater": rater,
        "name": called,
        "judgements": count,
        "excluded": rater in excluded,
        "signs": signs,
        "accuracy": _per_cent(line["accuracy"]),
        "agrees": agrees and {**agrees, "kind": "bad" if trouble else ""},
        "again": _per_cent(line["self_consistency"]),
        "gold": _per_cent(line["gold"]),
        "left": left,
        "severity": "–" if line["severity"] is None else f"{line['severity']:+.2f}",
        "seconds": "–" if line["median_seconds"] is None else f"{line['median_seconds']:.1f}",
    }


def _per_cent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def board(told: Mapping[str, Any], words: Words) -> Row | None:
    """The leaderboard: models that cannot be told apart (each value within the other's interval) share a place."""
    models = told["models"]
    if not models:
        return None
    few = few_prompts(models["prompts"], words)
    lines = sorted(models["strengths"], key=lambda line: -line["value"])
    rows: list[Row] = []
    for at, line in enumerate(lines):
        above = rows[-1] if rows else None
        same = above is not None and (few or (above["low"] <= line["value"] and line["high"] >= above["value"]))
        rows.append(
            {
                **line,
                "model": visible(line["model"]),
                "few": few,
                "place": above["place"] if above is not None and same else at + 1,
                "beats": f"{100 / (1 + exp(-line['value'])):.0f} %",
            }
        )
    side = models["side"]
    reading = "side_few" if few else "side_none"
    if side and not few and (side["low"] > 0 or side["high"] < 0):
        reading = "side_left" if side["value"] > 0 else "side_right"
    edges = [abs(row[name]) for row in rows for name in ("value", "low", "high") if row[name] is not None]
    most = max(*edges, 0.5)
    return {
        "rows": rows,
        "votes": models["votes"],
        "tie": models["tie"],
        "side": side,
        "side_reading": words["leaderboard"][reading],
        "least": -most,
        "most": most,
    }


def changes(before: Any, after: Any) -> list[Row]:
    """What an audit row changed, field by field, each value cut to a line."""
    if not isinstance(after, Mapping):
        return [] if after is None and before is None else [{"name": "", "before": _cut(before), "after": _cut(after)}]
    earlier: Mapping[str, Any] = before if isinstance(before, Mapping) else {}
    return [
        {"name": str(name), "before": _cut(earlier[name]) if name in earlier else None, "after": _cut(value)}
        for name, value in after.items()
        if value != earlier.get(name)
    ]


def _cut(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:199]}…"
