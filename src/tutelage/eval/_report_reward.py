"""The report page's tables of reward models: what their runs left in `reward_report.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tutelage.errors import DataError
from tutelage.eval._base import Measure
from tutelage.eval._report_read import RunFolder
from tutelage.eval.reward_report import FILE


def tables(runs: Sequence[RunFolder]) -> list[dict[str, Any]]:
    """One table for each run with a reward report: measures, probes, and the learning curve's points.

    Raises:
        DataError: a report is no JSON of ours.
    """
    found: list[dict[str, Any]] = []
    for run in runs:
        path = run.path / FILE
        if path.is_file():
            try:
                found.append(_table(run.name, json.loads(path.read_text(encoding="utf-8"))))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(
                    f"not a reward report: {error}", where=str(path), fix="run the command that wrote it again"
                ) from error
    return found


def _table(name: str, told: dict[str, Any]) -> dict[str, Any]:
    named = [(key.replace("_", " "), key, row) for key, row in told["measures"].items()]
    named += [(f"probe: {key}", f"probes › {key}", row) for key, row in told["probes"].items()]
    rows = [_row(shown, f"{name}/{FILE} › {key}", Measure.from_json(row)) for shown, key, row in named]
    for pairs, right in (told["curve"] or {"points": []})["points"]:
        measure = Measure(right, n=pairs, how="a linear reward on the features of the start")
        rows.append(_row(f"learned from {pairs} pairs", f"{name}/{FILE} › curve", measure))
    return {"name": name, "about": " · ".join(told["notes"]), "two": False, "rows": rows}


def _row(name: str, source: str, measure: Measure) -> dict[str, Any]:
    low, high = measure.low, measure.high
    interval = f" ({low:.3f} – {high:.3f})" if low is not None and high is not None else ""
    blank = dict.fromkeys(("arrow", "arrow_title", "before", "gain", "tone"), "")
    shown = {"name": name, "after": f"{measure.value:.3f}{interval}", "how": measure.how, "source": source}
    return blank | shown | {"minor": name.startswith(("probe", "learned"))}
