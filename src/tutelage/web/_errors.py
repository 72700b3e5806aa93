"""Errors as replies: JSON below /api, a page elsewhere; what the program knows stays inside."""

from __future__ import annotations

import logging

from sqlalchemy.exc import DatabaseError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tutelage.errors import (
    DataError,
    DeniedError,
    DiskError,
    MissingInputError,
    ServiceError,
    TryAgainError,
    TutelageError,
)
from tutelage.store.people import InvitationError
from tutelage.store.work import ConflictError, UnknownTaskError
from tutelage.web import _pages
from tutelage.web._orders import TakenError, TooFastError

logger = logging.getLogger(__name__)


class OtherRaterError(TutelageError):
    """The page that asks is one rater's, and another is signed in now: what it holds is not the other's answer."""


STATUS: dict[type[TutelageError], int] = {
    InvitationError: 410,
    OtherRaterError: 401,
    UnknownTaskError: 404,
    ConflictError: 409,
    TakenError: 409,
    TooFastError: 429,
    DiskError: 507,
    ServiceError: 503,
    TryAgainError: 503,
    DataError: 400,
    MissingInputError: 404,
    DeniedError: 403,
}
"""Which reply an error of ours becomes; the first that fits."""


def answer(request: Request, status: int, *, what: str, wanted: str = "", fix: str = "", most: int = 0) -> Response:
    """The reply of that status, as JSON or as a page.

    Args:
        most: bytes that are taken; a page says them in its own language, as it does all that its status tells.
    """
    if request.url.path.startswith("/api/") or request.url.path == "/healthz":
        headers = {"Retry-After": "2"} if status in (429, 503, 507) else None
        return JSONResponse({"error": {"what": what, "wanted": wanted, "fix": fix}}, status, headers)
    if status == 401 and request.method in ("GET", "HEAD"):
        return _pages.signin(request, 401)
    shown = {"what": what, "fix": fix or wanted}
    if most:
        size = f"{most / 1e6:,.0f} MB" if most >= 1e6 else f"{most:,} B"
        shown = {"what": _pages.words(_pages.language_of(request))["error"]["most"].format(size=size), "fix": ""}
    return _pages.render(request, "error.html.j2", status, status=status, **shown)


async def of_ours(request: Request, error: Exception) -> Response:
    """A `TutelageError` as the reply that its kind stands for; a bug says nothing of itself."""
    assert isinstance(error, TutelageError)
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)
    if status == 500:
        logger.error("%s %s: %s", request.method, request.scope.get("route"), error.what)
        return answer(request, 500, what="something went wrong here", fix="try again; tell the admin if it stays so")
    if status == 507:
        what = "the disk of the server is full: this was not saved"
        return answer(request, 507, what=what, fix="it is sent again by itself; tell the admin")
    at_fault = isinstance(error.__cause__, DatabaseError) and status < 500  # refused for good, an answer would be lost
    if isinstance(error, ServiceError) or at_fault:  # where the database lies is not for raters to know
        logger.warning("%s: %s", error.what, error.where)
        return answer(request, 503, what="the database does not answer just now", fix="it is sent again by itself")
    return answer(request, status, what=error.what, fix=error.fix or "")


async def of_http(request: Request, error: Exception) -> Response:
    """What routing found: no such page, no such method."""
    assert isinstance(error, HTTPException)
    reply = answer(request, error.status_code, what=error.detail)
    reply.headers.update(error.headers or {})
    return reply


async def of_bugs(request: Request, error: Exception) -> Response:
    """Anything else."""
    return answer(request, 500, what="something went wrong here", fix="try again; tell the admin if it stays so")
