"""What a `--data` that names a rating database says, told without opening one: every training start asks.

`_feedback` opens it, and only that needs the database library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from tutelage.errors import UsageError

if TYPE_CHECKING:
    from tutelage.labelers._export import Weighting

_MAGIC = b"SQLite format 3\0"
_OURS = ("project", "at", "without", "weights")


@dataclass(frozen=True)
class Source:
    """A rating database as `--data` names it."""

    url: str
    """file, or URL without our own words"""
    project: str = ""
    """empty: the only one there is"""
    at: float | None = None
    without: Sequence[str] = ()
    """raters left out beside those that are excluded in the database"""
    weights: Weighting = "reliability"


def is_database(text: str) -> bool:
    """Whether a `--data` names a rating database: a PostgreSQL URL, or a file that begins as SQLite's do."""
    if text.startswith(("postgresql://", "postgresql+", "postgres://", "sqlite://")):
        return True
    path = Path(text) if _exists(text) else Path(text.partition("?")[0])
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def named(text: str) -> Source:
    """The parts of `--data DATABASE[?project=…&at=…&without=…&weights=…]`; `without` may be repeated.

    Raises:
        UsageError: an unknown word after the `?`, a time that is none, or a password that a run folder would keep.
    """
    url, query = (text, "") if _exists(text) else (text.partition("?")[0], text.partition("?")[2])
    words = parse_qsl(query, keep_blank_values=True)
    rest = [(name, value) for name, value in words if name not in _OURS]
    if "://" not in url and rest:
        raise UsageError(
            f"--data …?{rest[0][0]}= means nothing", where=text, fix=f"after the ? stand {', '.join(_OURS)}"
        )
    if "://" in url:
        parts = urlsplit(url)
        if parts.password:
            fix = "put it into ~/.pgpass or the variable PGPASSWORD, and leave it out of the URL"
            raise UsageError("the run folder would keep the password in --data", fix=fix)
        scheme = "postgresql+psycopg" if parts.scheme in ("postgresql", "postgres") else parts.scheme
        url = urlunsplit((scheme, parts.netloc, parts.path, urlencode(rest), ""))
    told = dict(words)
    weights = told.get("weights", "reliability")
    if weights not in ("reliability", "none"):
        raise UsageError(f"weights={weights}", where=text, fix="weights=reliability or weights=none")
    without = [value for name, value in words if name == "without" and value]
    return Source(url, told.get("project", ""), _moment(told.get("at", "")), without, weights)


def _moment(text: str) -> float | None:
    try:
        told = datetime.fromisoformat(text) if text else None
    except ValueError as error:
        raise UsageError(f"at={text} is no time", fix="such as at=2026-11-21T10:00:00") from error
    return None if told is None else (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False
