"""One JSON request to a service, with time limit, size limit and retries; whatever goes wrong is a ServiceError."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tutelage.errors import ServiceError, UsageError

_LARGEST = 64 * 2**20
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_AGAIN = {408, 425, 429, 500, 502, 503, 504}
"""HTTP codes that may be gone the next time."""


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirect would turn the POST into a GET, or carry the key to another host: it is an error instead."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@dataclass(frozen=True)
class Service:
    """Where to ask, and how patiently.

    Example:
        >>> Service("http://localhost:8000/score", retries=2).post({"samples": []})
    """

    url: str
    timeout: float = 60.0
    """seconds for one request"""
    retries: int = 4
    """further tries after a failure that may pass"""
    backoff: float = 0.5
    """seconds before the first further try; doubled each time, 30 at most"""
    key: str = field(default="", repr=False)
    """sent as `Authorization: Bearer …`; never written anywhere"""
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"'{self.url}' is no address", fix="give http://HOST[:PORT]/PATH or https://…")
        if parts.username or parts.password:
            raise UsageError("an address must not hold a password", fix="put the key into the environment instead")
        if self.timeout <= 0 or self.retries < 0:
            raise UsageError(f"timeout {self.timeout:g} and retries {self.retries} make no sense for {self.url}")

    def post(self, body: Mapping[str, Any]) -> Any:
        """The JSON value that the service answers.

        Raises:
            ServiceError: it cannot be reached, refuses, takes too long each time, or answers something else than JSON.
        """
        for attempt in range(self.retries + 1):
            try:
                return self._once(body)
            except ServiceError:  # an OSError by kind, but no matter of waiting
                raise
            except urllib.error.HTTPError as error:
                told = _excerpt(error.read(2000))
                if error.code not in _AGAIN or attempt == self.retries:
                    raise self.broken(f"answered HTTP {error.code} {error.reason}: {told}") from error
                wait = _retry_after(error.headers.get("Retry-After"))
            except (OSError, http.client.HTTPException) as error:  # what speaks no HTTP is no OSError
                if attempt == self.retries:
                    tries = f" ({attempt + 1} tries)" if attempt else ""
                    raise self.broken(f"cannot be reached{tries}: {_reason(error)}") from error
                wait = 0.0
            self.sleep(max(wait, min(30.0, self.backoff * 2**attempt)))
        raise AssertionError("the last try returns or raises")

    def broken(self, what: str) -> ServiceError:
        """The error for a service that does not do its part."""
        return ServiceError(
            f"{self.url} {what}", fix="start or mend the service, then run the same command again: it goes on"
        )

    def _once(self, body: Mapping[str, Any]) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        data = json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
        request = urllib.request.Request(self.url, data, headers, method="POST")
        here = urllib.parse.urlsplit(self.url).hostname in _LOOPBACK
        handlers = [_Stay(), *([urllib.request.ProxyHandler({})] if here else [])]
        with urllib.request.build_opener(*handlers).open(request, timeout=self.timeout) as response:
            raw = response.read(_LARGEST + 1)
        if len(raw) > _LARGEST:
            raise self.broken(f"answered more than {_LARGEST >> 20} MiB")
        try:
            return json.loads(raw)
        except ValueError as error:
            raise self.broken(f"answered something that is not JSON: {_excerpt(raw)}") from error


def _reason(error: Exception) -> str:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, http.client.HTTPException):
        return f"it does not speak HTTP ({type(inner).__name__})"
    return "it did not answer in time" if isinstance(inner, TimeoutError) else str(inner)


def _excerpt(raw: bytes) -> str:
    return repr(raw[:200].decode("utf-8", "replace"))


def _retry_after(value: str | None) -> float:
    """Seconds; a date or nonsense counts as nothing said."""
    return min(60.0, float(value)) if value and value.isdecimal() else 0.0
