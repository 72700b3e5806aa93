"""A rating application on a database in a file, and people who have come in through its front door."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

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
