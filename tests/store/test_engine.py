"""How the database is opened, locked, killed and refused."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from tutelage.errors import CannotCreateError, DataError, DiskError, MissingInputError, TryAgainError, UsageError
from tutelage.store.engine import Database, journal_mode
from tutelage.store.schema import REVISION, metadata, raters
from tutelage.store.store import Store
from tutelage.types import Comparison, Judgement

Ask = Callable[..., list[Comparison]]
_WRITER = """
import sys
from tutelage.store.store import Store
from tutelage.types import Judgement
store = Store(sys.argv[1])
questions = [comparison.id for comparison in store.comparisons()]
print("ready", flush=True)
for number in range(10**6):
    name = f"{sys.argv[2]}-{number}"
    store.answer(Judgement(name, questions[number % len(questions)], name, ranks=(1, 2)))
    print(name, flush=True)
"""


@pytest.mark.parametrize(
    ("version", "mode"),
    [((3, 40, 1), "TRUNCATE"), ((3, 44, 6), "WAL"), ((3, 45, 0), "TRUNCATE"), ((3, 50, 7), "WAL")]
    + [((3, 51, 2), "TRUNCATE"), ((3, 51, 3), "WAL"), ((3, 60, 0), "WAL")],
)
def test_wal_is_used_only_where_sqlite_has_mended_it(version: tuple[int, int, int], mode: str) -> None:
    assert journal_mode(version) == mode


def test_every_connection_is_in_the_safe_mode(tmp_path: Path) -> None:
    database = Database(tmp_path / "r.db")
    with database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        found = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
    assert found.upper() == journal_mode(sqlite3.sqlite_version_info[:3])
    assert (tmp_path / "r.db").stat().st_mode & 0o077 == 0
    database.close()


def test_migrations_make_exactly_the_tables_of_the_schema(tmp_path: Path) -> None:
    database = Database(tmp_path / "r.db")
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    database.close()
    config = Config()
    config.set_main_option(
        "script_location", str(Path(sys.modules["tutelage.store.engine"].__file__ or "").parent / "migrations")
    )
    assert ScriptDirectory.from_config(config).get_current_head() == REVISION


def test_a_database_of_a_newer_tutelage_is_refused(tmp_path: Path) -> None:
    Store(tmp_path / "r.db").close()
    connection = sqlite3.connect(tmp_path / "r.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(UsageError, match="schema 9999"):
        Store(tmp_path / "r.db")


def test_wrong_files_are_named_in_words(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no such database"):
        Store(tmp_path / "none.db", create=False)
    (tmp_path / "text.db").write_text("this is no database at all, only some text" * 50)
    with pytest.raises(DataError, match="not a database"):
        Store(tmp_path / "text.db")
    with pytest.raises(UsageError, match="this is a folder"):
        Store(tmp_path)
    with pytest.raises(CannotCreateError):
        Store(tmp_path / "text.db" / "r.db")


def test_a_second_writer_waits_for_its_turn_and_then_says_so(tmp_path: Path, make_questions: Ask) -> None:
    Store(tmp_path / "r.db").close()
    other = sqlite3.connect(tmp_path / "r.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with Store(tmp_path / "r.db", wait_seconds=0.2) as store:
        assert store.judgements() == []  # reading goes on
        with pytest.raises(TryAgainError, match="another process kept writing"):
            store.ask(make_questions(1))
        other.execute("COMMIT")
        assert store.ask(make_questions(1)) == 1
    other.close()


def test_a_failed_transaction_leaves_nothing_behind(tmp_path: Path, make_questions: Ask) -> None:
    with Store(tmp_path / "r.db") as store:
        store.ask(make_questions(1))
        with pytest.raises(DataError):
            store.answer_many(
                [Judgement("a", "pair-0", "ann", ranks=(1, 2)), Judgement("b", "gone", "ann", ranks=(1, 2))]
            )
        assert (store.judgements(), store.stats()["raters"]) == ([], 0)


def test_no_acknowledged_judgement_is_lost_when_writers_are_killed(tmp_path: Path, make_questions: Ask) -> None:
    """Two processes write at once and are killed with -9 at some moment, three times over."""
    with Store(tmp_path / "r.db") as store:
        store.ask(make_questions(5))
    acknowledged: set[str] = set()
    for attempt in range(3):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", _WRITER, str(tmp_path / "r.db"), f"w{attempt}{number}"],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
            for number in range(2)
        ]
        for writer in writers:
            assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
        for writer in writers:  # however slow the machine is, each has stored something when it is killed
            assert writer.stdout is not None
            acknowledged |= {writer.stdout.readline().strip() for _ in range(2)}
        time.sleep(0.15 + 0.1 * attempt)
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            assert writer.stdout is not None
            acknowledged |= {line.strip() for line in writer.stdout if line.endswith("\n")}
            writer.wait()
            writer.stdout.close()
    with Store(tmp_path / "r.db") as store:
        stored = [judgement.id for judgement in store.judgements()]
    assert len(acknowledged) > 10
    assert acknowledged <= set(stored)
    assert len(stored) == len(set(stored)) <= len(acknowledged) + 6  # at most one unacknowledged per killed writer
    check = sa.create_engine(f"sqlite:///{tmp_path / 'r.db'}")
    with check.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    check.dispose()


def test_a_full_disk_is_said_and_what_was_stored_is_safe(tmp_path: Path, make_questions: Ask) -> None:
    """`max_page_count` makes SQLite meet the same error as a full disk does."""
    database = Database(tmp_path / "r.db")
    sa.event.listen(database.engine, "connect", lambda raw, _: raw.execute("PRAGMA max_page_count = 30").close())
    database.engine.dispose()
    store = Store(":memory:")
    store.close()
    store._database = database  # pyright: ignore[reportPrivateUsage]
    store.ask(make_questions(1))
    with pytest.raises(DiskError, match="full") as caught:
        store.ask(make_questions(2000))
    assert caught.value.exit_code == 74
    assert len(store.comparisons()) == 1
    store.close()


def test_only_rows_that_were_not_there_are_counted_on_both_databases(database_url: str) -> None:
    def person(name: str) -> dict[str, Any]:
        return {"id": name, "kind": "person", "created": 1.0}

    with Store(database_url) as store, store.database.writing() as connection:
        insert_new = store.database.insert_new
        assert insert_new(connection, raters, [person("ann"), person("ben")]) == 2
        assert insert_new(connection, raters, [person("ann")]) == 0
        assert insert_new(connection, raters, [person("ben"), person("cleo"), person("ann"), person("dan")]) == 2
        assert insert_new(connection, raters, []) == 0
