"""Whoever is excluded fills no overlap: the gap is asked for at once, and closed again when they are taken in."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from rating_room import questions
from revisions import upgrade
from tutelage.store import transfer
from tutelage.store.overview import Overview
from tutelage.store.people import People
from tutelage.store.standing import rebuild
from tutelage.store.store import Store
from tutelage.store.work import Work
from tutelage.types import Judgement


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with Store(database_url) as made:
        yield made


def rate(store: Store, rater: str, count: int = 100) -> list[bool]:
    """Judge what is handed out; whether each came beyond the overlap."""
    work, extra = Work(store.database), list[bool]()
    while len(extra) < count and (tasks := work.take(rater, "P", count=1, lease_seconds=600, rubric=0)):
        told = Judgement(str(uuid.uuid4()), tasks[0].id, rater, (1, 2), shown=(0, 1))
        extra.append(work.submit(told, "P").extra)
    return extra


def exclude(store: Store, rater: str, out: bool = True, project: str = "P") -> None:
    People(store.database, b"").exclude(project, rater, out, reason="guesses", actor="test")


def counted(store: Store) -> list[tuple[int, bool]]:
    with store.database.reading() as connection:
        found = connection.execute(sa.text("SELECT given, open FROM questions WHERE project = 'P' ORDER BY number"))
        return [(row.given, bool(row.open)) for row in found]


def test_an_excluded_rater_leaves_a_gap_that_others_are_asked_to_fill(store: Store) -> None:
    store.ask(questions(2), "P", overlap=2)
    store.ask(questions(1, name="other"), "other", overlap=2)
    assert [rate(store, rater) for rater in ("ann", "bo")] == [[False, False]] * 2
    assert counted(store) == [(2, False)] * 2 and rate(store, "cy") == []
    exclude(store, "bo", project="other")
    assert counted(store) == [(2, False)] * 2, "what is decided in one project changes no other"
    exclude(store, "bo")
    assert counted(store) == [(1, True)] * 2
    assert [(one.missing, one.raters) for one in store.open_questions("P")] == [(1, {"ann", "bo"})] * 2
    assert store.stats("P") | {"samples": 0} == {
        "questions": 2, "open_questions": 2, "samples": 0, "raters": 1, "judgements": 2, "extra_judgements": 0,
    }  # fmt: skip
    assert Overview(store.database).counts("P").given == 2
    assert rate(store, "bo") == [], "nobody judges the same twice"
    assert rate(store, "cy") == [False, False], "not beyond the overlap: they fill it"
    assert counted(store) == [(2, False)] * 2 and rate(store, "dee") == []
    exclude(store, "bo", out=False)
    assert counted(store) == [(3, False)] * 2
    exclude(store, "ann")
    exclude(store, "cy")
    assert counted(store) == [(1, True)] * 2
    rebuild(store.database, "P")
    assert counted(store) == [(1, True)] * 2, "counting anew says what was kept"


def test_what_an_excluded_rater_holds_keeps_nobody_from_it(store: Store) -> None:
    store.ask(questions(1), "P", overlap=1)
    work = Work(store.database)
    (task,) = work.take("bo", "P", count=1, lease_seconds=600, rubric=0)
    assert rate(store, "ann") == []
    exclude(store, "bo")
    assert rate(store, "ann") == [False]
    work.submit(Judgement("late", task.id, "bo", (1, 2), shown=(0, 1)), "P")
    assert counted(store) == [(1, False)]


def test_an_import_counts_as_its_exclusions_say(store: Store, tmp_path: Path) -> None:
    store.ask(questions(1), "P", overlap=2)
    rate(store, "ann")
    rate(store, "bo")
    before = list(transfer.dump(store, "P"))
    exclude(store, "bo")
    rows = list(transfer.dump(store, "P"))
    with Store(tmp_path / "empty.db") as empty:
        transfer.load(empty, rows, "P")
        assert counted(empty) == [(1, True)]
    with Store(tmp_path / "filled.db") as filled:
        transfer.load(filled, before, "P")
        assert counted(filled) == [(2, False)]
        transfer.load(filled, rows, "P")
        assert counted(filled) == [(1, True)]


def test_judgements_leave_out_who_counts_for_nothing_unless_all_are_asked_for(store: Store) -> None:
    store.ask(questions(1), "P", overlap=2)
    rate(store, "ann")
    rate(store, "bo")
    asked = store.comparisons("P")[0].id
    store.answer_many([Judgement("known", asked, "gold", (2, 1))], rater_kind="key")
    assert [one.rater for one in store.judgements("P")] == ["ann", "bo"]
    before = Overview(store.database).now()
    time.sleep(0.01)
    exclude(store, "bo")
    assert [one.rater for one in store.judgements("P")] == ["ann"]
    assert [one.rater for one in store.judgements("P", at=before)] == ["ann", "bo"], "as it was"
    assert [one.rater for one in store.judgements("P", everybody=True)] == ["ann", "bo", "gold"]
    exclude(store, "bo", out=False)
    assert [one.rater for one in store.judgements("P")] == ["ann", "bo"]


def test_an_older_database_is_counted_anew(database_url: str) -> None:
    with Store(database_url) as store:
        store.ask(questions(2), "P", overlap=2)
        rate(store, "ann")
        rate(store, "bo", 1)
        exclude(store, "bo")
        exclude(store, "ann")
        exclude(store, "ann", out=False)
        right = counted(store)
        with store.database.writing() as connection:  # as tutelage counted before: excluded or not
            connection.execute(sa.text("UPDATE questions SET given = given + 1, open = given + 1 < overlap"))
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '0004'"))
        assert counted(store) != right
        with store.database.writing() as connection:
            upgrade(connection, "0005")
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '0006'"))
        assert counted(store) == right == [(1, True)] * 2
