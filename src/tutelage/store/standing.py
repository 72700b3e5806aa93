"""Which judgements stand and which of them count; and the counts of them that each question carries.

`questions.given` and `questions.open` say nothing that is not in `judgements` and `exclusions`: every transaction that
adds a judgement calls `settle` for its questions, and one that leaves a rater out or takes them in again calls
`settle_rater`, so that the next task is found without reading what is finished. `rebuild` makes them anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import sqlalchemy as sa

from tutelage.store.engine import Database
from tutelage.store.rows import chunks
from tutelage.store.schema import exclusions, judgements, questions

GOLD = "gold"
"""A rater id that stands for no person: its judgements are known answers, set by an admin or brought in by a file."""
Purpose = Literal["", "gold", "quiz", "repeat"]
"""why a question is handed out: to be learned from, or to check the rater by a known answer or by asking again"""
UNCHOSEN = 1e9
"""`questions.place` of a question that no selection has chosen"""


def standing_on(question: Any, purpose: str | None = "") -> tuple[sa.ColumnElement[bool], ...]:
    """What holds for the judgements that stand on a question: neither superseded nor taken back.

    Args:
        purpose: of the judgements; None = all of them. An answer to a repeat supersedes no first answer.
    """
    newer = judgements.alias("newer")
    superseded = sa.exists().where(
        newer.c.question == judgements.c.question,
        newer.c.rater == judgements.c.rater,
        newer.c.purpose == judgements.c.purpose,
        newer.c.number > judgements.c.number,
    )
    stands = (judgements.c.question == question, judgements.c.withdrawn.is_(False), ~superseded)
    return stands if purpose is None else (*stands, judgements.c.purpose == purpose)


def is_left_out(project: Any, rater: Any) -> sa.ColumnElement[bool]:
    """Whether a rater's judgements count for nothing in a project now: the newest word on them says so."""
    told, newer = exclusions.alias("told"), exclusions.alias("newer_word")
    later = sa.exists().where(
        newer.c.project == told.c.project, newer.c.rater == told.c.rater, newer.c.number > told.c.number
    )
    said = (told.c.project == project, told.c.rater == rater, told.c.excluded.is_(True))
    return sa.exists(sa.select(sa.literal(1)).select_from(told).where(*said, ~later).correlate_except(told, newer))


def settle(connection: sa.Connection, ids: Sequence[str]) -> None:
    """Count the judgements of these questions anew: those that stand, of everybody but `GOLD` and who is excluded."""
    for part in chunks(ids):
        _count(connection, questions.c.id.in_(part))


def settle_rater(connection: sa.Connection, project: str, rater: str) -> None:
    """Count anew what a rater has judged: what was full without them may want more now, and the other way round."""
    judged = sa.exists().where(judgements.c.question == questions.c.id, judgements.c.rater == rater)
    _count(connection, (questions.c.project == project) & judged)


def settle_project(connection: sa.Connection, project: str) -> None:
    """Count all judgements of a project anew."""
    _count(connection, questions.c.project == project)


def rebuild(database: Database, project: str) -> None:
    """Count all judgements of a project anew; changes nothing where `settle` was never forgotten."""
    with database.writing() as connection:
        settle_project(connection, project)


def _count(connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    counting = (*standing_on(questions.c.id), judgements.c.rater != GOLD)
    counting = (*counting, ~is_left_out(questions.c.project, judgements.c.rater))
    given = sa.select(sa.func.count()).select_from(judgements).where(*counting).correlate(questions).scalar_subquery()
    connection.execute(sa.update(questions).where(which).values(given=given))
    wants = sa.and_(questions.c.given < questions.c.overlap, questions.c.purpose == "")
    connection.execute(sa.update(questions).where(which).values(open=wants))
