"""A database moved to PostgreSQL and back: everything is there, the next row fits in, a killed copy leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from lively_ratings import lively
from rating_room import questions
from tutelage.errors import CannotCreateError, DataError
from tutelage.store import transfer
from tutelage.store.batches import Batches
from tutelage.store.copy import content, copy
from tutelage.store.decisions import Decisions
from tutelage.store.engine import Database
from tutelage.store.hidden import NotAdmittedError
from tutelage.store.projects import Projects, ProjectSettings
from tutelage.store.store import Store
from tutelage.store.work import Work
from tutelage.types import Judgement

KILLED = """
import os, signal, sys
from tutelage.store.copy import copy
from tutelage.store.engine import Database
def tell(table, rows):
    if table == "judgements":
        os.kill(os.getpid(), signal.SIGKILL)
copy(Database(sys.argv[1]), Database(sys.argv[2]), tell)
"""


@pytest.mark.parametrize("back", [False, True], ids=["to postgres", "to sqlite"])
def test_a_copy_holds_everything_and_goes_on(tmp_path: Path, postgres_url: str, back: bool) -> None:
    ends = [str(tmp_path / "one.db"), postgres_url]
    source_url, target_url = reversed(ends) if back else ends
    lively(source_url)
    source, target = Database(source_url), Database(target_url)
    told = copy(source, target)
    assert told == content(source) == content(target)
    assert told.rows["judgements"] == 14 + 3 + 1 and min(told.rows.values()) > 0, "every table holds something"
    with pytest.raises(CannotCreateError, match="not empty: it holds rows of"):
        copy(source, target)
    assert content(target) == told
    source.close()
    target.close()
    with Store(source_url) as one, Store(target_url) as two:
        assert list(transfer.dump(one, "news")) == list(transfer.dump(two, "news"))
        assert one.judgements("news") == two.judgements("news")
        two.ask(questions(2, name="later"), "news")
        work = Work(two.database)
        (task,) = work.take("new", "news", count=1, lease_seconds=60, rubric=1)
        work.submit(Judgement("new-1", str(task.number), "new", (1, 2), shown=(0, 1)), "news")
        Projects(two.database).change("news", ProjectSettings(title="later", overlap=2), actor="test")
        with two.database.reading() as connection:
            numbers = connection.execute(sa.text("SELECT number FROM judgements ORDER BY number")).scalars().all()
        assert numbers == list(range(1, 20))
        assert Projects(two.database).settings("news").title == "later"


def test_checks_and_batches_are_as_they_were_in_the_copy(tmp_path: Path, postgres_url: str) -> None:
    lively(str(tmp_path / "one.db"))
    source, target = Database(tmp_path / "one.db"), Database(postgres_url)
    copy(source, target)
    source.close()
    target.close()
    with Store(tmp_path / "one.db") as one, Store(postgres_url) as two:
        ends = [(store.database, Work(store.database), Batches(store.database)) for store in (one, two)]
        first, second = (
            [(batch.id, batch.state, batch.late, batch.missing, batches.settled(batch.id)) for batch in batches.all()]
            for _, _, batches in ends
        )
        assert first == second and [line[1] for line in first] == ["consumed", "open"]
        assert [Decisions(database).golds("quizzed") for database, _, _ in ends] == [1, 1]
        for _, work, _ in ends:
            mine = work.take("dee", "quizzed", count=4, lease_seconds=60, rubric=1)
            assert [task.purpose for task in mine] == ["", ""], "let in before, and the gold was seen in the quiz"
            (task,) = work.take("new", "quizzed", count=4, lease_seconds=60, rubric=1)
            assert task.purpose == "quiz"
            work.submit(Judgement("new", task.id, "new", (2, 1), shown=(0, 1)), "quizzed")
            with pytest.raises(NotAdmittedError):
                work.take("new", "quizzed", count=1, lease_seconds=60, rubric=1)
        asked = questions(2, "scores", name="live")[1].id
        two.answer(Judgement("live-1", asked, "ann", scores={"faithful": 1, "fluent": 1}))
        assert Batches(two.database).close("b1").state == "quorum", "the run that waits goes on in the copy"


def test_a_copy_of_nothing_lets_the_first_row_be_number_one(tmp_path: Path, postgres_url: str) -> None:
    source, target = Database(tmp_path / "empty.db"), Database(postgres_url)
    assert set(copy(source, target).rows.values()) == {0}
    source.close()
    target.close()
    with Store(postgres_url) as store:
        store.ask(questions(1))
        with store.database.reading() as connection:
            assert connection.execute(sa.text("SELECT number FROM questions")).scalar_one() == 1


@pytest.mark.parametrize("back", [False, True], ids=["to postgres", "to sqlite"])
def test_a_killed_copy_leaves_nothing_and_can_be_run_again(tmp_path: Path, postgres_url: str, back: bool) -> None:
    ends = [str(tmp_path / "one.db"), postgres_url]
    source_url, target_url = reversed(ends) if back else ends
    lively(source_url)
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    died = subprocess.run([sys.executable, "-c", KILLED, source_url, target_url], capture_output=True, env=path)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    source, target = Database(source_url), Database(target_url)
    assert set(content(target).rows.values()) == {0}
    assert copy(source, target) == content(target)
    source.close()
    target.close()


def test_what_postgres_cannot_hold_is_said_and_nothing_is_kept(tmp_path: Path, postgres_url: str) -> None:
    lively(str(tmp_path / "one.db"), 8)
    source, target = Database(tmp_path / "one.db"), Database(postgres_url)
    with source.writing() as connection:
        connection.execute(sa.text("UPDATE samples SET seed = 99999999999"))
    with pytest.raises(DataError, match=r"(?s)cannot hold a row of samples.*2,147,483,647"):
        copy(source, target)
    assert set(content(target).rows.values()) == {0}
    source.close()
    target.close()


def test_a_copy_is_of_one_moment_while_others_write(tmp_path: Path, postgres_url: str) -> None:
    lively(postgres_url, 8)
    source, target = Database(postgres_url), Database(tmp_path / "two.db")
    before, late = content(source), list[str]()

    def meanwhile(table: str, rows: int) -> None:
        if not late:
            late.append(table)
            with Store(postgres_url) as store:
                store.ask(questions(2, name="late"), "news")

    assert copy(source, target, meanwhile) == before == content(target)
    assert late and content(source) != before
    source.close()
    target.close()


def test_a_changed_row_changes_the_content(tmp_path: Path) -> None:
    lively(str(tmp_path / "one.db"), 8)
    database = Database(tmp_path / "one.db")
    before = content(database)
    with database.writing() as connection:
        connection.execute(sa.text("UPDATE samples SET text = text || ' ' WHERE id LIKE '%a3-1'"))
    after = content(database)
    assert (after.rows, after.digest == before.digest) == (before.rows, False)
    database.close()
