"""What the next task costs where much is asked: nothing is read in full to find it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event

from rating_room import questions
from tutelage.store.batches import Batches, Item
from tutelage.store.store import Store
from tutelage.store.work import Work
from tutelage.types import Judgement


@contextmanager
def steps(store: Store) -> Iterator[list[int]]:
    """Steps of SQLite's machine, in hundreds, that the block takes."""
    counted = [0]

    def one() -> int:
        counted[0] += 1
        return 0

    def count(connection: Any, *_: object) -> None:
        connection.set_progress_handler(one, 100)

    store.database.engine.dispose()
    event.listen(store.database.engine, "connect", count)
    yield counted
    event.remove(store.database.engine, "connect", count)
    store.database.engine.dispose()


def costs(path: Path, many: int, *, waiting: bool) -> tuple[int, int]:
    """(of the next task, of how many were done today) among `many` open questions."""
    with Store(path) as store:
        asked = questions(many)
        store.ask(asked, overlap=2)
        if waiting:
            items = [Item(one.id) for one in asked[-3:]]
            Batches(store.database).post("b", project="default", run="r", step=0, items=items, wanted=2)
        work = Work(store.database)
        (task,) = work.take("ann", "default", count=1, lease_seconds=900, rubric=1)
        assert task.comparison.id == (asked[-3] if waiting else asked[0]).id
        work.submit(Judgement("j", task.id, "ann", ranks=(1, 2), shown=(0, 1)), "default")
        with steps(store) as taking:
            work.take("bo", "default", count=1, lease_seconds=900, rubric=1)
        with steps(store) as counting:
            assert work.done_since("ann", "default", 0) == 1
        return taking[0], counting[0]


def test_the_next_task_costs_the_same_among_ten_times_as_many(tmp_path: Path):
    for waiting in (False, True):
        few, many = (costs(tmp_path / f"{count}{waiting}.db", count, waiting=waiting) for count in (100, 1000))
        assert few[0] > 0 and many[0] <= few[0] + 20, (few, many)
        assert many[1] <= few[1] + 5, (few, many)
