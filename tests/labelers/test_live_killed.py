"""A run that is killed while it posts: its questions and its batch are there together, or neither is."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from tutelage.labelers._live import Live
from tutelage.labelers._posing import Plan, pose
from tutelage.labelers._trainer import Trainer
from tutelage.store.batches import Batches
from tutelage.store.people import People
from tutelage.store.store import Store
from tutelage.types import Comparison, Judgement, Prompt, Sample

PLAN = Plan(project="P", raters=1)
ANSWERS = [Sample(f"p/{text}", Prompt("p", "Say p."), text) for text in ("one", "two")]
DEADLY = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from tutelage.labelers._live import Live
from tutelage.labelers._posing import Plan
from tutelage.labelers._trainer import Trainer
from tutelage.types import Prompt, Sample

@event.listens_for(Engine, "before_cursor_execute")
def die(connection, cursor, statement, *rest):
    if statement.startswith(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

answers = [Sample(f"p/{text}", Prompt("p", "Say p."), text) for text in ("one", "two")]
live = Live(sys.argv[1], Plan(project="P", raters=1), Trainer(Path(sys.argv[2])))
getattr(live, sys.argv[4])(answers, 0)
"""


def killed_at(statement: str, url: str, folder: Path, act: str) -> None:
    """A run in a process of its own that is gone, as by SIGKILL, before it sends that statement."""
    ran = subprocess.run([sys.executable, "-c", DEADLY, url, str(folder), statement, act], capture_output=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr.decode()


def asked(store: Store) -> list[str]:
    return [one.id for one in store.comparisons("P")]


def test_a_run_killed_before_its_batch_is_posted_leaves_no_questions_and_posts_both_again(
    database_url: str, tmp_path: Path
) -> None:
    with Store(database_url):
        pass
    killed_at("INSERT INTO batches", database_url, tmp_path / "run", "post")
    with Store(database_url) as store:
        assert asked(store) == [] and Batches(store.database).all() == []
        assert store.next_question("ann", project="P") is None, "nobody is asked what nobody waits for"
        Live(database_url, PLAN, Trainer(tmp_path / "run")).post(ANSWERS, 0)
        (batch,) = Batches(store.database).all()
        assert len(asked(store)) == 2 and (batch.items, batch.missing) == (2, 2)


def test_a_run_killed_while_it_asks_in_place_of_an_excluded_rater_leaves_no_question(
    database_url: str, tmp_path: Path
) -> None:
    with Store(database_url) as store:
        posed = pose(PLAN, store, ANSWERS)
        for number, one in enumerate(posed.questions):  # what ann has said of them in questions of another's
            own = Comparison(f"own{number}", "scores", one.prompt, one.candidates, one.aspects, one.scale)
            store.ask([own], "P")
            store.answer(Judgement(f"j{number}", own.id, "ann", scores={"overall": 3.0}))
        Live(database_url, PLAN, Trainer(tmp_path / "run")).post(ANSWERS, 0)
        People(store.database, b"").exclude("P", "ann", True, reason="", actor="test")
        assert Batches(store.database).all()[0].unasked == (0, 1)
    killed_at("UPDATE batch_items", database_url, tmp_path / "run", "wait")
    with Store(database_url) as store:
        assert asked(store) == ["own0", "own1"] and Batches(store.database).all()[0].unasked == (0, 1)


@contextmanager
def failing_at(statement: str, store: Store) -> Iterator[None]:
    def fail(connection: Any, cursor: Any, told: str, *rest: Any) -> None:
        if told.startswith(statement):
            raise RuntimeError("the machine is gone")

    event.listen(store.database.engine, "before_cursor_execute", fail)
    yield
    event.remove(store.database.engine, "before_cursor_execute", fail)


def test_a_transaction_within_another_ends_with_it_and_the_next_is_one_of_its_own(database_url: str) -> None:
    with Store(database_url) as store:
        posed = pose(PLAN, store, ANSWERS)
        with failing_at("INSERT INTO batches", store), pytest.raises(RuntimeError), store.database.writing():
            store.ask(posed.questions, "P")
            Batches(store.database).post("b", project="P", run="r", step=0, items=[], wanted=1)
        assert asked(store) == []
        store.ask(posed.questions[:1], "P")
        with pytest.raises(RuntimeError), store.database.writing():
            store.ask(posed.questions[1:], "P")
            raise RuntimeError("after a part that was whole")
        assert asked(store) == [posed.questions[0].id]
