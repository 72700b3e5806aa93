"""Who changed what and when: one row for each act of an admin and each sign-in, never changed afterwards."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from tutelage.store.engine import Database
from tutelage.store.schema import audit


def note(
    connection: sa.Connection,
    now: float,
    actor: str,
    action: str,
    target: str,
    *,
    before: Any = None,
    after: Any = None,
) -> None:
    """Add a row in the transaction of the act itself: neither is there without the other."""
    told = {"actor": actor, "action": action, "target": target, "before": before, "after": after}
    connection.execute(sa.insert(audit).values(**told, created=now))


def record(database: Database, actor: str, action: str, target: str, *, before: Any = None, after: Any = None) -> None:
    """Add a row on its own."""
    with database.writing() as connection:
        note(connection, database.now(connection), actor, action, target, before=before, after=after)


def trail(database: Database, *, limit: int = 100, before: int | None = None) -> list[dict[str, Any]]:
    """The newest rows first; `before` is the number of the last one of the page above."""
    query = sa.select(audit).order_by(audit.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.number < before)
    with database.reading() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]
