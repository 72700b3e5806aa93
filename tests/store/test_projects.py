"""Settings and rubrics of a project, also when two admins write at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from tutelage.store.audit import trail
from tutelage.store.projects import OvertakenError, Projects, ProjectSettings, Rubric
from tutelage.store.store import Store

MINE, THEIRS = {"en": "Be fair."}, {"en": "Be quick."}


def in_the_midst(store: Store, first: Callable[[], Any], second: Callable[[], Any]) -> Any:
    """What `second` gives, which has begun, but must wait for its turn to write, when `first` writes."""
    begun = Event()
    with ThreadPoolExecutor(1) as pool:
        with store.database.writing():
            later: Future[Any] = pool.submit(lambda: (begun.set(), second())[1])
            assert begun.wait(20)
            first()
        return later.result(20)


@pytest.fixture
def store(database_url: str):
    with Store(database_url) as made:
        yield made


def test_the_same_guidelines_published_twice_at_once_are_one_version(store: Store) -> None:
    projects = Projects(store.database)

    def publish() -> Rubric:
        return projects.publish("P", MINE, (), actor="a")

    assert in_the_midst(store, publish, publish).version == 1
    assert [rubric.version for rubric in projects.rubrics("P")] == [1]


def test_of_two_who_publish_at_once_the_later_is_told_and_nothing_is_overwritten(store: Store) -> None:
    projects = Projects(store.database)
    with pytest.raises(OvertakenError, match="version 1 is in force, not 0"):
        in_the_midst(
            store,
            lambda: projects.publish("P", THEIRS, (), actor="b", base=0),
            lambda: projects.publish("P", MINE, (), actor="a", base=0),
        )
    assert [(rubric.version, rubric.guidelines) for rubric in projects.rubrics("P")] == [(1, THEIRS)]
    assert projects.publish("P", THEIRS, (), actor="a", base=0).version == 1, "the same again is no quarrel"
    assert projects.publish("P", MINE, (), actor="a", base=1).version == 2


def test_the_log_says_what_was_in_force_when_settings_were_changed(store: Store) -> None:
    projects = Projects(store.database)
    in_the_midst(
        store,
        lambda: projects.change("P", ProjectSettings(overlap=5), actor="b"),
        lambda: projects.change("P", ProjectSettings(overlap=7), actor="a"),
    )
    told = [(row["before"], row["after"]) for row in trail(store.database)]
    assert told == [({"overlap": 5}, {"overlap": 7}), ({"overlap": 3}, {"overlap": 5})]
