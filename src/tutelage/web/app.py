"""The rating application: every route, in one list, behind one guard.

browser ──► Guard (_security) ──► _sessions · api (JSON) · rating pages · admin ──► store
                                        └──► _pages (templates, words)  ·  static files
"""

from __future__ import annotations

from markupsafe import Markup
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from tutelage.errors import TutelageError
from tutelage.store.people import People
from tutelage.store.store import Store
from tutelage.web import _admin_sampling, _api_sampling, _errors, _pages, _sampling_desk, _sessions, admin, api
from tutelage.web._admin_page import Notes
from tutelage.web._security import Guard
from tutelage.web._settings import Settings


def create_app(store: Store, settings: Settings) -> Starlette:
    """The application on one open database; the database is left open when it ends."""
    people = People(store.database, settings.secret)
    made = Starlette(
        routes=routes(),
        middleware=[Middleware(Guard, people=people, settings=settings)],
        exception_handlers={
            TutelageError: _errors.of_ours,
            HTTPException: _errors.of_http,
            Exception: _errors.of_bugs,
        },
    )
    made.state.store, made.state.people, made.state.settings = store, people, settings
    made.state.notes = Notes()
    _sampling_desk.provide(made, store, settings)
    return made


def routes() -> list[BaseRoute]:
    """All there are; a test walks them with every role."""
    pages = [Route("/rate", rate), Route("/guidelines", guidelines), Route("/healthz", healthz)]
    files = Mount("/static", Files(directory=_pages.FOLDER / "static"), name="static")
    sampling = [*_admin_sampling.routes, *_api_sampling.routes]
    return [*_sessions.routes, *pages, *api.routes, *admin.routes, *sampling, files]


class Files(StaticFiles):
    """Files whose address changes with their content: browsers ask once."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file; kept for ever where its address carries its digest."""
        reply = await super().get_response(path, scope)
        kept = b"v=" in scope["query_string"] and reply.status_code in (200, 304)
        reply.headers["Cache-Control"] = "public, max-age=31536000, immutable" if kept else "no-cache"
        return reply


async def rate(request: Request) -> Response:
    """The rating screen; everything it shows comes from the JSON interface. Who failed the quiz is told so instead."""
    desk = api.Desk(request)
    if await run_in_threadpool(desk.work.refused, desk.session.rater, desk.session.project):
        return _pages.render(request, "refused.html.j2", 403)
    boot = {
        "language": _pages.language_of(request),
        "theme": _pages.theme_of(request),
        "words": {language: _pages.words(language)["rate"] for language in _pages.LANGUAGES},
    }
    return _pages.render(request, "rate.html.j2", boot=boot)


async def guidelines(request: Request) -> Response:
    """The guidelines to read at leisure."""
    desk = api.Desk(request)
    told = await run_in_threadpool(desk.guidelines, 1)
    html = Markup(told["html"][_pages.language_of(request)])  # safe: made by text.to_html
    project = (await run_in_threadpool(desk.settings)).title or desk.session.project
    return _pages.render(request, "guidelines.html.j2", html=html, version=told["version"], project=project)


async def healthz(request: Request) -> Response:
    """Whether the database answers; says nothing else."""
    store: Store = request.app.state.store
    await run_in_threadpool(_answers, store)
    return JSONResponse({"ok": True})


def _answers(store: Store) -> None:
    with store.database.reading() as connection:
        store.database.now(connection)
