"""Coming and going: a link's button makes a session, its token lives in a cookie and only its digest on the server."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tutelage.store.people import InvitationError, People
from tutelage.web import _pages
from tutelage.web._settings import Settings

COOKIE = "tutelage"
YEAR = 365 * 86400


def people_of(request: Request) -> People:
    """The people of this server's database."""
    return request.app.state.people


def settings_of(request: Request) -> Settings:
    """How this server is run."""
    return request.app.state.settings


async def home(request: Request) -> Response:
    """Where a visitor belongs: admins to their pages, raters to their tasks, strangers to a page that says how."""
    session = _pages.session_of(request)
    if session is None:
        return _pages.signin(request)
    return RedirectResponse("/admin" if session.role == "admin" else "/rate", 303)


async def signed_out(request: Request) -> Response:
    """What is shown after signing out."""
    return _pages.signin(request, signed_out=True)


async def join(request: Request) -> Response:
    """GET shows a button and uses nothing up, as link previews do; POST signs in."""
    token, people = request.path_params["token"], people_of(request)
    try:
        found = await run_in_threadpool(people.invitation, token)
        language = _pages.language_of(request, found.language)
        if request.method != "POST":
            told = {"role": found.role, "projects": [found.project] if found.project else [], "name": found.name}
            return _pages.render(request, "join.html.j2", language=language, **told)
        name = str((await request.form()).get("name", ""))
        old = request.cookies.get(COOKIE, "")
        seconds = settings_of(request).session_seconds
        cookie = await run_in_threadpool(people.accept, token, name=name, language=language, seconds=seconds, old=old)
    except InvitationError:
        if _pages.session_of(request) is None:
            raise
        return RedirectResponse("/", 303)  # the same link again, by somebody whom it has let in
    reply = RedirectResponse("/", 303)
    _keep(request, reply, COOKIE, cookie, int(seconds), hidden=True)
    return reply


async def logout(request: Request) -> Response:
    """End the session here, not only in the browser."""
    session = _pages.session_of(request)
    if session is not None:
        await run_in_threadpool(people_of(request).sign_out, session)
    reply = RedirectResponse("/signed-out", 303)
    reply.delete_cookie(COOKIE, httponly=True, samesite="lax", secure=settings_of(request).secure)
    return reply


async def change_language(request: Request) -> Response:
    """The form `language`, `back`: for this browser, and for the account if there is one."""
    form = await request.form()
    reply, language = _back(form.get("back")), str(form.get("language"))
    if language in _pages.LANGUAGES:
        session = _pages.session_of(request)
        if session is not None:
            await run_in_threadpool(people_of(request).change_language, session.rater, language)
        _keep(request, reply, "language", language, YEAR)
    return reply


async def change_theme(request: Request) -> Response:
    """The form `theme`, `back`: light, dark or system, for this browser."""
    form = await request.form()
    reply, theme = _back(form.get("back")), str(form.get("theme"))
    if theme in _pages.THEMES or theme == "system":
        _keep(request, reply, "theme", theme, YEAR)
    return reply


async def change_project(request: Request) -> Response:
    """The form `project`, `back`: another project that this rater was invited to."""
    form = await request.form()
    session = _pages.session_of(request)
    assert session is not None
    await run_in_threadpool(people_of(request).change_project, session, str(form.get("project")))
    return _back(form.get("back"))


def _back(target: object) -> RedirectResponse:
    """To a page of this server, whatever was asked for."""
    told = str(target or "/")
    parts = urlsplit(told)
    inside = told.startswith("/") and not told.startswith(("//", "/\\")) and not parts.netloc and not parts.scheme
    return RedirectResponse(told if inside and told.isprintable() else "/", 303)


def _keep(request: Request, reply: Response, name: str, value: str, seconds: int, hidden: bool = False) -> None:
    secure = settings_of(request).secure
    reply.set_cookie(name, value, max_age=seconds, path="/", secure=secure, httponly=hidden, samesite="lax")


routes = [
    Route("/", home),
    Route("/signed-out", signed_out),
    Route("/join/{token}", join, methods=["GET", "POST"]),
    Route("/logout", logout, methods=["POST"]),
    Route("/language", change_language, methods=["POST"]),
    Route("/theme", change_theme, methods=["POST"]),
    Route("/project", change_project, methods=["POST"]),
]
