"""Server-rendered pages: one Jinja2 environment that escapes everything, in the reader's language and theme."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import HTMLResponse

from tutelage.store.people import Session

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).parent
LANGUAGES = ("en", "zh")
THEMES = ("light", "dark")

Words = Mapping[str, Any]
"""every sentence of the pages in one language: words["admin"]["title"], in templates `words.admin.title`"""


@cache
def environment() -> Environment:
    """The templates of this package; what is not defined is an error, what is shown is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # raters go on before the first page is made

    loader = FileSystemLoader(FOLDER / "templates")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.globals["static"] = static  # pyright: ignore[reportArgumentType] any callable will do
    return made


@cache
def words(language: str) -> Words:
    """The words of a language; what is not translated yet stands in English."""
    english = json.loads((FOLDER / "words" / "en.json").read_text(encoding="utf-8"))
    if language == "en":
        return english
    return _over(english, json.loads((FOLDER / "words" / f"{language}.json").read_text(encoding="utf-8")))


@cache
def static(name: str) -> str:
    """The address of a file in `static/`, with its digest, so that browsers may keep it for ever."""
    digest = hashlib.sha256((FOLDER / "static" / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def signin(request: Request, status: int = 200, *, signed_out: bool = False) -> HTMLResponse:
    """What a visitor without a session sees; the database's name only where no stranger comes."""
    proxied = "x-forwarded-for" in request.headers or "forwarded" in request.headers
    database = "" if proxied else request.app.state.settings.database
    return render(request, "signin.html.j2", status, signed_out=signed_out, database=database)


def session_of(request: Request) -> Session | None:
    """Who asks, as found by the guard; None on the few public pages when nobody is signed in."""
    return request.scope.get("session")


def language_of(request: Request, invited: str = "") -> str:
    """The language of the account, else of the cookie, else what the browser prefers.

    Args:
        invited: language of the invitation that is looked at; only one that the visitor has chosen by hand goes before.
    """
    session, chosen = session_of(request), request.cookies.get("language", "")
    if invited in LANGUAGES:
        return chosen if chosen in LANGUAGES else invited
    if session is not None:
        return session.language
    if chosen in LANGUAGES:
        return chosen
    wanted = request.headers.get("accept-language", "").lower()
    return "zh" if wanted.startswith("zh") else "en"


def theme_of(request: Request) -> str:
    """`light`, `dark`, or empty for what the system prefers."""
    chosen = request.cookies.get("theme", "")
    return chosen if chosen in THEMES else ""


def render(request: Request, name: str, status: int = 200, /, *, language: str = "", **context: Any) -> HTMLResponse:
    """A page of `templates/`; it may use `language`, `words`, `theme`, `session`, `path` and `static(file)`."""
    language = language or language_of(request)
    given: dict[str, Any] = {
        "language": language,
        "words": words(language),
        "theme": theme_of(request),
        "session": session_of(request),
        "path": request.url.path,
    }
    text = environment().get_template(name).render(given | context)
    return HTMLResponse(text, status, headers={"Cache-Control": "no-store"})


def _over(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`top` laid over `base`, level by level."""
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = _over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
