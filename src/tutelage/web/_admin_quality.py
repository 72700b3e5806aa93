"""Admin pages of quality control: one rater's report, what to adjudicate, the decision itself, what selection saves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from tutelage.errors import DataError, TryAgainError
from tutelage.store.choosing import Choosing
from tutelage.store.decisions import Decisions
from tutelage.store.overview import Asked
from tutelage.types import Judgement
from tutelage.web._admin_forms import one
from tutelage.web._admin_numbers import rater_rows, visible, when
from tutelage.web._admin_page import Desk, Form, slug_of
from tutelage.web._admin_questions import first_words
from tutelage.web._admin_reports import report_of

if TYPE_CHECKING:
    from tutelage.statistics.saving import Saving

Row = dict[str, Any]
_QUEUE = 100


def rater(desk: Desk) -> Response:
    """All that is known of one rater's work, and what was decided about them."""
    project, name = desk.project(), desk.request.path_params["rater"]
    excluded = desk.people.excluded(project)
    told = report_of(desk, project, excluded)
    admission = Decisions(desk.store.database).admissions(project).get(name)
    lines = [line for line in told["raters"] if line["rater"] == name]
    if name not in desk.overview.by_rater(project) and admission is None:
        raise HTTPException(404, "there is no such rater in this project")
    rows = rater_rows({"raters": lines}, excluded, desk.names(), desk.words)
    names = desk.names()
    exclusions = [
        {"out": row["excluded"], "reason": visible(row["reason"]), "by": names.get(row["actor"], row["actor"])}
        | {"when": when(row["created"])}
        for row in desk.people.exclusions(project, name)
    ]
    return desk.page(
        "rater",
        "raters",
        project,
        rater=name,
        name=names.get(name, visible(name)),
        row=rows[0] if rows else None,
        line=lines[0] if lines else None,
        excluded=name in excluded,
        quiz=_quiz(admission, desk.words["rater"]),
        kept_out=admission is not None and not admission["admitted"],
        exclusions=exclusions,
    )


def _quiz(admission: Mapping[str, Any] | None, words: Mapping[str, str]) -> str:
    if admission is None:
        return ""
    name = "quiz_let" if admission["actor"] != "quiz" else "quiz_passed" if admission["admitted"] else "quiz_failed"
    return words[name].format(right=admission["right"], asked=admission["asked"])


def admit(desk: Desk, form: Form) -> Response:
    """Let a rater in who did not pass the quiz."""
    project, name = desk.project(), one(form.fields, "rater")
    back = f"/admin/projects/{slug_of(project)}/raters"
    try:
        Decisions(desk.store.database).admit(project, name, actor=desk.session.rater)
    except DataError:
        return desk.done(back, desk.words["raters"]["unknown"], "bad")
    return desk.done(back, desk.words["rater"]["admitted"].format(name=desk.names().get(name, name)))


def adjudication(desk: Desk) -> Response:
    """The questions that raters have not settled, the most doubtful first."""
    project = desk.project()
    told = report_of(desk, project, desk.people.excluded(project))["adjudicate"][:_QUEUE]
    posed = desk.overview.posed([doubt["question"] for doubt in told])
    rows: list[Row] = []
    for doubt in told:
        if doubt["question"] in posed:
            asked = posed.pop(doubt["question"])
            shown = {"number": asked["number"], "prompt": first_words(asked["content"])}
            rows.append(doubt | shown | {"certainty": f"{100 * doubt['certainty']:.0f} %"})
    return desk.page("adjudication", "adjudication", project, rows=rows)


def decide(desk: Desk, form: Form) -> Response:
    """Set the answer to a question, or take it out of gold."""
    project, words, fields = desk.project(), desk.words["adjudication"], form.fields
    number = desk.request.path_params["number"]
    if number > 2**62:
        raise HTTPException(404, "there is no such question")
    back = f"/admin/projects/{slug_of(project)}/questions/{number}"
    decisions, actor = Decisions(desk.store.database), desk.session.rater
    asked = desk.overview.question(project, number)
    if one(fields, "unmark"):
        decisions.unmark(project, number, actor=actor)
        return desk.done(back, words["unmarked"])
    try:
        answer = _answer(asked, fields)
        decisions.decide(project, number, answer, gold=True if fields.get("gold") else None, actor=actor)
    except TryAgainError:
        return desk.done(back, words["awaited"], "bad")
    except (DataError, ValueError):
        return desk.done(back, words["missing"], "bad")
    return desk.done(back, words["saved"])


def _answer(asked: Asked, fields: Mapping[str, list[str]]) -> Judgement:
    """What the form decides.

    Raises:
        ValueError: something is not chosen.
    """
    kind, count = asked.row["kind"], len(asked.candidates)
    comment = one(fields, "comment")[:5000]
    if kind == "scores":
        scores = {aspect: float(one(fields, f"score-{at}")) for at, aspect in enumerate(asked.row["aspects"])}
        return Judgement("", "", "", scores=scores, comment=comment)
    if kind == "ranking":
        places = [int(one(fields, f"rank-{at}")) for at in range(count)]
        order = sorted(set(places))
        ranks = tuple(1 + sum(other < place for other in places) for place in places)
        if order[0] < 1:
            raise ValueError("a place below the first")
        return Judgement("", "", "", ranks, comment=comment)
    chosen = one(fields, "choice")
    if kind == "pair" and chosen in ("tie", "both_bad"):
        return Judgement("", "", "", (1, 1), both_bad=chosen == "both_bad", comment=comment)
    best = int(chosen)
    if not 0 <= best < count:
        raise ValueError("no such answer")
    return Judgement("", "", "", tuple(1 if at == best else 2 for at in range(count)), comment=comment)


def selection(desk: Desk, project: str) -> Row | None:
    """What was chosen, what that saved and how much of the budget is left; None where nothing was set up."""
    told, words = desk.projects.settings(project), desk.words["selection"]
    left, pool, all_ = Choosing(desk.store.database).left(project)
    if told.selection == "random" and not all_:
        return None
    saved = ""
    if all_ and desk.settings.saving is not None:
        kept = desk.notes.savings
        state = (project, *desk.overview.newest(), *sorted(desk.people.excluded(project)))
        if state not in kept:  # seconds of counting, so once for each state of the database
            kept.clear()
            kept[state] = desk.settings.saving(desk.store, project)
        saved = _saving(kept[state], words)
    used_up = told.selection != "random" and bool(all_) and not left and bool(pool)
    line = words["left"].format(left=f"{left:,}", pool=f"{pool:,}")
    return {"line": line, "method": told.selection, "saved": saved, "used_up": used_up}


def _saving(gain: Any, words: Mapping[str, str]) -> str:
    found: Saving = gain.saving
    if found.interval is None:
        return words["unknown"].format(why=words["few"].format(random=gain.random, active=gain.active))
    value, low, high = found.interval
    name = "no" if low <= 0 <= high else "yes" if low > 0 else "cost"
    if name == "cost":
        value, low, high = -value, -high, -low
    told = {"value": value, "low": low, "high": high}
    return words[name].format(**{name: f"{100 * number:.0f}" for name, number in told.items()})
