"""`rate stats`: agreement, raters, models and doubtful questions, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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
            ui.say(f"{line['question']}: Kendall's tau-b of two raters {_with_interval(line, 'tau_b')}")
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
        ui.table(told["models"]["strengths"], "models (log odds, 95% intervals over prompts)")
        side = told["models"]["side"]
        ui.say(f"standing left adds {_with_interval({'side': side['value']} | _ends(side), 'side')} log odds")
    if told["ceiling"]:
        ceiling = told["ceiling"]
        ui.say(
            "one rater chooses what the others choose together: "
            f"{ceiling['value']:.3f} ({ceiling['low']:.3f} to {ceiling['high']:.3f})"
        )
    if told["adjudicate"]:
        first = ", ".join(f"{line['question']} ({line['reason']})" for line in told["adjudicate"][:3])
        ui.say(f"to look at again: {len(told['adjudicate'])} questions, first {first}; all of them with --out")
    if told["votes_per_pair"] < 1.5:
        ui.warn("few pairs have more than one vote, so the raters cannot be checked by each other: ask several of them")


def _ends(interval: Mapping[str, float]) -> dict[str, float]:
    return {"side_low": interval["low"], "side_high": interval["high"]}


def _with_interval(line: Mapping[str, Any], name: str) -> str:
    if line[name] is None:
        return f"undefined: {line['undefined'] or 'no variation'}"
    return f"{line[name]:.2f} ({line[f'{name}_low']:.2f} to {line[f'{name}_high']:.2f})"


def _short(value: Any) -> Any:
    return f"{value:.2f}" if isinstance(value, float) else value
