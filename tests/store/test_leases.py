"""Fifty raters at once meet the overlap exactly, on SQLite and on PostgreSQL, by the same test."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rating_room import questions
from tutelage.store.handout import origins
from tutelage.store.people import People
from tutelage.store.store import Store
from tutelage.store.work import Work
from tutelage.types import Judgement


@pytest.fixture
def postgres(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = str(tmp_path / "ratings.db") if request.param == "sqlite" else request.getfixturevalue("postgres")
    with Store(url) as made:
        yield made


def rate(store: Store, project: str, rater: str, patience: float = 0.0) -> int:
    """Work until nothing is left; sometimes two tasks at once, sometimes one is forgotten and taken again."""
    work, chance, done = Work(store.database), random.Random(rater), 0
    while tasks := work.take(rater, project, count=chance.choice((1, 1, 2)), lease_seconds=600, rubric=0):
        for task in tasks[: 1 if chance.random() < 0.2 else 2]:
            given = Judgement(
                str(uuid.UUID(int=chance.getrandbits(128))), str(task.number), rater, (1, 2), shown=(1, 0)
            )
            assert not work.submit(given, project).extra
            done += 1
    return done


def test_fifty_raters_give_each_question_exactly_three_judgements(store: Store):
    meet_the_overlap(store, items=40, raters=50)


@pytest.mark.slow
def test_fifty_raters_on_a_thousand_questions(store: Store):
    meet_the_overlap(store, items=1000, raters=50)


def meet_the_overlap(store: Store, items: int, raters: int) -> None:
    project = f"p{items}"
    store.ask(questions(items, name=project), project=project, overlap=3)
    with ThreadPoolExecutor(raters) as pool:
        done = sum(pool.map(lambda number: rate(store, project, f"{project}-r{number}"), range(raters)))
    standing = store.judgements(project)
    assert done == len(standing) == len(store.history(project)) == 3 * items
    assert set(Counter(row.comparison for row in standing).values()) == {3}
    assert max(Counter((row.comparison, row.rater) for row in standing).values()) == 1
    assert Work(store.database).held(project) == []


def test_an_abandoned_lease_returns_when_it_has_run_out(store: Store):
    store.ask(questions(1, name="late"), project="late", overlap=1)
    work = Work(store.database)
    assert work.take("gone", "late", count=1, lease_seconds=600, rubric=0)
    assert work.take("ann", "late", count=1, lease_seconds=600, rubric=0) == []
    with store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE leases SET expires = 0")
    assert work.take("ann", "late", count=1, lease_seconds=600, rubric=0)


def test_what_a_row_says_of_its_question_is_the_same_everywhere(store: Store):
    asked = questions(1, name="origin")
    store.ask(asked, project="origin")
    with store.database.reading() as connection:
        told = origins(connection, [asked[0].id])[asked[0].id]
    models, weights = ([f"SECRET-{word}{at}" for at in range(2)] for word in ("model", "weights"))
    assert told == {"models": models, "checkpoints": weights, "probability": 0.5, "extra": False}


def test_people_come_in_once_by_a_link_everywhere(store: Store):
    people = People(store.database, b"s" * 32)
    token = people.invite("door", actor="test", name="Ann", role="admin")
    with ThreadPoolExecutor(8) as pool:
        tried = list(pool.map(lambda _: _accept(people, token), range(8)))
    (cookie,) = [cookie for cookie in tried if cookie]
    session = people.session(cookie)
    assert session is not None and (session.name, session.role, session.project) == ("Ann", "admin", "door")
    people.sign_out(session)
    assert people.session(cookie) is None


def _accept(people: People, token: str) -> str:
    from tutelage.store.people import InvitationError

    try:
        return people.accept(token)
    except InvitationError:
        return ""
