"""What every admin page shares: who asks, which project is open, what was just done, forms in and redirects out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from tutelage.store.overview import Overview
from tutelage.store.people import People, Session
from tutelage.store.projects import Projects
from tutelage.store.store import Store
from tutelage.web import _pages
from tutelage.web._admin_forms import Fields
from tutelage.web._settings import Settings

MOST_NOTES = 200


class Notes:
    """What is to be said on the next page of a session: shown once, kept in memory, never in an address."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, Any]] = {}
        self.reports: dict[tuple[object, ...], Mapping[str, Any]] = {}
        """statistics by project and state of the database"""
        self.savings: dict[tuple[object, ...], Any] = {}
        """what selection saved, by project and state of the database"""

    def put(self, session: Session, note: dict[str, Any]) -> None:
        """Say `note` on the next page."""
        if len(self._kept) >= MOST_NOTES:
            self._kept.pop(next(iter(self._kept)))
        self._kept[session.digest] = note

    def take(self, session: Session) -> dict[str, Any]:
        """What is to be said now; {} = nothing."""
        return self._kept.pop(session.digest, {})


@dataclass
class Form:
    """A form that was sent."""

    fields: Fields
    files: Mapping[str, UploadFile] = field(default_factory=dict[str, UploadFile])


class Desk:
    """One admin's request: the rooms of the database and how to answer."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.store: Store = request.app.state.store
        self.people: People = request.app.state.people
        self.settings: Settings = request.app.state.settings
        self.notes: Notes = request.app.state.notes
        session = _pages.session_of(request)
        assert session is not None  # the guard lets nobody else through
        self.session = session
        self.projects = Projects(self.store.database)
        self.overview = Overview(self.store.database)

    @property
    def words(self) -> Mapping[str, Any]:
        """The admin's words in the reader's language."""
        return _pages.words(_pages.language_of(self.request))["admin"]

    def project(self) -> str:
        """The project in the address.

        Raises:
            HTTPException: 404, there is none of that name.
        """
        name = name_of(self.request.path_params["project"])
        if name not in self.projects.names():
            raise HTTPException(404, "there is no such project")
        return name

    def names(self) -> dict[str, str]:
        """rater → how the admin calls them, for everybody with an account."""
        return {account.rater: account.name for account in self.people.accounts()}

    def page(self, name: str, tab: str, project: str = "", status: int = 200, /, **context: Any) -> Response:
        """A page of `templates/admin/`."""
        said = self.notes.take(self.session)
        shared: dict[str, Any] = {"tab": tab, "project": project, "slug": slug_of(project), "said": None, "link": None}
        return _pages.render(self.request, f"admin/{name}.html.j2", status, **(shared | said | context))

    def done(self, path: str, text: str, kind: str = "good", more: str = "") -> Response:
        """After a form: go to `path` and say there what was done."""
        self.notes.put(self.session, {"said": {"kind": kind, "text": text, "more": more}})
        return RedirectResponse(path, 303)


def name_of(slug: str) -> str:
    """The inverse of `slug_of`, after the server has undone the quoting."""
    return slug.replace("~2f", "/").replace("~2e", ".").replace("~7e", "~")


def slug_of(project: str) -> str:
    """A project's name as one piece of an address."""
    safe = project.replace("~", "~7e").replace("/", "~2f")
    return quote(safe.replace(".", "~2e") if set(safe) <= {"."} else safe, safe="~")


def shown(handler: Callable[[Desk], Response]) -> Callable[[Request], Any]:
    """A handler of GET, in a worker thread."""

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(lambda: handler(Desk(request)))

    return endpoint


def sent(handler: Callable[[Desk, Form], Response]) -> Callable[[Request], Any]:
    """A handler of a form, in a worker thread."""

    async def endpoint(request: Request) -> Response:
        async with request.form(max_files=1, max_fields=500) as form:
            fields: dict[str, list[str]] = {}
            files: dict[str, UploadFile] = {}
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    files[name] = value
                else:
                    fields.setdefault(name, []).append(value.replace("\x00", "").replace("\r\n", "\n"))
            return await run_in_threadpool(lambda: handler(Desk(request), Form(fields, files)))

    return endpoint
