"""Which questions training waits for now, and which it no longer does; what hands questions out goes by both."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from tutelage.store.audit import note
from tutelage.store.schema import batch_items, batches, questions
from tutelage.store.standing import settle


def awaited(question: Any) -> sa.ColumnElement[bool]:
    """A batch that is open asks it: it comes before all others."""
    mine = sa.select(batch_items.c.question).join(batches, batches.c.id == batch_items.c.batch)
    return question.in_(mine.where(batches.c.state == "open", batch_items.c.question.is_not(None)))


def asked_now(connection: sa.Connection, project: str) -> list[str]:
    """The questions of a project that open batches ask."""
    query = sa.select(batch_items.c.question).distinct().join(batches, batches.c.id == batch_items.c.batch)
    mine = (batches.c.project == project, batches.c.state == "open", batch_items.c.question.is_not(None))
    return list(connection.execute(query.where(*mine)).scalars())


def no_longer_gold(connection: sa.Connection, batch: str, actor: str, now: float) -> None:
    """What an open batch asks is asked of everybody: as gold it would be asked no more, and its run wait for ever."""
    mine = sa.select(batch_items.c.question).join(batches, batches.c.id == batch_items.c.batch)
    mine = mine.where(batches.c.id == batch, batches.c.state == "open", batch_items.c.question.is_not(None))
    query = sa.select(questions).where(questions.c.id.in_(mine), questions.c.purpose == "gold")
    for row in connection.execute(query).mappings().all():
        connection.execute(sa.update(questions).where(questions.c.id == row["id"]).values(purpose=""))
        settle(connection, [row["id"]])
        note(connection, now, actor, "unmark gold", f"{row['project']} #{row['number']}")


def asked_too_late(question: Any) -> sa.ColumnElement[bool]:
    """Only batches that are closed asked it: it is handed out no more."""
    return sa.exists().where(batch_items.c.question == question) & ~awaited(question)
