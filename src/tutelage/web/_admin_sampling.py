"""Admin pages on which a model is asked for answers: the form, the job under way, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tutelage.data import formats
from tutelage.errors import DataError, TutelageError
from tutelage.types import Prompt
from tutelage.web import _asking
from tutelage.web._admin_forms import number, one
from tutelage.web._admin_numbers import ago, iso, when
from tutelage.web._admin_page import Desk, Form, sent, shown, slug_of
from tutelage.web._asking import LIMITS, read_wanted, uploaded
from tutelage.web._file_words import in_language
from tutelage.web._models import Model
from tutelage.web._orders import LEFT, WAITING, RefusedError
from tutelage.web._pages import language_of
from tutelage.web._sampling_desk import SamplingDesk, Source, Wish

NUMBERS: Mapping[str, tuple[float, float, bool]] = {
    "answers": (1, 64, True),
    "max_new_tokens": (1, 4096, True),
    "temperature": (0.05, 5, False),
    "seed": (0, 2**31 - 1, True),
}
"""field → least, most, whole"""
USUAL: dict[str, float] = _asking.USUAL | {"answers": 2, "max_new_tokens": 128, "temperature": 1.0, "seed": 0}
"""field → what is meant where nothing is said; overlap and kind are the project's"""
_SOURCES: Mapping[str, Source] = {"unanswered": "unanswered", "all": "all", "file": "given"}


def sampling(desk: Desk, problem: str = "", typed: Mapping[str, str] | None = None) -> Response:
    """The models, the form for an order, and the newest job."""
    at, words = SamplingDesk(desk), desk.words["sampling"]
    settings, there, job, told = desk.projects.settings(at.project), at.counts(), at.job(), at.told()
    usual = {name: f"{value:g}" for name, value in (USUAL | {"overlap": settings.overlap}).items()}
    usual["kind"] = settings.kinds[0]
    usual["source"] = "unanswered" if there["unanswered"] else "all" if there["all"] else "file"
    models = at.models()
    usual["model"] = max((model for model in models if not model.problem), key=_age, default=_NONE).name
    by = ""
    if job is not None:
        gone = ago(job.created, desk.overview.now(), desk.words["time"])
        by = words["by"].format(name=desk.names().get(job.actor, job.actor), ago=gone)
    return desk.page(
        "sampling",
        "questions",
        at.project,
        400 if problem else 200,
        off=at.jobs is None,
        folder=at.sampler_folder,
        models=[_line(model) for model in models if not model.problem],
        left_out=[{"name": model.name, "why": words["problems"][model.problem]} for model in models if model.problem],
        there=there,
        values=usual | dict(typed or {}),
        limits={name: {"least": least, "most": most} for name, (least, most, _) in NUMBERS.items()},
        problem=problem,
        job=told,
        by=by,
        under_way=job is not None and job.state in WAITING,
        can_go_on=job is not None and job.state in LEFT,
    )


_NONE = Model("", False, "", 0, 0.0)


def _age(model: Model) -> float:
    return model.changed


def _line(model: Model) -> dict[str, str]:
    size = model.size / 1e6
    return {
        "name": model.name,
        "told": f"{size:,.0f} MB" if size >= 10 else f"{size:.1f} MB",
        "iso": iso(model.changed),
        "when": when(model.changed),
        "adapter": "1" if model.adapter else "",
    }


def order(desk: Desk, form: Form) -> Response:
    """Order answers; what is wrong is said above the form, which keeps what was typed."""
    words, fields = desk.words, form.fields
    typed = {name: one(fields, name) for name in (*NUMBERS, *LIMITS, "model", "source", "kind")}
    at = SamplingDesk(desk)
    found: dict[str, Any] = {}
    for name, (least, most, whole) in NUMBERS.items():
        value, wrong = number(typed[name], least, most, whole, words["form"])
        if wrong:
            return sampling(desk, f"{words['sampling'][name]}: {wrong}", typed)
        found[name] = int(value) if whole else value
    asked, wrong = read_wanted(fields, desk.projects.settings(at.project).kinds[0], words)
    if asked is None:
        return sampling(desk, wrong, typed)
    try:
        if typed["source"] not in _SOURCES:
            raise RefusedError("no_source")
        given = _uploaded_prompts(form) if typed["source"] == "file" else []
        at.order(Wish(model=typed["model"], source=_SOURCES[typed["source"]], **found, asked=asked), given)
    except TutelageError as error:
        return sampling(desk, _said(error, desk), typed)
    return RedirectResponse(f"{_address(at.project)}#job", 303)  # the job itself says what becomes of it


def _uploaded_prompts(form: Form) -> list[Prompt]:
    upload = form.files.get("file")
    if upload is None or not upload.filename:
        raise RefusedError("no_file")
    with uploaded(upload) as path:
        try:
            return list(formats.load(path, "prompt"))
        except DataError as error:
            name = upload.filename.rpartition("/")[2]
            raise DataError(str(error).replace(str(path), name)) from error


def _said(error: TutelageError, desk: Desk) -> str:
    if isinstance(error, RefusedError):
        return error.said(desk.words)
    return in_language(str(error), language_of(desk.request))


def _address(project: str) -> str:
    return f"/admin/projects/{slug_of(project)}/sampling"


def cancel(desk: Desk, form: Form) -> Response:
    """End it; what it has is kept, and the page says so."""
    return _act(desk, lambda at: at.cancel())


def go_on(desk: Desk, form: Form) -> Response:
    """Take it up again."""
    return _act(desk, lambda at: at.go_on())


def discard(desk: Desk, form: Form) -> Response:
    """Throw away what it left."""
    return _act(desk, lambda at: at.discard(), "discarded")


def _act(desk: Desk, do: Callable[[SamplingDesk], object], done: str = "") -> Response:
    at = SamplingDesk(desk)
    try:
        do(at)
    except TutelageError as error:
        return desk.done(_address(at.project), _said(error, desk), "bad")
    if done:
        return desk.done(_address(at.project), desk.words["sampling"][done])
    return RedirectResponse(f"{_address(at.project)}#job", 303)


_PAGE = "/admin/projects/{project}/sampling"

routes = [
    Route(_PAGE, shown(sampling), methods=["GET"]),
    Route(_PAGE, sent(order), methods=["POST"]),
    Route(f"{_PAGE}/cancel", sent(cancel), methods=["POST"]),
    Route(f"{_PAGE}/continue", sent(go_on), methods=["POST"]),
    Route(f"{_PAGE}/discard", sent(discard), methods=["POST"]),
]
