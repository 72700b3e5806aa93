"""Who wrote an answer (the model, and which weights of it) is told to admins alone: every route, every role."""

from __future__ import annotations

import json

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from rating_room import HOST, OPEN, SECRET, Enter, answer, door, questions, take
from tutelage.labelers._desk import questions_of, rows_of
from tutelage.store.store import Store
from tutelage.types import Judgement, QuestionKind
from tutelage.web._settings import Settings
from tutelage.web.app import create_app, routes

KINDS: tuple[QuestionKind, ...] = ("pair", "ranking", "scores", "best", "edit")
EVERY = [(method, one.path) for one in routes() if isinstance(one, Route) for method in sorted(one.methods or ())]
NAMES = ("SECRET-model", "SECRET-weights")
"""what the answers of `questions` say of their writers, as `Sample.model` and `Sample.checkpoint`"""


@pytest.fixture
def app(store: Store) -> Starlette:
    """A server that can export and take in answers."""
    settings = Settings(hosts=(HOST,), secret=SECRET, limits=OPEN, questions=questions_of, rows=rows_of)
    return create_app(store, settings)


@pytest.mark.parametrize("role", ["nobody", "rater"])
def test_no_route_tells_it_to_anybody_else(role: str, app: Starlette, enter: Enter, store: Store) -> None:
    store.ask([one for kind in KINDS for one in questions(1, kind, name=kind)], overlap=9)
    rater = enter()
    tasks = take(rater, 4)
    given = [answer(task) for task in tasks]
    said = [rater.post("/api/v1/judgements", json=one).text for one in given[1:]]
    said.append(json.dumps([*tasks, *take(rater, 4)]))
    own = rater.get("/api/v1/me").json()["rater"]
    for method, path in EVERY:
        if role == "rater" and rater.get("/api/v1/me").status_code != 200:
            rater = enter()  # a route that signs out came before
        place = path.replace("{project}", "default").replace("{number:int}", "1").replace("{rater:path}", own)
        for name in (tasks[0]["id"], given[1]["id"]) if "{id}" in place else ("",):
            client = rater if role == "rater" else door(app)
            reply = client.request(method, place.replace("{id}", name), json=given[0])
            said.append(reply.text + str(reply.headers))
        assert "SECRET" not in "".join(said), (method, path)


def test_admins_read_it_on_the_page_of_a_question_and_in_exports(enter: Enter, store: Store) -> None:
    asked = questions(1)
    store.ask(asked)
    store.answer(Judgement("j", asked[0].id, "ann", (1, 2), shown=(0, 1)))
    admin, place = enter(role="admin"), "/admin/projects/default"
    told = [admin.get(f"{place}/questions/1").text]
    for kind in ("preference", "raw"):
        told.append(admin.post(f"{place}/exports", data={"kind": kind, "weights": "none"}).text)
    assert all(f"{name}{at}" in one for one in told for name in NAMES for at in range(2))
