"""How the database is opened: SQLite in its safe mode or PostgreSQL, brought to the newest schema; errors in words."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import StaticPool

from tutelage.errors import (
    CannotCreateError,
    DataError,
    DeniedError,
    DiskError,
    MissingInputError,
    ServiceError,
    TryAgainError,
    TutelageError,
    UsageError,
)
from tutelage.store.schema import REVISION

_MEMORY = "sqlite://"
_WRITER = 7_817_469
"""Names the lock of the writer on PostgreSQL."""


def journal_mode(version: tuple[int, int, int]) -> str:
    """WAL where SQLite is free of the WAL-reset bug (sqlite.org/wal.html#walresetbug), TRUNCATE elsewhere."""
    mended = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51, 0) or (3, 44, 6) <= version < (3, 45, 0)
    return "WAL" if mended else "TRUNCATE"


class Database:
    """One open database: many readers, one writer at a time; a writer waits for its turn up to `wait_seconds`.

    Args:
        url: a file path, `:memory:`, or an SQLAlchemy URL (`postgresql+psycopg://…`).
        create: make the file when it is not there.

    Raises:
        MissingInputError, CannotCreateError, DeniedError, DataError (not a database), UsageError (a newer schema).
    """

    def __init__(self, url: str | Path, *, create: bool = True, wait_seconds: float = 60.0) -> None:
        self.url, self.path = _locate(url)
        self.wait_seconds = wait_seconds
        self._writing = threading.RLock()
        self._within: sa.Connection | None = None  # the transaction of the thread that holds the lock
        self._pid = os.getpid()
        if self.path is not None:
            _prepare(self.path, create)
        self.engine = self._connect()
        self.dialect: str = self.engine.dialect.name
        self._migrate()

    def _connect(self) -> sa.Engine:
        shared: dict[str, Any] = {"json_serializer": lambda value: json.dumps(value, ensure_ascii=False)}
        if not self.url.startswith("sqlite"):
            return sa.create_engine(self.url, pool_pre_ping=True, **shared)  # it may have been restarted meanwhile
        if self.path is None:
            shared["poolclass"] = StaticPool
        options = {"timeout": self.wait_seconds, "check_same_thread": False}
        engine = sa.create_engine(self.url, connect_args=options, **shared)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that sees one moment of the database."""
        if self.path is None:  # in memory there is one connection only, so readers wait for the writer
            with self._writing, self._transaction(writing=False) as connection:
                yield connection
        else:
            with self._transaction(writing=False) as connection:
                yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that is durable when the block ends and leaves nothing behind when it raises.

        Within another one it is a part of it: durable, or gone, with the whole. Reading in between sees nothing of it.

        Raises:
            TryAgainError: another process has kept writing for `wait_seconds`.
            DiskError: the disk is full or failed; nothing of this transaction is stored.
        """
        with self._writing:
            if self._within is not None:
                yield self._within
                return
            with self._transaction(writing=True) as connection:
                self._within = connection
                try:
                    yield connection
                finally:
                    self._within = None

    @contextmanager
    def _transaction(self, writing: bool) -> Iterator[sa.Connection]:
        if os.getpid() != self._pid:  # a connection must never be carried across fork()
            self.engine.dispose(close=False)
            self._pid = os.getpid()
        try:
            with self.engine.connect().execution_options(writing=writing) as connection, connection.begin():
                if writing and self.dialect == "postgresql":  # one writer at a time there too: overlaps stay exact
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER})")
                yield connection
        except DatabaseError as error:
            raise self._explain(error) from error

    def _explain(self, error: DatabaseError) -> TutelageError:
        reason, where = str(error.orig), str(self.path or self.engine.url.render_as_string())
        if self.dialect == "postgresql" and _is_away(error):
            first = reason.splitlines()[0] if reason else "the connection was lost"
            return ServiceError(
                f"the database does not answer: {first}", where=where, fix="start PostgreSQL, or check --db"
            )
        if isinstance(error, OperationalError) and ("locked" in reason or "busy" in reason):
            fix = "wait until the other command has finished, or find it with `fuser`; nothing was written"
            return TryAgainError(f"another process kept writing for {self.wait_seconds:g} s", where=where, fix=fix)
        if "full" in reason or "disk I/O" in reason:
            return DiskError(f"{reason}; this step was not stored, what was acknowledged before is safe", where=where)
        if "readonly" in reason or "unable to open" in reason:
            return DeniedError(f"cannot write: {reason}", where=where, fix="check the rights of file and folder")
        if "not a database" in reason or "malformed" in reason:
            return DataError(reason, where=where, fix="give another file; restore this one from a backup if it was one")
        return TutelageError(reason, where=where)

    def _migrate(self) -> None:
        """Bring the schema to `REVISION`, in one transaction."""
        with self.reading() as connection:
            found = _revision(connection)
        if found == REVISION:
            return
        if found is not None and found > REVISION:
            raise UsageError(
                f"the database has schema {found}, this tutelage knows up to {REVISION}",
                where=str(self.path or self.url),
                fix="upgrade tutelage",
            )
        from alembic import command  # 0.3 s that most openings do not need
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self.writing() as connection:
            if _revision(connection) != REVISION:  # another process may have done it while this one waited
                config.attributes["connection"] = connection
                command.upgrade(config, "head")

    def now(self, connection: sa.Connection) -> float:
        """Seconds since 1970 by the clock of the database, which all its clients share."""
        sql = "SELECT (julianday('now') - 2440587.5) * 86400.0"
        if self.dialect != "sqlite":
            sql = "SELECT extract(epoch FROM clock_timestamp())"
        return float(connection.exec_driver_sql(sql).scalar_one())

    def insert_new(self, connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> int:
        """Insert the rows whose key is not there yet; how many those were."""
        if not rows:
            return 0
        if self.dialect == "sqlite":
            from sqlalchemy.dialects.sqlite import insert

            return connection.execute(insert(table).on_conflict_do_nothing(), rows).rowcount
        from sqlalchemy.dialects.postgresql import insert

        # PostgreSQL's driver does not add up the counts of many rows, so the rows themselves are counted.
        told = insert(table).on_conflict_do_nothing().returning(*table.primary_key.columns)
        return len(connection.execute(told, rows).all())

    def close(self) -> None:
        """Give the connections back; the object is of no use afterwards."""
        self.engine.dispose()


def _locate(url: str | Path) -> tuple[str, Path | None]:
    text = str(url)
    if text in (":memory:", _MEMORY):
        return _MEMORY, None
    if "://" not in text:
        return f"sqlite:///{text}", Path(text)
    if text.startswith("sqlite:///"):
        return text, Path(text.removeprefix("sqlite:///"))
    return text, None


def _prepare(path: Path, create: bool) -> None:
    """Meet the usual mistakes before SQLite does. A file that is there is not opened: closing would drop its locks."""
    if path.is_dir():
        raise UsageError("this is a folder, a database file is needed", where=str(path), fix=f"--db {path}/ratings.db")
    if path.exists():
        return
    if not create:
        raise MissingInputError(
            "there is no such database",
            where=str(path),
            fix="check --db; `tutelage rate serve`, `rate ask` and `rate import` make one",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))  # before the first connection: nobody else reads it
    except OSError as error:
        kind = DeniedError if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else CannotCreateError
        raise kind(f"cannot create the database: {error.strerror}", where=str(path)) from error


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_sqlite, not by the driver
    mode = journal_mode(sqlite3.sqlite_version_info[:3])
    for pragma in (f"journal_mode={mode}", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: sa.Connection) -> None:
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _is_away(error: DatabaseError) -> bool:
    """No connection: refused, cut, shut down or starting up (SQLSTATE classes 08 and 57P; none before it is made)."""
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    return isinstance(error, OperationalError) and (state is None or state.startswith(("08", "57P")))


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
