"""`rate stats`: agreement, raters, models and doubtful questions, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tutelage.cli._ui import counted

if TYPE_CHECKING:
    from tutelage.cli._ui import UI
    from tutelage.store.store import Store

COUNTS = ("questions", "open_questions", "samples", "raters", "judgements", "extra_judgements")
_COLUMNS = {
    "rater": "rater",
    "judgements": "n",
    "accuracy": "right",
    "weight": "weight",
    "agrees_with_others": "as others",
    "gold": "gold",
    "left": "left",
    "ties": "ties",
    "severity": "severe",
    "self_consistency": "again",
    "median_seconds": "s",
}


def excluded(store: Store, project: str, at: float | None = None) -> dict[str, str]:
    """Raters who are left out of statistics and exports now (or were, `at` seconds since 1970), with the reason."""
    from tutelage.store.people import People

    return People(store.database, b"").excluded(project, at)


def moment(text: str) -> float | None:
    """Seconds since 1970 of an ISO time, UTC where it names no zone; None where it is empty.

    Raises:
        UsageError: it is no time.
    """
    from datetime import UTC, datetime

    from tutelage.errors import UsageError

    if not text:
        return None
    try:
        told = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--at {text!r} is no time", fix="such as 2026-11-21T10:00:00+00:00") from error
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()


def told_of(store: Store, project: str) -> dict[str, Any]:
    """Everything that is known of a project's raters and models, JSON-able; excluded raters count for nothing."""
    from tutelage.labelers._consensus import report
    from tutelage.store.work import Work

    without = excluded(store, project)
    told = report(store, project, tuple(without), Work(store.database).skipped(project))
    called = names(store)
    lines = [line | {"name": called.get(line["rater"], "")} for line in told["raters"]]
    return told | {"raters": lines, "excluded": without, "names": {rater: called.get(rater, "") for rater in without}}


def names(store: Store) -> dict[str, str]:
    """rater → the name that admins see, for everybody with an account."""
    from tutelage.store.people import People

    return {account.rater: account.name for account in People(store.database, b"").accounts()}


def called(rater: str, name: str) -> str:
    """A rater as messages call them: by name and id, or by the id alone where that says it all."""
    return f"{name} ({rater})" if name and name != rater else rater


def show(told: Mapping[str, Any], ui: UI) -> None:
    """The tables."""
    from tutelage.statistics.quality import FAULTS

    names = ("agreement", "alpha", "fleiss", "ac1")
    lines = [
        {
            "question": f"{line['question']} ({line['level']})",
            "items": line["shared_items"],
            **{name: _with_interval(line, name) for name in names},
        }
        for line in told["agreement"]
    ]
    ui.table(lines, "agreement (1 = perfect; all but the first: 0 = by chance; 95% intervals over prompts)")
    for line in told["agreement"]:
        if line.get("tau_b") is not None:
            alike = _with_interval(line | {"prompts": line["tau_b_prompts"]}, "tau_b")
            ui.say(f"{line['question']}: Kendall's tau-b of two raters {alike}")
    shown = [{short: _short(line[key]) for key, short in _COLUMNS.items()} for line in told["raters"]]
    for row, line in zip(shown, told["raters"], strict=True):
        row["rater"] = called(line["rater"], line["name"])
    meant = "right: estimated share of right choices; weight: of their word in an export; again: repeats itself"
    ui.table(shown, f"raters ({meant})")
    for line in told["raters"]:
        for fault in line["faults"]:
            ui.say(f"{called(line['rater'], line['name'])}: {FAULTS[fault]}")
    for rater, reason in told["excluded"].items():
        who = called(rater, told["names"][rater])
        ui.say(f"{who} is excluded from all this and from exports: {reason or 'no reason given'}")
    if told["models"]:
        models = told["models"]
        few = _few(models["prompts"])
        ui.table(models["strengths"], f"models (log odds, {few or '95% intervals over prompts'})")
        ui.say(f"standing left adds {_bounded(models['side'], models['prompts'])} log odds")
    if told["ceiling"]:
        ceiling = told["ceiling"]
        ui.say(f"one rater chooses what the others choose together: {_bounded(ceiling, ceiling['prompts'], 3)}")
    if told["adjudicate"]:
        first = ", ".join(f"{line['question']} ({line['reason']})" for line in told["adjudicate"][:3])
        count = counted(len(told["adjudicate"]), "question")
        ui.say(f"to look at again: {count}, first {first}; all of them with --out")
    if told["votes_per_pair"] < 1.5:
        ui.warn("few pairs have more than one vote, so the raters cannot be checked by each other: ask several of them")


def _with_interval(line: Mapping[str, Any], name: str) -> str:
    if line[name] is None:
        return f"undefined: {line['undefined'] or 'no variation'}"
    ends = {"value": line[name], "low": line[f"{name}_low"], "high": line[f"{name}_high"]}
    return _bounded(ends, line["prompts"])


def _bounded(told: Mapping[str, Any], prompts: int, digits: int = 2) -> str:
    """`0.50 (0.41 to 0.58)`, or why there is no interval."""
    if told["low"] is None:
        return f"{told['value']:.{digits}f} ({_few(prompts)})"
    return f"{told['value']:.{digits}f} ({told['low']:.{digits}f} to {told['high']:.{digits}f})"


def _few(prompts: int) -> str:
    """Why a bootstrap over so few prompts gives no interval; empty: it does."""
    return {0: "no interval: no prompt", 1: "no interval: one prompt", 2: "no interval: two prompts"}.get(prompts, "")


def _short(value: Any) -> Any:
    return f"{value:.2f}" if isinstance(value, float) else value
