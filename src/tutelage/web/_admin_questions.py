"""Admin pages about questions: the list, one of them with all that was said, and bringing in answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from tutelage.data import formats
from tutelage.errors import DataError
from tutelage.store.answers import read_answers
from tutelage.store.audit import record
from tutelage.store.overview import SHOWS, Show
from tutelage.store.prompts import adopt
from tutelage.store.rows import text_of
from tutelage.store.standing import GOLD
from tutelage.types import Text, plain
from tutelage.web._admin_numbers import ago, iso, judgement_line, visible
from tutelage.web._admin_page import Desk, Form, slug_of
from tutelage.web._asking import USUAL, ask_about, holds_prompts, read_wanted, uploaded
from tutelage.web._file_words import in_language
from tutelage.web._orders import WAITING
from tutelage.web._pages import language_of
from tutelage.web._sampling import Jobs

PER_PAGE = 50


def questions(desk: Desk, problem: str = "") -> Response:
    """The questions by the page, and the form for more."""
    project, query = desk.project(), desk.request.query_params
    shows: dict[str, Show] = {name: name for name in SHOWS}
    show = shows.get(query.get("show", "all"), "all")
    asked_for = query.get("page", "1")
    page = max(1, int(asked_for)) if asked_for.isdecimal() and len(asked_for) < 8 else 1
    total, found = desk.overview.page(project, show, limit=PER_PAGE, offset=(page - 1) * PER_PAGE)
    rows = [
        {
            **{name: row[name] for name in ("number", "kind", "given", "overlap", "skips")},
            "prompt": first_words(row["content"]),
        }
        for row in found
    ]
    settings = desk.projects.settings(project)
    preset = {"kind": settings.kinds[0], "overlap": settings.overlap} | USUAL
    return desk.page(
        "questions",
        "questions",
        project,
        400 if problem else 200,
        rows=rows,
        total=total,
        show=show,
        page=page,
        pages=-(-total // PER_PAGE),
        preset=preset,
        problem=problem,
        possible=desk.settings.questions is not None,
        at_work=_at_work(desk, project),
    )


def _at_work(desk: Desk, project: str) -> str:
    """Whether a model answers prompts of this project just now, in a word."""
    jobs: Jobs | None = desk.request.app.state.sampling
    job = jobs.of(project) if jobs else None
    return desk.words["sampling"]["states"][job.state] if job and job.state in WAITING else ""


def first_words(content: Any) -> str:
    """The beginning of a prompt in one line, for a list."""
    text = " ".join(plain(text_of(content)).split())
    return visible(text if len(text) <= 140 else f"{text[:139]}…")


def question(desk: Desk) -> Response:
    """One question with its answers, their models, and every judgement ever made on it."""
    project, words, names = desk.project(), desk.words, desk.names()
    number_ = desk.request.path_params["number"]
    if number_ > 2**62:
        raise HTTPException(404, "there is no such question")
    found, now = desk.overview.question(project, number_), desk.overview.now()
    kind = found.row["kind"]
    history = [
        judgement_line(row, kind, now, words)
        | {
            "rater": names.get(row["rater"], visible(row["rater"])),
            "stands": row["stands"],
            "purpose": row["purpose"],
            "key": row["rater"] == GOLD,
            "edit": visible(row["edit"]),
        }
        for row in found.history
    ]
    skips = [
        {
            "rater": names.get(row["rater"], visible(row["rater"])),
            "reason": row["reason"],
            "comment": visible(row["comment"]),
            "iso": iso(row["created"]),
            "ago": ago(row["created"], now, words["time"]),
        }
        for row in found.skips
    ]
    answers = [
        {
            "text": visible(sample.text),
            "model": visible(sample.model),
            "weights": visible("" if sample.model.endswith(f"@{sample.checkpoint[:12]}") else sample.checkpoint),
            "cut": sample.finish == "length",
        }
        for sample in found.candidates
    ]
    return desk.page(
        "question",
        "questions",
        project,
        number=number_,
        kind=kind,
        overlap=found.row["overlap"],
        given=sum(row["stands"] and not row["purpose"] and row["rater"] != GOLD for row in found.history),
        probability=found.row["probability"],
        prompt=_turns(found.prompt.content),
        answers=answers,
        history=history,
        skips=skips,
        aspects=list(found.row["aspects"]),
        scale=found.row["scale"],
        is_gold=found.row["purpose"] == "gold",
    )


def _turns(content: Text) -> list[dict[str, str]]:
    if isinstance(content, str):
        return [{"role": "", "text": visible(content)}]
    return [{"role": message.role, "text": visible(message.content)} for message in content]


def bring_in(desk: Desk, form: Form) -> Response:
    """Make questions of an uploaded file of answers; the same file again adds nothing. Prompts alone wait for them."""
    project, words, fields = desk.project(), desk.words, form.fields
    back = f"/admin/projects/{slug_of(project)}"
    wanted, wrong = read_wanted(fields, desk.projects.settings(project).kinds[0], words)
    if wanted is None:
        return questions(desk, wrong)
    upload = form.files.get("file")
    if upload is None or not upload.filename or desk.settings.questions is None:
        return questions(desk, words["questions"]["no_file"])
    with uploaded(upload) as path:
        try:
            if holds_prompts(path):
                return desk.done(f"{back}/sampling", _prompts_in(desk, project, path))
            samples = read_answers([path])
        except DataError as error:
            told = in_language(str(error), language_of(desk.request))
            return questions(desk, told.replace(str(path), Path(upload.filename).name))
    made, new = ask_about(desk.store, desk.settings.questions, samples, project, wanted)
    if not made:
        return questions(desk, words["questions"]["no_questions"])
    after = {"answers": len(samples), "questions": new, "kind": wanted.kind, "overlap": wanted.overlap}
    record(desk.store.database, desk.session.rater, "import answers", project, after=after)
    text = words["questions"]["done" if new else "nothing_new"].format(count=f"{new:,}")
    return desk.done(f"{back}/questions", text)


def _prompts_in(desk: Desk, project: str, path: Path) -> str:
    """Keep prompts until they are answered; what is said of it."""
    found = formats.load(path, "prompt")
    _, new = adopt(desk.store.database, project, found)
    record(desk.store.database, desk.session.rater, "import prompts", project, after={"prompts": new})
    words = desk.words["sampling"]
    return words["prompts_in"].format(count=f"{new:,}") if new else words["prompts_known"]
