"""The raters' JSON interface; its description for programs is in `_openapi.py` and at /api/v1/openapi.json."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tutelage.errors import DataError
from tutelage.store.given import given, project_of_answer, project_of_skip
from tutelage.store.hidden import NotAdmittedError
from tutelage.store.people import LANGUAGES, Session
from tutelage.store.projects import FLAGS, Projects, ProjectSettings
from tutelage.store.store import Store
from tutelage.store.work import SKIP_REASONS, ConflictError, SkipReason, Task, Work, today
from tutelage.types import Judgement
from tutelage.web import _body, _pages
from tutelage.web._errors import OtherRaterError
from tutelage.web._openapi import DOCUMENT
from tutelage.web._sessions import people_of, settings_of
from tutelage.web._tasks import JSON, order_of, task_json, told_of
from tutelage.web.text import to_html

MOST = 100
"""Candidates or aspects of one question, at the very most."""
COMMENT = 5000
RATER = "tutelage-rater"
"""Header with which a page says whose it is: an answer from a page left open is never stored in another's name."""
_JUDGEMENT = (
    "id", "task", "shown", "ranks", "scores", "edit", "both_bad", "strength", "comment", "flags", "confirmed",
    "seconds", "rubric",
)  # fmt: skip


class Desk:
    """What the handlers of one request need, all of it in worker threads: the database is not asynchronous."""

    def __init__(self, request: Request) -> None:
        self.store: Store = request.app.state.store
        self.server = settings_of(request)
        self.session = session_of(request)
        self.work = Work(self.store.database, self.server.secret)
        self.projects = Projects(self.store.database)

    def me(self) -> JSON:
        """Who is signed in, and how far they are."""
        session, settings = self.session, self.settings()
        done = self.work.done_since(session.rater, session.project, today())
        waiting = self.server.waiting(self.store, session.project) if self.server.waiting else None
        kinds = self.projects.kinds(session.project)
        return {
            "rater": session.rater,
            "name": session.name,
            "language": session.language,
            "project": {"name": settings.title or session.project, "kind_names": kinds},
            "today": {"done": done, "goal": settings.goal},
            "waiting": None if waiting is None else {"needed": waiting[0], "deadline_seconds": waiting[1]},
        }

    def take(self, count: int) -> JSON:
        """Tasks to hold."""
        settings, project = self.settings(), self.session.project
        rubric = self.projects.rubric(project).version
        tasks: list[Task] = []
        if settings.open:
            try:
                tasks = self.work.take(
                    self.session.rater, project, count=count, lease_seconds=settings.lease_seconds, rubric=rubric
                )
            except NotAdmittedError as error:  # said in the rater's language: the screen shows it as it is
                words = _pages.words(self.session.language)["door"]
                raise NotAdmittedError(words["quiz_failed_text"], fix=words["quiz_failed_fix"]) from error
        return {"tasks": [self._json(task, settings, project) for task in tasks]}

    def submit(self, body: _body.Body) -> JSON:
        """Keep a judgement, in the project where its task was given."""
        rater, (name, ours) = self.session.rater, self._named(_body.text(body, "task", 40, None))
        asked = given(self.store.database, rater, name)
        project = asked.project if asked else self.session.project
        judgement = self._judgement(body, name, self.projects.levels(project))
        if asked and asked.candidates > 1 and not ours:
            raise ConflictError(
                "this task was shown before the server's secret was changed, and nobody knows any more in which order",
                fix="it is asked again",
            )
        if asked:
            order = order_of(asked.question, asked.purpose, rater, asked.candidates, self.server.secret)
            judgement = told_of(judgement, order)
        rubric = _body.whole(body, "rubric", 0, 10**6) if "rubric" in body else None
        kept = self.work.submit(judgement, project, rubric=rubric)
        return {"id": kept.id, "stored": True, "extra": kept.extra}

    def undo(self, judgement: str, new_id: str) -> JSON:
        """Take one back."""
        project = project_of_answer(self.store.database, self.session.rater, judgement) or self.session.project
        settings = self.projects.settings(project)
        task = self.work.undo(
            judgement,
            new_id,
            self.session.rater,
            project,
            lease_seconds=settings.lease_seconds,
            rubric=self.projects.rubric(project).version,
        )
        return {"task": self._json(task, settings, project)}

    def skip(self, task: str, skip_id: str, reason: SkipReason, comment: str) -> JSON:
        """Give a task back."""
        number, _ = self._named(task)
        asked = given(self.store.database, self.session.rater, number)
        project = asked.project if asked else self.session.project
        self.work.skip(number, skip_id, self.session.rater, project, reason, comment)
        return {"id": skip_id, "stored": True}

    def unskip(self, skip: str, new_id: str) -> JSON:
        """Take a skip back."""
        project = project_of_skip(self.store.database, self.session.rater, skip) or self.session.project
        settings = self.projects.settings(project)
        task = self.work.unskip(
            skip,
            new_id,
            self.session.rater,
            project,
            lease_seconds=settings.lease_seconds,
            rubric=self.projects.rubric(project).version,
        )
        return {"task": self._json(task, settings, project)}

    def guidelines(self, under: int = 2) -> JSON:
        """The rubric in force as HTML under a heading of level `under`; a language not there is told in the other."""
        rubric = self.projects.rubric(self.session.project)
        english, chinese = rubric.guidelines.get("en", ""), rubric.guidelines.get("zh", "")
        told = {"en": english or chinese, "zh": chinese or english}
        return {"version": rubric.version, "html": {language: to_html(text, under) for language, text in told.items()}}

    def settings(self) -> ProjectSettings:
        """Of the project that this session works on."""
        return self.projects.settings(self.session.project)

    def _json(self, task: Task, settings: ProjectSettings, project: str) -> JSON:
        rubric = self.projects.rubric(project, task.rubric)
        told = task_json(task, self.session.rater, self.server.secret, settings, rubric)
        return told | {"id": f"{task.id}-{self._seal(task.id)}"}

    def _named(self, name: str) -> tuple[str, bool]:
        """A task's name in the store, and whether it was shown under the secret that this server has: the order on the
        screen comes from it. Pages of old say nothing of that, and are believed."""
        task, mark, seal = name.partition("-")
        return task, not mark or hmac.compare_digest(seal.encode(), self._seal(task).encode())

    def _seal(self, task: str) -> str:
        said = f"shown\x00{task}\x00{self.session.rater}".encode()
        return hmac.new(self.server.secret, said, hashlib.sha256).hexdigest()[:8]

    def _judgement(self, body: _body.Body, task: str, levels: int) -> Judgement:
        """What a page may say that was open when the settings were changed: its rater's work is not thrown away."""
        comment = _body.text(body, "comment", COMMENT)
        return Judgement(
            id=_body.identifier(body),
            comparison=task,
            rater=self.session.rater,
            ranks=_body.wholes(body, "ranks", MOST),
            scores=_body.numbers(body, "scores", MOST),
            shown=_body.wholes(body, "shown", MOST),
            both_bad=_body.truth(body, "both_bad", False),
            strength=_body.whole(body, "strength", 0, levels, 0),
            comment=comment,
            seconds=_body.number(body, "seconds", 0, 1e6),
            edit=_body.text(body, "edit", self.server.limits.text_letters),
            flags=_body.words(body, "flags", FLAGS),
            confirmed=_body.truth(body, "confirmed"),
        )


