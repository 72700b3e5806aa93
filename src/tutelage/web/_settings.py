"""How one server is run: where it answers, its secret, its limits, and what other rooms lend it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.store.batches import waiting_of
from tutelage.store.store import Store


@dataclass(frozen=True)
class Limits:
    """How much one client may ask; buckets fill up again evenly."""

    requests_per_minute: float = 1200.0
    """of one session"""
    joins_per_minute: float = 20.0
    """of one address: tries of invitation links and pages without a session"""
    body_bytes: int = 1_000_000
    upload_bytes: int = 256_000_000
    """of one import by an admin"""
    text_letters: int = 100_000
    """of one edited answer"""
    samplings_per_minute: float = 12.0
    """of one admin: starts of a model"""


@dataclass(frozen=True)
class Sampler:
    """How answers are sampled for an admin who asks for them on a page."""

    command: tuple[str, ...]
    """what samples, to which flags of `tutelage sample` are added; it ends when its stdin does"""
    models: Path
    """only what lies below this folder can be named"""
    folder: Path
    """where orders, their prompts and their answers lie; made when the first is given"""


@dataclass(frozen=True)
class Settings:
    """
    Example:
        >>> Settings(hosts=("127.0.0.1:8000", "localhost:8000"), secret=secrets.token_bytes(32))
    """

    hosts: tuple[str, ...]
    """values of the Host header that are answered; a page elsewhere that points its name here is not"""
    secret: bytes
    secure: bool = False
    """the server is reached by HTTPS: cookies go no other way"""
    database: str = ""
    """the database as its owner names it in the shell, quoted; told on the sign-in page, so only where nobody but the
    people of this machine can come, and never with its folder; empty = not told"""
    session_seconds: float = 30 * 86400.0
    limits: Limits = field(default_factory=Limits)
    waiting: Callable[[Store, str], tuple[int, float] | None] | None = waiting_of
    """(store, project) → how many judgements a training run still needs, and in how many seconds; None = none waits"""
    report: Callable[..., Mapping[str, Any]] | None = None
    """(store, project, raters left out, skips) → agreement, raters, models: `labelers._consensus.report`"""
    questions: Callable[..., Any] | None = None
    """(samples, project, kind, per_prompt, size, aspects) → comparisons, as `labelers._desk.questions_of` makes them"""
    saving: Callable[[Store, str], Any] | None = None
    """(store, project) → what choosing questions saved against random: `labelers._choosing.saving`"""
    rows: Callable[..., Any] | None = None
    """(store, project, kind, weights, at, raters left out) → rows of an export: `labelers._desk.rows_of`"""
    sampler: Sampler | None = None
    """None: no model can be asked for answers here"""
