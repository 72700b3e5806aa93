"""A whole database copied to another, from SQLite to PostgreSQL or back: every table, compared at the end.

Everything happens in one transaction of the target and under one view of the source, which others may go on writing:
what they add after the first row was read is not copied. Killed at any moment, nothing is there, and the same command
begins again. Sessions and invitations are copied too: who was signed in stays so where the
server keeps its secret.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from tutelage.errors import CannotCreateError, DataError
from tutelage.store.engine import Database
from tutelage.store.schema import metadata

_AT_ONCE = 1000
_MODULUS = 2**256


@dataclass(frozen=True)
class Content:
    """What is in a database, whatever kind of database it is."""

    rows: dict[str, int]
    """table → rows"""
    digest: str
    """SHA-256s of all rows added up: the same rows in any order have the same digest"""


def copy(source: Database, target: Database, progress: Callable[[str, int], None] | None = None) -> Content:
    """Copy every table; what was copied.

    Args:
        progress: hears of a table and how many of its rows are done.

    Raises:
        CannotCreateError: the target holds rows already.
        DataError: a row that the target cannot hold, or the copy differs from its source.
    """
    tell = progress or (lambda _table, _rows: None)
    with source.reading() as theirs, target.writing() as ours:
        _hold_still(theirs)
        _refuse_filled(ours, target)
        read = _Sum()
        for table in metadata.sorted_tables:
            done = 0
            for rows in _pieces(theirs, table):
                _insert(ours, table, rows)
                read.add(table, rows)
                done += len(rows)
                tell(table.name, done)
        wrote = _Sum()
        for table in metadata.sorted_tables:
            for rows in _pieces(ours, table):
                wrote.add(table, rows)
        if read.content() != wrote.content():
            raise DataError(
                f"the copy differs from its source: {read.content()} there, {wrote.content()} here; nothing was kept",
                where=_name(target),
            )
        set_sequences(ours)
    return read.content()


def content(database: Database) -> Content:
    """Count and digest everything in a database."""
    told = _Sum()
    with database.reading() as connection:
        _hold_still(connection)
        for table in metadata.sorted_tables:
            for rows in _pieces(connection, table):
                told.add(table, rows)
    return told.content()


def set_sequences(connection: sa.Connection) -> None:
    """Let the next row of each table follow the newest one: PostgreSQL counts apart from the rows, SQLite does not."""
    if connection.dialect.name != "postgresql":
        return
    for table in metadata.sorted_tables:
        column = table.autoincrement_column
        if column is not None:
            newest = connection.execute(sa.select(sa.func.max(column))).scalar()
            sequence = sa.func.pg_get_serial_sequence(table.name, column.name)
            connection.execute(sa.select(sa.func.setval(sequence, newest or 1, newest is not None)))


class _Sum:
    def __init__(self) -> None:
        self._rows = {table.name: 0 for table in metadata.sorted_tables}
        self._total = 0

    def add(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        self._rows[table.name] += len(rows)
        for row in rows:
            text = json.dumps([table.name, row], sort_keys=True, ensure_ascii=True, default=str)
            self._total = (self._total + int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")) % _MODULUS

    def content(self) -> Content:
        return Content(self._rows, f"{self._total:064x}")


def _pieces(connection: sa.Connection, table: sa.Table) -> Iterator[list[dict[str, Any]]]:
    """All rows in the order of the key, some at a time, after the last key seen."""
    keys = list(table.primary_key.columns)
    after: tuple[Any, ...] | None = None
    while True:
        query = page_of(table, after)
        rows = [dict(row) for row in connection.execute(query).mappings()]
        if not rows:
            return
        yield rows
        after = tuple(rows[-1][column.name] for column in keys)


def page_of(table: sa.Table, after: tuple[Any, ...] | None) -> sa.Select[Any]:
    """The next rows of a table in the order of its key."""
    keys = list(table.primary_key.columns)
    query = sa.select(table).order_by(*keys).limit(_AT_ONCE)
    if after is None:
        return query
    return query.where(sa.tuple_(*keys) > sa.tuple_(*(sa.literal(value) for value in after)))


def _insert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    try:
        connection.execute(sa.insert(table), rows)
    except (DatabaseError, ValueError) as error:
        reason = str(error.orig if isinstance(error, DatabaseError) else error).splitlines()[0]
        if "out of range" in reason or "NUL" in reason or "0x00" in reason:
            first = ", ".join(f"{column.name}={rows[0][column.name]!r}" for column in table.primary_key.columns)
            raise DataError(
                f"the target cannot hold a row of {table.name}: {reason}",
                where=f"among the {len(rows)} rows from {first}",
                fix="PostgreSQL takes whole numbers up to 2,147,483,647 and no NUL character; nothing was copied",
            ) from error
        raise


def _hold_still(connection: sa.Connection) -> None:
    """Let all that is read in this transaction be of one moment; PostgreSQL's would see what others add meanwhile."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def _refuse_filled(connection: sa.Connection, target: Database) -> None:
    filled = [table.name for table in metadata.sorted_tables if connection.execute(sa.select(table).limit(1)).first()]
    if filled:
        raise CannotCreateError(
            f"the target is not empty: it holds rows of {', '.join(filled[:4])}",
            where=_name(target),
            fix="give an empty database (a new file, or one made by `createdb NAME`)",
        )


def _name(database: Database) -> str:
    return str(database.path or database.engine.url.render_as_string())
