"""One self-contained HTML page about runs and evaluations: curves, tables, answers, raters, and sources."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import tutelage
from tutelage.eval import _report_compare, _report_curves, _report_people, _report_reward, _report_tables
from tutelage.eval._report_read import Found, discover
from tutelage.eval._report_words import t

_FOLDER = Path(__file__).parent


def render(folders: Sequence[Path], *, title: str = "", made: datetime | None = None) -> str:
    """The page for everything found in `folders`: runs, evaluations, a summary; what is missing is left out.

    `made`: the time to write on it (now).

    Raises:
        MissingInputError: a folder is not there.
        DataError: there is nothing to show, or a JSON file is broken.
    """
    found = discover(folders)
    script = (_FOLDER / "_report.js").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    view = _view(found)
    return environment.get_template("_report.html.j2").render(
        t=t,
        title=title or ", ".join(folder.resolve().name for folder in folders),
        made=(made or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC"),
        version=tutelage.__version__,
        style=Markup((_FOLDER / "_report.css").read_text(encoding="utf-8")),  # ours, not data
        script=Markup(script),
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        sections=[name for name in _SECTIONS if _shown(name, view)],
        **view,
    )


_SECTIONS = {
    "summary": "tiles",
    "alarms": "",
    "compared": "compared",
    "curves": "runs",
    "quality": "tables",
    "answers": "answers",
    "raters": "raters",
    "sources": "sources",
}


def _view(found: Found) -> dict[str, Any]:
    numbers = _report_tables.numbers(found)
    return {
        "verdicts": _report_tables.verdicts(numbers),
        "tiles": _report_tables.tiles(numbers),
        "alarms": [{"run": run.name, "text": alarm} for run in found.runs for alarm in run.alarms],
        "unreadable": found.unreadable,
        "compared": _report_compare.compared(found),
        "runs": [_report_curves.run_view(run, found.roots) for run in found.runs],
        "stages": [run.name for run in found.runs],
        "tables": [*_report_tables.tables(found), *_report_reward.tables(found.runs)],
        "answers": _report_people.answers(found),
        "raters": _report_people.raters(found),
        "sources": _report_tables.sources(numbers),
    }


def _shown(section: str, view: dict[str, Any]) -> bool:
    part = _SECTIONS[section]
    if part == "raters":
        return bool(view["raters"]["questions"] or view["raters"]["table"])
    return not part or bool(view[part])