async def me(request: Request) -> Response:
    """Who is signed in, in which project, and how far they are today."""
    return JSONResponse(await run_in_threadpool(Desk(request).me))


async def language(request: Request) -> Response:
    """Speak another language from now on."""
    chosen = (await _body.read(request, ["language"])).get("language")
    if chosen not in LANGUAGES:
        raise DataError("'language' is not one of: " + ", ".join(LANGUAGES))
    await run_in_threadpool(people_of(request).change_language, session_of(request).rater, chosen)
    return Response(status_code=204)


async def next_tasks(request: Request) -> Response:
    """Hold up to n tasks; those held already come first, so that asking again gives the same."""
    count = _body.whole(await _body.read(request, ["n"]), "n", 1, 4, 1)
    return JSONResponse(await run_in_threadpool(Desk(request).take, count))


async def judge(request: Request) -> Response:
    """Keep an answer; the reply is sent after it is durable."""
    return JSONResponse(await run_in_threadpool(Desk(request).submit, await _body.read(request, _JUDGEMENT)))


async def undo(request: Request) -> Response:
    """Take an answer back and hold its task again."""
    new_id = _body.identifier(await _body.read(request, ["id"]))
    old_id = _body.identifier(request.path_params)
    return JSONResponse(await run_in_threadpool(Desk(request).undo, old_id, new_id))


async def skip(request: Request) -> Response:
    """Give a task back for good, with the reason."""
    body = await _body.read(request, ["id", "reason", "comment"])
    reason, skip_id = body.get("reason"), _body.identifier(body)
    if reason not in SKIP_REASONS:
        raise DataError("'reason' is not one of: " + ", ".join(SKIP_REASONS))
    comment, number = _body.text(body, "comment", COMMENT), str(request.path_params["id"])
    return JSONResponse(await run_in_threadpool(Desk(request).skip, number, skip_id, reason, comment))


async def unskip(request: Request) -> Response:
    """Take a skip back and hold its task again."""
    new_id = _body.identifier(await _body.read(request, ["id"]))
    return JSONResponse(await run_in_threadpool(Desk(request).unskip, _body.identifier(request.path_params), new_id))


async def guidelines(request: Request) -> Response:
    """The rubric in force, as safe HTML in both languages."""
    return JSONResponse(await run_in_threadpool(Desk(request).guidelines))


async def document(request: Request) -> Response:
    """This interface in OpenAPI's words."""
    return JSONResponse(DOCUMENT)


def session_of(request: Request) -> Session:
    """Who asks; the guard lets nobody else as far as here.

    Raises:
        OtherRaterError: the page was made for another rater.
    """
    session: Any = _pages.session_of(request)
    assert session is not None, "the guard lets nobody without a session as far as here"
    if request.headers.get(RATER, session.rater) != session.rater:
        raise OtherRaterError("somebody else is signed in here now", fix="open your own invitation again")
    return session


routes = [
    Route("/api/v1/me", me),
    Route("/api/v1/language", language, methods=["POST"]),
    Route("/api/v1/tasks/next", next_tasks, methods=["POST"]),
    Route("/api/v1/tasks/{id}/skip", skip, methods=["POST"]),
    Route("/api/v1/skips/{id}/undo", unskip, methods=["POST"]),
    Route("/api/v1/judgements", judge, methods=["POST"]),
    Route("/api/v1/judgements/{id}/undo", undo, methods=["POST"]),
    Route("/api/v1/guidelines", guidelines),
    Route("/api/v1/openapi.json", document),
]
