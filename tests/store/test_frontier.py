"""Where the search for the next question begins is kept, and never hides one: it finds what a search of all would."""

from __future__ import annotations

import random

import pytest
import sqlalchemy as sa

from rating_room import new_id, questions
from tutelage.store.batches import Batches, Item
from tutelage.store.choosing import Choice, Choosing
from tutelage.store.decisions import Decisions
from tutelage.store.frontier import begins
from tutelage.store.handout import fresh
from tutelage.store.people import People
from tutelage.store.schema import frontiers, leases, tallies
from tutelage.store.schema import questions as asked
from tutelage.store.store import Store
from tutelage.store.work import Work
from tutelage.types import Judgement

RATERS = ("ann", "bo", "cy")


class Leave(Exception):
    pass


def found(store: Store, rater: str, *, everywhere: bool) -> list[int]:
    """Numbers of all that could come next for a rater; the search leaves nothing behind."""
    numbers: list[int] = []
    try:
        with store.database.writing() as connection:
            if everywhere:
                connection.execute(sa.delete(frontiers))
            numbers = [row["number"] for row in fresh(connection, rater, "P", 1000)]
            raise Leave
    except Leave:
        return numbers


class Walk:
    """Everything that may open, close or move a question, in any order."""

    def __init__(self, store: Store, seed: int) -> None:
        self.store, self.random, self.work = store, random.Random(seed), Work(store.database)
        self.people, self.decisions = People(store.database, b""), Decisions(store.database)
        self.given: list[tuple[str, str]] = []
        self.skips: list[tuple[str, str]] = []
        self.made = 0
        self.ask()

    def ask(self) -> None:
        self.made += 1
        self.store.ask(questions(8, name=f"q{self.made}-"), "P", overlap=2)

    def judge(self) -> None:
        for rater in (self.one(),) * self.random.randrange(1, 5):
            for task in self.work.take(rater, "P", count=2, lease_seconds=900, rubric=1)[:1]:
                told = Judgement(new_id(), task.id, rater, (1, 2), shown=(0, 1))
                self.given.append((self.work.submit(told, "P").id, rater))

    def skip(self) -> None:
        rater = self.one()
        for task in self.work.take(rater, "P", count=1, lease_seconds=900, rubric=1):
            self.skips.append((new_id(), rater))
            self.work.skip(task.id, self.skips[-1][0], rater, "P", "unclear")

    def unskip(self) -> None:
        if self.skips:
            name, rater = self.skips.pop(self.random.randrange(len(self.skips)))
            self.work.unskip(name, new_id(), rater, "P", lease_seconds=900, rubric=1)

    def undo(self) -> None:
        if self.given:
            name, rater = self.given.pop(self.random.randrange(len(self.given)))
            if self.random.random() < 0.5:
                self.work.undo(name, new_id(), rater, "P", lease_seconds=900, rubric=1)
            else:
                self.store.withdraw(name, new_id())

    def let_leases_run_out(self) -> None:
        with self.store.database.writing() as connection:
            connection.execute(sa.delete(leases))

    def exclude(self) -> None:
        out = self.random.random() < 0.5
        self.people.exclude("P", self.one(), out, reason="", actor="t")

    def choose(self) -> None:
        pool = self.random.sample(self.store.comparisons("P"), 3)
        Choosing(self.store.database).put("P", [Choice(one.id, 0.5, "random") for one in pool], actor="t", how={})

    def mark(self) -> None:
        number = self.random.randrange(1, 8 * self.made + 1)
        if self.random.random() < 0.5:
            self.decisions.unmark("P", number, actor="t")
        elif number not in self.waited_for():
            self.decisions.decide("P", number, Judgement("", "", "", (1, 2)), gold=True, actor="t")

    def post_or_cancel(self) -> None:
        batches = Batches(self.store.database)
        for batch in batches.all("P", "open"):
            batches.cancel(batch.id, actor="t")
            return
        items = [Item(one.id) for one in self.random.sample(self.store.comparisons("P"), 2)]
        batches.post(new_id(), project="P", run="r", step=self.made, items=items, wanted=2)

    def waited_for(self) -> set[int]:
        names = Batches(self.store.database).asked_now("P")
        with self.store.database.reading() as connection:
            return set(connection.execute(sa.select(asked.c.number).where(asked.c.id.in_(names))).scalars())

    def one(self) -> str:
        return self.random.choice(RATERS)

    def step(self) -> None:
        often = [self.judge] * 8
        rare = [self.ask, self.exclude, self.choose, self.mark, self.post_or_cancel, self.let_leases_run_out]
        self.random.choice([*often, *rare, self.skip, self.unskip, self.undo, self.undo])()


def check(store: Store) -> None:
    for rater in RATERS:
        assert found(store, rater, everywhere=False) == found(store, rater, everywhere=True), rater
    with store.database.reading() as connection:
        total = connection.execute(sa.select(sa.func.sum(asked.c.given)).where(asked.c.project == "P")).scalar()
        kept = connection.execute(sa.select(tallies.c.given).where(tallies.c.project == "P")).scalar() or 0
    assert kept == total


def walk(url: str, seed: int, steps: int, every: int) -> None:
    with Store(url) as store:
        made = Walk(store, seed)
        for step in range(steps):
            made.step()
            if step % every == 0:
                check(store)
        check(store)
        with store.database.reading() as connection:
            assert any((begins(connection, "P", rater) or (0, 0)) > (1, 1) for rater in RATERS), "it did begin later"


def test_the_search_finds_what_a_search_of_all_finds_whatever_happened() -> None:
    walk(":memory:", seed=1, steps=36, every=9)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
def test_the_search_finds_what_a_search_of_all_finds_after_each_of_many_steps(database_url: str, seed: int) -> None:
    walk(database_url, seed, steps=80, every=1)
