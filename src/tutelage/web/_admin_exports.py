"""Judgements as files: chosen on a page, streamed line by line, as of now or of any past time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from shlex import quote
from typing import Any, cast

from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from tutelage.errors import DataError
from tutelage.store.audit import record
from tutelage.web._admin_forms import one
from tutelage.web._admin_numbers import visible
from tutelage.web._admin_page import Desk, Form, slug_of

KINDS = ("preference", "unpaired", "ranking", "rated", "demonstration", "raw")
_PREVIEW = 3


def choices(desk: Desk) -> Response:
    """What can be taken out, what is there, and the first rows."""
    project = desk.project()
    counts, excluded, names = desk.overview.counting(project), desk.people.excluded(project), desk.names()
    preview: list[list[tuple[str, str]]] = []
    if desk.settings.rows is not None and counts:
        found = desk.settings.rows(desk.store, project, "preference", "none", None, excluded)
        preview = [_short(row) for row in islice(found, _PREVIEW)]
    return desk.page(
        "exports",
        "exports",
        project,
        kinds=KINDS,
        judgements=sum(counts.values()),
        raters=len(counts),
        excluded=[names.get(rater, rater) for rater in excluded],
        preview=preview,
        database=quote(str(desk.store.database.path or "DATABASE")),
        quoted=quote(project),
    )


def _short(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A row for people to look at: texts without their roles and cut; no weight, which takes reading everything."""
    return [(name, _told(value)) for name, value in row.items() if name not in ("meta", "group", "weight")]


def _told(value: Any) -> str:
    if isinstance(value, list):
        turns = cast(list[Any], value)
        value = "\n".join(str(turn["content"]) if isinstance(turn, dict) else str(turn) for turn in turns)
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return visible(text if len(text) <= 240 else f"{text[:239]}…")


def download(desk: Desk, form: Form) -> Response:
    """Stream one kind of rows as JSON lines; the log says who took out what."""
    project, fields = desk.project(), form.fields
    kind, weights = one(fields, "kind", "preference"), one(fields, "weights", "reliability")
    if kind not in KINDS or weights not in ("reliability", "none"):
        raise HTTPException(400, "there is no such export")
    if desk.settings.rows is None:
        raise HTTPException(404, "this server was started without exports")
    at = _time(one(fields, "at"), desk.words["exports"]["bad_time"])
    without = sorted(desk.people.excluded(project, at))
    rows = desk.settings.rows(desk.store, project, kind, weights, at, without)
    moment = datetime.now(UTC) if at is None else datetime.fromtimestamp(at, UTC)
    name = f"{slug_of(project)}-{kind}-{moment:%Y%m%dT%H%M%SZ}.jsonl"
    record(
        desk.store.database,
        desk.session.rater,
        "export",
        project,
        after={"kind": kind, "weights": weights, "at": at, "without": without},
    )
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    return StreamingResponse(_lines(rows), media_type="application/x-ndjson", headers=headers)


def _time(text: str, wrong: str) -> float | None:
    if not text:
        return None
    try:
        told = datetime.fromisoformat(text)
        return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise DataError(wrong) from error


def _lines(rows: Iterator[Mapping[str, Any]]) -> Iterator[bytes]:
    """JSON lines in pieces of some 64 KiB."""
    held = bytearray()
    for row in rows:
        held += json.dumps(row, ensure_ascii=False).encode() + b"\n"
        if len(held) > 65536:
            yield bytes(held)
            held.clear()
    yield bytes(held)
