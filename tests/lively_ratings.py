"""A rating database with something in most of its tables, for tests of copies and exports."""

from __future__ import annotations

from typing import Any

from rating_room import questions
from tutelage.store.batches import Batches, Item
from tutelage.store.decisions import Decisions, add_gold
from tutelage.store.people import People
from tutelage.store.projects import Projects, ProjectSettings
from tutelage.store.store import Store
from tutelage.store.work import Work
from tutelage.types import Judgement


def lively(url: str, count: int = 12) -> None:
    """A database with something in most tables: work, edits, withdrawals, a skip, people, settings, an exclusion."""
    with Store(url) as store:
        store.ask(questions(count, name="a"), "news", overlap=2)
        store.ask(questions(3, "ranking", 3, name="b"), "other")
        Projects(store.database).change("news", ProjectSettings(title="新闻", overlap=2), actor="test")
        Projects(store.database).publish("news", {"en": "Be fair."}, (), actor="test")
        people, work = People(store.database, b"s" * 32), Work(store.database)
        people.accept(people.invite("news", actor="test", name="Ann", role="rater"))
        for rater in ("ann", "bo"):
            tasks = work.take(rater, "news", count=8, lease_seconds=600, rubric=1)
            for place, task in enumerate(tasks[:5]):
                given = Judgement(f"{rater}-{place}", str(task.number), rater, (1, 2), shown=(1, 0), comment="好\n")
                work.submit(given, "news")
            work.submit(Judgement(f"{rater}-again", str(tasks[0].number), rater, (2, 1), shown=(1, 0)), "news")
            work.undo(f"{rater}-1", f"{rater}-undo", rater, "news", lease_seconds=60, rubric=1)
            work.skip(str(tasks[6].number), f"{rater}-skip", rater, "news", "unclear", "why?")
        people.exclude("news", "bo", True, actor="test", reason="guesses")
        checked(store)
        waiting(store)


def checked(store: Store) -> None:
    """Gold with its known answer, a quiz that one rater has passed and another was let through."""
    asked = questions(1, name="gold")
    add_gold(store, asked, [Judgement("key", asked[0].id, "", (1, 2))], "quizzed")
    store.ask(questions(2, name="c"), "quizzed")
    Projects(store.database).change("quizzed", ProjectSettings(quiz=1, gold_rate=0.2), actor="test")
    work = Work(store.database)
    for rater, ranks in (("cy", (1, 2)), ("dee", (2, 1))):
        (task,) = work.take(rater, "quizzed", count=1, lease_seconds=600, rubric=1)
        work.submit(Judgement(f"{rater}-quiz", task.id, rater, ranks, shown=(0, 1)), "quizzed")
    Decisions(store.database).admit("quizzed", "dee", actor="test")
    (task,) = work.take("dee", "quizzed", count=1, lease_seconds=600, rubric=1)
    assert task.purpose == ""


def waiting(store: Store) -> None:
    """A batch that a run waits for, and one that it has taken in."""
    asked = questions(2, "scores", name="live")
    store.ask(asked, "live", overlap=1)
    batches = Batches(store.database)
    told: dict[str, Any] = {"project": "live", "run": "r", "wanted": 1}
    batches.post("b0", step=0, items=[Item(asked[0].id)], **told)
    store.answer(Judgement("live-0", asked[0].id, "ann", scores={"faithful": 3, "fluent": 4}))
    batches.close("b0")
    batches.consume("b0")
    batches.post("b1", step=1, items=[Item(asked[1].id)], **told)
