"""A rating application on a database in a file, and people who have come in through its front door."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

import rating_browser
from rating_room import HOST, OPEN, SECRET, Enter, door
from tutelage.store.people import People, Role
from tutelage.store.store import Store
from tutelage.web._settings import Settings
from tutelage.web.app import create_app


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "ratings.db") as made:
        yield made


@pytest.fixture
def app(store: Store) -> Starlette:
    return create_app(store, Settings(hosts=(HOST,), secret=SECRET, limits=OPEN))


@pytest.fixture
def enter(app: Starlette, store: Store) -> Enter:
    """`enter("ann", role="admin")` → a browser that is signed in, through an invitation."""

    def come_in(name: str = "ann", role: Role = "rater", project: str = "default") -> TestClient:
        token = People(store.database, SECRET).invite(project, actor="test", role=role, name=name)
        client = door(app)
        assert client.post(f"/join/{token}").status_code == 303
        return client

    return come_in


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    """A headless Chromium."""
    with rating_browser.browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def shared_room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rating_browser.Room]:
    made = rating_browser.Room(tmp_path_factory.mktemp("room") / "ratings.db")
    yield made
    made.close()


@pytest.fixture
def room(shared_room: rating_browser.Room, request: pytest.FixtureRequest) -> rating_browser.Room:
    """A running server with a project for this test alone."""
    shared_room.project, shared_room.waiting = request.node.name[:80], None
    return shared_room
