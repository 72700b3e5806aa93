"""Admin pages of statistics: raters and who is left out, agreement, the leaderboard of models."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from starlette.responses import Response

from tutelage.store.decisions import Decisions
from tutelage.store.work import Work
from tutelage.web._admin_forms import one
from tutelage.web._admin_numbers import agreement_lines, board, few_prompts, other_measures, rater_rows, visible
from tutelage.web._admin_page import Desk, Form, slug_of
from tutelage.web._admin_questions import first_words

_EMPTY: Mapping[str, Any] = {
    "agreement": [],
    "raters": [],
    "models": None,
    "ceiling": None,
    "votes_per_pair": 0.0,
    "adjudicate": [],
}


_KEPT, _QUEUE = 16, 20


def report_of(desk: Desk, project: str, without: Collection[str] = ()) -> Mapping[str, Any]:
    """The statistics of a project; empty where nothing was judged yet or the server was not given any."""
    if desk.settings.report is None or not desk.overview.by_rater(project):
        return _EMPTY
    state = (project, *desk.overview.newest(), *sorted(without))
    kept = desk.notes.reports
    if state not in kept:  # seconds of counting, so once for each state of the database
        if len(kept) >= _KEPT:
            kept.pop(next(iter(kept)), None)
        skips = Work(desk.store.database).skipped(project)
        kept[state] = desk.settings.report(desk.store, project, without, skips)
    return kept[state]


def raters(desk: Desk) -> Response:
    """How each rater judges."""
    project = desk.project()
    excluded = desk.people.excluded(project)
    told = report_of(desk, project, excluded)
    rows = rater_rows(told, excluded, desk.names(), desk.words)
    names, words = desk.names(), desk.words["rater"]
    kept = [
        {
            "rater": name,
            "name": names.get(name, visible(name)),
            "quiz": words["quiz_failed"].format(right=row["right"], asked=row["asked"]),
        }
        for name, row in Decisions(desk.store.database).admissions(project).items()
        if not row["admitted"]
    ]
    thin = bool(rows) and told["votes_per_pair"] < 1.5
    return desk.page("raters", "raters", project, rows=rows, thin=thin, kept=kept)


def exclude(desk: Desk, form: Form) -> Response:
    """Leave a rater out from now on, or take them in again."""
    project, rater, out = desk.project(), one(form.fields, "rater"), one(form.fields, "exclude") == "1"
    words = desk.words["raters"]
    back = f"/admin/projects/{slug_of(project)}/raters"
    known = set(desk.overview.by_rater(project))
    if rater not in known:
        return desk.done(back, words["unknown"], "bad")
    desk.people.exclude(project, rater, out, reason=one(form.fields, "reason")[:500], actor=desk.session.rater)
    name = desk.names().get(rater, rater)
    return desk.done(back, words["excluded" if out else "included"].format(name=name))


def agreement(desk: Desk) -> Response:
    """How far raters mean the same."""
    project = desk.project()
    told = report_of(desk, project, desk.people.excluded(project))
    rows, words = agreement_lines(told, desk.words), desk.words["agreement"]
    ceiling: Mapping[str, Any] | None = told["ceiling"]
    more = [{"title": words["others"], "columns": words["measures"], "rows": other_measures(told, desk.words)}]
    posed = desk.overview.posed([doubt["question"] for doubt in told["adjudicate"][:_QUEUE]])
    doubts = [
        doubt
        | {"number": posed[doubt["question"]]["number"], "prompt": first_words(posed[doubt["question"]]["content"])}
        | {"certainty": f"{100 * doubt['certainty']:.0f} %"}
        for doubt in told["adjudicate"]
        if doubt["question"] in posed
    ]
    return desk.page(
        "agreement",
        "agreement",
        project,
        rows=rows,
        ceiling=ceiling and {**ceiling, "few": few_prompts(ceiling["prompts"], desk.words)},
        votes=told["votes_per_pair"],
        more=more,
        doubts=doubts,
    )


def leaderboard(desk: Desk) -> Response:
    """Which model raters prefer."""
    project = desk.project()
    return desk.page(
        "leaderboard",
        "leaderboard",
        project,
        board=board(report_of(desk, project, desk.people.excluded(project)), desk.words),
    )
