"""Which judgements stand and which of them count; and the counts of them that each question carries.

`questions.given` and `questions.open` say nothing that is not in `judgements` and `exclusions`: every transaction that
adds a judgement calls `settle` for its questions, and one that leaves a rater out or takes them in again calls
`settle_rater`, so that the next task is found without reading what is finished. So do `tallies`, their sum over a
project, and `frontiers`, where the search begins. `rebuild` makes them anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import sqlalchemy as sa

from tutelage.store.engine import Database
from tutelage.store.frontier import UNCHOSEN as UNCHOSEN
from tutelage.store.frontier import forget, retreat
from tutelage.store.rows import chunks
from tutelage.store.schema import exclusions, judgements, questions, tallies

GOLD = "gold"
"""A rater id that stands for no person: its judgements are known answers, set by an admin or brought in by a file."""
Purpose = Literal["", "gold", "quiz", "repeat"]
"""why a question is handed out: to be learned from, or to check the rater by a known answer or by asking again"""


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
    forget(connection, project)
    _count(connection, questions.c.project == project)


def rebuild(database: Database, project: str) -> None:
    """Count all judgements of a project anew; changes nothing where `settle` was never forgotten."""
    with database.writing() as connection:
        settle_project(connection, project)


def _count(connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    counting = (*standing_on(questions.c.id), judgements.c.rater != GOLD)
    counting = (*counting, ~is_left_out(questions.c.project, judgements.c.rater))
    given = sa.select(sa.func.count()).select_from(judgements).where(*counting).correlate(questions).scalar_subquery()
    before = _given(connection, which)
    connection.execute(sa.update(questions).where(which).values(given=given))
    for project, count in _given(connection, which).items():
        _add(connection, project, count - before[project])
    wants = sa.and_(questions.c.given < questions.c.overlap, questions.c.purpose == "")
    _open_for(connection, which, wants)
    connection.execute(sa.update(questions).where(which).values(open=wants))


def _given(connection: sa.Connection, which: sa.ColumnElement[bool]) -> dict[str, int]:
    query = sa.select(questions.c.project, sa.func.sum(questions.c.given)).where(which).group_by(questions.c.project)
    return {row[0]: int(row[1]) for row in connection.execute(query)}


def _add(connection: sa.Connection, project: str, count: int) -> None:
    mine = sa.update(tallies).where(tallies.c.project == project)
    if count and not connection.execute(mine.values(given=tallies.c.given + count)).rowcount:
        connection.execute(sa.insert(tallies).values(project=project, given=count))


def _open_for(connection: sa.Connection, which: sa.ColumnElement[bool], wants: sa.ColumnElement[bool]) -> None:
    """Let searches begin no later than at what is opened now, or was taken back by the rater who searches."""
    where = (questions.c.project, questions.c.place, questions.c.number)
    opened = sa.select(*where).where(which, questions.c.open.is_(False), wants)
    for project, place, number in connection.execute(opened.order_by(*where)).all():
        retreat(connection, project, (place, number))
    told, newer = judgements.alias("told"), judgements.alias("newer")
    last = ~sa.exists().where(
        newer.c.question == told.c.question,
        newer.c.rater == told.c.rater,
        newer.c.purpose == "",
        newer.c.number > told.c.number,
    )
    back = sa.select(*where, told.c.rater).join(told, told.c.question == questions.c.id)
    back = back.where(which, told.c.withdrawn.is_(True), told.c.purpose == "", last)
    for project, place, number, rater in connection.execute(back).all():
        retreat(connection, project, (place, number), rater)


def given_in(connection: sa.Connection, project: str) -> int:
    """The sum of `questions.given`."""
    query = sa.select(tallies.c.given).where(tallies.c.project == project)
    return connection.execute(query).scalar() or 0
