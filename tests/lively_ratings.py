"""A rating database with something in most of its tables, for tests of copies and exports."""

from __future__ import annotations

from rating_room import questions
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
