"""The whole truth of a project as JSON lines and back: settings, questions as asked, every judgement ever made.

One record a line, in this order: raw (the format) · setting · rubric · exclusion · admission · question (with its
prompt, its candidates and whom it was handed to) · rater · judgement (edits and withdrawals are later ones) · skip ·
task. Records of a kind
come in the order in which they were stored, without the database's own numbers: the same project gives the same bytes
from SQLite and PostgreSQL, and again after `load` into an empty database. Who may sign in (accounts, invitations,
sessions), leases, batches of running trainings and the audit log are not truth about answers: `store.copy` moves them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from tutelage.errors import DataError
from tutelage.store._intake import WORKING, Intake
from tutelage.store.rows import sample_row, text_json
from tutelage.store.schema import (
    admissions,
    exclusions,
    handouts,
    judgements,
    questions,
    raters,
    rubrics,
    settings,
    skips,
    tasks,
)
from tutelage.store.store import Store
from tutelage.store.stream import Cut, Reader, cut_of
from tutelage.types import Comparison

FORMAT = 2
_AT_ONCE = 1000
_ASKED_IN = "asked_in"
_OWN = ("number", "project", *WORKING)
"""columns that are the database's business"""


def dump(store: Store, project: str, cut: Cut | None = None) -> Iterator[dict[str, Any]]:
    """The records of a project as it was at `cut` (None = now), one by one."""
    cut = cut or cut_of(store.database)
    database = store.database
    yield {"record": "raw", "format": FORMAT}
    for kind, table in (
        ("setting", settings),
        ("rubric", rubrics),
        ("exclusion", exclusions),
        ("admission", admissions),
    ):
        order = table.c.version if table is rubrics else table.c.number
        kept = (table.c.created <= cut.moment,) if table is rubrics else cut.within(table)
        query = sa.select(table).where(table.c.project == project, *kept).order_by(order)
        with database.reading() as connection:
            found = connection.execute(query).mappings().all()
        yield from (_record(kind, row) for row in found)
    yield from _questions(store, project, cut)
    for row in _raters(store, project, cut):
        yield _record("rater", row)
    for kind, table in (("judgement", judgements), ("skip", skips), ("task", tasks)):
        yield from _numbered(store, kind, table, project, cut)


def load(store: Store, rows: Iterable[Mapping[str, Any]], project: str) -> tuple[int, int]:
    """Put `dump` records into a project, all or none; what is there already stays. (new questions, new judgements).

    Raises:
        DataError: a record is not what it should be, or an id stands for something else already.
    """
    kinds = ("question", "judgement")
    with store.database.writing() as connection:
        intake = Intake(store.database, connection, project)
        for kind, found in groupby(rows, key=lambda row: row.get("record")):
            if kind == "raw":
                _check_format(found)
                continue
            piece: list[Mapping[str, Any]] = []
            for row in found:
                piece.append(row)
                if len(piece) == _AT_ONCE:
                    intake.add(str(kind), piece)
                    piece = []
            intake.add(str(kind), piece)
        new = [intake.added[kind] for kind in kinds]
    return new[0], new[1]


def _check_format(found: Iterable[Mapping[str, Any]]) -> None:
    for row in found:
        if row.get("format") != FORMAT:
            raise DataError(
                f"raw rows of format {row.get('format')!r}; this tutelage reads {FORMAT}", fix="upgrade tutelage"
            )


def _record(kind: str, row: Mapping[Any, Any]) -> dict[str, Any]:
    return {"record": kind} | {name: value for name, value in row.items() if name not in _OWN}


def _questions(store: Store, project: str, cut: Cut) -> Iterator[dict[str, Any]]:
    reader = Reader(store.database, project, cut)
    for numbers in reader.numbers():
        query = sa.select(questions).where(questions.c.number.in_(numbers)).order_by(questions.c.number)
        with store.database.reading() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
            shown = connection.execute(handouts_of([row["id"] for row in rows], cut)).mappings().all()
        given: dict[str, list[dict[str, Any]]] = {}
        for row in sorted(shown, key=lambda row: (row["created"], row["rater"], row["rubric"])):
            given.setdefault(row["question"], []).append(
                {name: value for name, value in row.items() if name != "question"}
            )
        for row, comparison in zip(rows, reader.posed(numbers).comparisons, strict=True):
            yield _question(row, comparison, given.get(row["id"], []))


def handouts_of(ids: list[str], cut: Cut) -> sa.Select[Any]:
    """Who was shown some questions."""
    return sa.select(handouts).where(handouts.c.question.in_(ids), handouts.c.created <= cut.moment)


def _question(row: Mapping[str, Any], comparison: Comparison, given: list[dict[str, Any]]) -> dict[str, Any]:
    prompt = comparison.prompt
    told = _record("question", row)
    told["prompt"] = {"id": prompt.id, "content": text_json(prompt.content), "meta": dict(prompt.meta)}
    told["candidates"] = [
        {name: value for name, value in sample_row(row["project"], said).items() if name not in ("project", "prompt")}
        for said in comparison.candidates
    ]
    return told | {"handouts": given}


def _raters(store: Store, project: str, cut: Cut) -> list[Mapping[Any, Any]]:
    """Who did anything in the project, by id."""
    names: set[str] = set()
    for table, kept in (
        (judgements, cut.within(judgements)),
        (skips, cut.within(skips)),
        (handouts, (handouts.c.created <= cut.moment,)),
    ):
        query = sa.select(table.c.rater).join(questions, questions.c.id == table.c.question)
        with store.database.reading() as connection:
            names.update(connection.execute(query.where(questions.c.project == project, *kept).distinct()).scalars())
    found: list[Mapping[Any, Any]] = []
    ordered = sorted(names)
    for start in range(0, len(ordered), _AT_ONCE):
        with store.database.reading() as connection:
            query = sa.select(raters).where(raters.c.id.in_(ordered[start : start + _AT_ONCE]))
            found += connection.execute(query).mappings().all()
    return sorted(found, key=lambda row: row["id"])


def _numbered(store: Store, kind: str, table: sa.Table, project: str, cut: Cut) -> Iterator[dict[str, Any]]:
    last = 0
    while True:
        with store.database.reading() as connection:
            found = [dict(row) for row in connection.execute(rows_after(table, cut, last)).mappings()]
        if not found:
            return
        for row in sorted(found, key=lambda row: row["number"]):
            if row.pop(_ASKED_IN) == project:
                yield _record(kind, row)
            last = row["number"]


def rows_after(table: sa.Table, cut: Cut, last: int) -> sa.Select[Any]:
    """The next rows of all projects after the number `last`, in no order, each with the project that asked.

    The inner limit keeps a planner from beginning at the project's questions, which would sort everything that was ever
    judged in it for each page.
    """
    rows = sa.select(table).where(table.c.number > last, *cut.within(table)).order_by(table.c.number).limit(_AT_ONCE)
    page = rows.subquery()
    return sa.select(page, questions.c.project.label(_ASKED_IN)).join(questions, questions.c.id == page.c.question)
