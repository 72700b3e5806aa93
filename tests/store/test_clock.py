"""A clock that jumps by a day, either way, bends neither the order of judgements, nor leases, nor the past."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rating_room import questions
from tutelage.store.store import Store
from tutelage.store.work import Task, Work
from tutelage.types import Judgement

DAY = 86400.0
Jump = Callable[[float], None]


@pytest.fixture
def postgres(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = str(tmp_path / "ratings.db") if request.param == "sqlite" else request.getfixturevalue("postgres")
    with Store(url) as made:
        yield made


@pytest.fixture
def jump(store: Store, monkeypatch: pytest.MonkeyPatch) -> Jump:
    """`jump(-DAY)` sets the clock that all of the store reads a day back from what it truly is."""
    true = store.database.now

    def by(seconds: float) -> None:
        monkeypatch.setattr(store.database, "now", lambda connection: true(connection) + seconds)

    return by


def take(store: Store, project: str, rater: str) -> list[Task]:
    return Work(store.database).take(rater, project, count=1, lease_seconds=600, rubric=0)


def said(task: Task, rater: str, first: int) -> Judgement:
    return Judgement(str(uuid.uuid4()), str(task.number), rater, (1, 2) if first == 0 else (2, 1), shown=(0, 1))


@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_the_later_answer_stands_whatever_the_clock_says(seconds: float, store: Store, jump: Jump):
    project = f"order{seconds:g}"
    store.ask(questions(1, name=project), project=project, overlap=1)
    work, (task,) = Work(store.database), take(store, project, "ann")
    first, second = said(task, "ann", 0), said(task, "ann", 1)
    work.submit(first, project)
    jump(seconds)
    work.submit(second, project)
    jump(0)
    assert work.submit(second, project).id == second.id, "sent again after the jump: the same reply"
    assert [row.id for row in store.judgements(project)] == [second.id]
    times = [row["created"] for row in store.history(project)]
    assert times == sorted(times)


def test_an_export_of_the_past_is_the_same_after_the_clock_went_back(store: Store, jump: Jump):
    store.ask(questions(1, name="past"), project="past", overlap=1)
    work, (task,) = Work(store.database), take(store, "past", "ann")
    work.submit(said(task, "ann", 0), "past")
    then = store.history("past")[0]["created"] - 60
    before = [replace(row) for row in store.judgements("past", at=then)]
    jump(-DAY)
    work.submit(said(task, "ann", 1), "past")
    assert store.judgements("past", at=then) == before == []


def test_a_clock_that_was_wrong_by_years_is_not_followed(store: Store, jump: Jump):
    store.ask(questions(2, name="years"), project="years", overlap=1)
    work = Work(store.database)
    jump(3650 * DAY)
    work.submit(said(take(store, "years", "ann")[0], "ann", 0), "years")
    jump(0)
    work.submit(said(take(store, "years", "ann")[0], "ann", 0), "years")
    wrong, right = [row["created"] for row in store.history("years")]
    assert wrong - right > 3000 * DAY


def test_a_lease_lasts_no_longer_than_promised_when_the_clock_goes_back(store: Store, jump: Jump):
    store.ask(questions(1, name="back"), project="back", overlap=1)
    assert take(store, "back", "gone")
    jump(-DAY)
    assert take(store, "back", "ann") == [], "held: it may be answered any moment"
    jump(-DAY + 601)
    assert take(store, "back", "ann"), "ten minutes later it is free, not a day later"


def test_a_lease_that_a_jump_ended_still_takes_its_answer(store: Store, jump: Jump):
    store.ask(questions(1, name="forth"), project="forth", overlap=1)
    (late,) = take(store, "forth", "ann")
    jump(DAY)
    (quick,) = take(store, "forth", "bo")
    work = Work(store.database)
    assert not work.submit(said(quick, "bo", 0), "forth").extra
    assert work.submit(said(late, "ann", 0), "forth").extra
    assert len(store.judgements("forth")) == 2


@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_answers_brought_in_are_never_older_than_those_before_them(seconds: float, store: Store, jump: Jump):
    project = f"many{seconds:g}"
    store.ask(questions(2, name=project), project=project, overlap=2)
    first, second = (one.id for one in store.comparisons(project))
    store.answer_many([Judgement(f"{project}-1", first, "ann", (1, 2))])
    jump(seconds)
    store.answer_many(
        [Judgement(f"{project}-2", second, "ann", (1, 2)), Judgement(f"{project}-3", first, "bo", (1, 2))]
    )
    store.withdraw(f"{project}-3", f"{project}-4")
    times = [row["created"] for row in store.history(project)]
    assert len(times) == 4 and times == sorted(times)
    assert len(store.judgements(project, at=times[0])) == (1 if seconds > 0 else 2)
