"""The one guard in front of every route: nothing is answered that is not allowed here.

Host known? → body small? → unsafe method from our own pages? → not too many? → signed in? → role enough? → the route
(421)          (413)        (403)                               (429)           (401)        (403)

Whatever the answer is, it leaves with a policy under which no script runs that is not a file of this server.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request, cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tutelage.errors import TutelageError
from tutelage.store.people import People, Role, Session
from tutelage.web._errors import answer, of_ours
from tutelage.web._sessions import COOKIE
from tutelage.web._settings import Settings

SAFE = ("GET", "HEAD", "OPTIONS")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; manifest-src 'self'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer browsers post forms with `Origin: null`
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
}
PUBLIC = ("/", "/healthz", "/signed-out", "/language", "/theme")
"""With `/join/…` and `/static/…` all that is answered without a session."""


def needs(path: str) -> Role | None:
    """The role that a path asks for; None for the few that are open to all. What is not named asks for a session."""
    if path in PUBLIC or path.startswith(("/static/", "/join/")):
        return None
    admin = path == "/admin" or path.startswith(("/admin/", "/api/v1/admin/"))
    return "admin" if admin else "rater"


class Buckets:
    """Token buckets by key: `per_minute` on average, as many at once."""

    def __init__(self, per_minute: float) -> None:
        self.per_minute = per_minute
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, key: str) -> bool:
        """Whether there is one left; by the steady clock, which nobody can set."""
        now = time.monotonic()
        if len(self._left) > 10_000:  # a full bucket is as good as none
            full = {
                name for name, (left, at) in self._left.items() if left + (now - at) * self._rate >= self.per_minute
            }
            self._left = {name: value for name, value in self._left.items() if name not in full}
        left, at = self._left.get(key, (self.per_minute, now))
        left = min(self.per_minute, left + (now - at) * self._rate)
        self._left[key] = (left - 1 if left >= 1 else left, now)
        return left >= 1

    @property
    def _rate(self) -> float:
        return self.per_minute / 60


class TooLargeError(Exception):
    """More came than was announced, or than is taken."""


class Guard:
    """ASGI middleware; puts `session` into the scope of what it lets through."""

    def __init__(self, app: ASGIApp, people: People, settings: Settings) -> None:
        self.app, self.people, self.settings = app, people, settings
        self._sessions = Buckets(settings.limits.requests_per_minute)
        self._strangers = Buckets(settings.limits.joins_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        scope["session"] = None
        guarded = _with_headers(send, self.settings.secure)
        limit = self._limit(scope)
        refused = self._unwanted(scope, headers, limit)
        if refused is None:
            try:
                scope["session"] = await self._session(headers)
            except TutelageError as error:  # the database is away: nobody below stands between this and the server
                await (await of_ours(Request(scope, receive), error))(scope, receive, guarded)
                return
            refused = self._unallowed(scope)
        if refused is not None:
            status, told = refused
            await answer(Request(scope, receive), status, **told)(scope, receive, guarded)
            return
        try:
            await self.app(scope, _counted(receive, limit), guarded)
        except TooLargeError:
            told = _too_large(limit)[1]
            await answer(Request(scope, receive), 413, **told)(scope, receive, guarded)

    def _limit(self, scope: Scope) -> int:
        limits = self.settings.limits
        return limits.upload_bytes if scope["path"].startswith("/admin/") else limits.body_bytes

    def _unwanted(self, scope: Scope, headers: Headers, limit: int) -> tuple[int, Mapping[str, Any]] | None:
        """What can be refused without knowing who asks."""
        if headers.get("host", "").lower() not in self.settings.hosts:
            wanted = "one of the names that this server was started with"
            return 421, {"what": "this server does not go by that name", "wanted": wanted}
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > limit:
            return _too_large(limit)
        if scope["method"] not in SAFE and not self._from_here(headers):
            return 403, {"what": "this request comes from another site", "fix": "use the pages of this server"}
        return None

    def _from_here(self, headers: Headers) -> bool:
        """Whether a page of ours sent this; browsers always say so, programs that say nothing carry no cookie jar."""
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is not None and site not in ("same-origin", "none"):
            return False
        if origin is None:
            return site is None or site in ("same-origin", "none")
        told = urlsplit(origin)
        return told.scheme in ("http", "https") and told.netloc.lower() == headers.get("host", "").lower()

    async def _session(self, headers: Headers) -> Session | None:
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        return await run_in_threadpool(self.people.session, cookie) if cookie else None

    def _unallowed(self, scope: Scope) -> tuple[int, Mapping[str, Any]] | None:
        session, path = scope["session"], scope["path"]
        role = needs(path)
        if session is not None:
            if not self._sessions.take(session.digest):
                return 429, {"what": "too many requests", "fix": "wait a few seconds"}
        elif not path.startswith("/static/") and path != "/healthz":
            client = scope.get("client") or ("", 0)
            if not self._strangers.take(client[0]):
                return 429, {"what": "too many requests without a session", "fix": "wait a minute"}
        if role is None:
            return None
        if session is None:
            return 401, {"what": "nobody is signed in", "fix": "open the link of your invitation"}
        if role == "admin" and session.role != "admin":
            return 403, {"what": "this is for admins", "fix": "ask whoever invited you"}
        return None


def _too_large(limit: int) -> tuple[int, Mapping[str, Any]]:
    return 413, {"what": "this is too large", "wanted": f"{limit} bytes at most", "most": limit}


def _counted(receive: Receive, limit: int) -> Receive:
    """`receive` that stops where more comes than `limit`, whatever was announced."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise TooLargeError
        return message

    return counted


def _with_headers(send: Send, secure: bool) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
            if secure:
                headers["Strict-Transport-Security"] = "max-age=31536000"
        await send(message)

    return sending
