"""The raters' JSON interface: leases, answers that may be sent again, undo, skip, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rating_room import HOST, OPEN, Enter, answer, door, new_id, questions, take
from tutelage.store.people import People
from tutelage.store.projects import Aspect, Projects, ProjectSettings
from tutelage.store.store import Store
from tutelage.store.work import Work
from tutelage.web._openapi import DOCUMENT
from tutelage.web._settings import Settings
from tutelage.web.app import create_app


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """On both kinds of database; raters cannot tell them apart."""
    url = tmp_path / "ratings.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with Store(url) as made:
        yield made


def test_a_rater_answers_every_kind_of_task(enter: Enter, store: Store):
    for kind in ("pair", "ranking", "scores", "best", "edit"):
        store.ask(questions(1, kind, answers=2 if kind == "pair" else 4, name=kind))
    client = enter()
    for _ in range(5):
        (task,) = take(client)
        reply = client.post("/api/v1/judgements", json=answer(task, flags=["unsafe"], comment="ok"))
        assert reply.json() == {"id": reply.json()["id"], "stored": True, "extra": False}, reply.text
    assert take(client) == []
    kept = {row.comparison.split("-")[2]: row for row in store.judgements()}
    assert kept["edit"].edit == "A better answer. 更好。" and kept["pair"].flags == ("unsafe",)
    assert client.get("/api/v1/me").json()["today"] == {"done": 5, "goal": 50}


def test_rows_say_what_was_shown_by_whom_it_was_written_and_under_which_rubric(enter: Enter, store: Store):
    store.ask(questions(1))
    Projects(store.database).publish("default", {"en": "# Be fair"}, (), actor="a")
    client = enter()
    (task,) = take(client)
    Projects(store.database).publish("default", {"en": "# Be fairer"}, (), actor="a")
    client.post("/api/v1/judgements", json=answer(task, confirmed=True, strength=2))
    (row,) = store.history()
    assert row["models"] == ["SECRET-model0", "SECRET-model1"] and row["probability"] == 0.5
    assert row["checkpoints"] == ["SECRET-weights0", "SECRET-weights1"]
    order = [0, 1] if "Answer** 0" in task["candidates"][0]["text"] else [1, 0]
    assert (row["rubric"], row["shown"], row["confirmed"], row["seconds"]) == ("1", order, True, 2.5)
    assert [row["ranks"][candidate] for candidate in order] == [1, 2]  # the one on the left was preferred


def test_an_answer_stands_under_the_rubric_that_its_page_showed_not_under_a_later_one(enter: Enter, store: Store):
    Projects(store.database).publish("default", {"en": "# Be fair"}, (), actor="a")
    store.ask(questions(2))
    client = enter()
    shown = take(client, 2)
    Projects(store.database).publish("default", {"en": "# Be fairer"}, (), actor="a")
    assert [task["rubric"] for task in take(client, 2)] == [2, 2], "they are handed out again, as pages ask ahead"
    told = [answer(shown[0], rubric=shown[0]["rubric"]), answer(shown[1], rubric=3), answer(shown[1])]
    assert [client.post("/api/v1/judgements", json=one).status_code for one in told] == [200, 404, 200]
    assert [row["rubric"] for row in store.history()] == ["1", "2"]


def test_asking_again_gives_the_same_tasks_first(enter: Enter, store: Store):
    store.ask(questions(5))
    client = enter()
    first = take(client, 2)
    assert take(client, 3)[:2] == first and len(take(client, 3)) == 3


def test_ten_parallel_submits_of_one_id_are_one_row_and_one_reply(enter: Enter, store: Store):
    store.ask(questions(1))
    client = enter()
    judgement = answer(take(client)[0])
    with ThreadPoolExecutor(10) as pool:
        replies = list(pool.map(lambda _: client.post("/api/v1/judgements", json=judgement), range(10)))
    assert {reply.status_code for reply in replies} == {200}
    assert {reply.text for reply in replies} == {replies[0].text} and len(store.history()) == 1


def test_replay_after_a_restart_gives_the_same_reply(enter: Enter, store: Store):
    store.ask(questions(1))
    client = enter()
    judgement = answer(take(client)[0])
    first = client.post("/api/v1/judgements", json=judgement).json()
    with Store(store.database.url) as again:
        client.app = create_app(again, Settings(hosts=("127.0.0.1:8000",), secret=b"s" * 32))
        assert client.post("/api/v1/judgements", json=judgement).json() == first
    assert len(store.history()) == 1


def test_an_id_is_never_used_twice_for_different_answers(enter: Enter, store: Store):
    store.ask(questions(2))
    client, other = enter("ann"), enter("bo")
    judgement = answer(take(client)[0])
    assert client.post("/api/v1/judgements", json=judgement).status_code == 200
    assert client.post("/api/v1/judgements", json=judgement | {"comment": "x"}).status_code == 409
    stolen = answer(take(other)[0], id=judgement["id"])
    assert other.post("/api/v1/judgements", json=stolen).status_code == 409
    assert len(store.history()) == 1


def test_a_second_tab_that_says_the_same_adds_no_row_and_other_words_are_an_edit(enter: Enter, store: Store):
    store.ask(questions(1))
    client = enter()
    (task,) = take(client)
    first = client.post("/api/v1/judgements", json=answer(task)).json()
    assert client.post("/api/v1/judgements", json=answer(task, seconds=9)).json() == first
    assert len(store.history()) == 1
    assert client.post("/api/v1/judgements", json=answer(task, comment="on second thought")).json()["id"] != first["id"]
    assert len(store.history()) == 2 and [row.comment for row in store.judgements()] == ["on second thought"]


def test_undo_adds_a_row_and_gives_the_task_back_however_often_it_is_sent(enter: Enter, store: Store):
    store.ask(questions(1), overlap=1)
    client, other = enter("ann"), enter("bo")
    (task,) = take(client)
    kept = answer(task)
    client.post("/api/v1/judgements", json=kept)
    taken_back = {"id": new_id()}
    replies = [client.post(f"/api/v1/judgements/{kept['id']}/undo", json=taken_back) for _ in range(3)]
    assert {reply.text for reply in replies} == {json.dumps({"task": task}, ensure_ascii=False, separators=(",", ":"))}
    assert store.judgements() == [] and len(store.history()) == 2
    assert take(other) == [], "the task is held by the one who took the answer back"
    assert client.post(f"/api/v1/judgements/{kept['id']}/undo", json={"id": new_id()}).status_code == 409
    assert other.post(f"/api/v1/judgements/{kept['id']}/undo", json={"id": new_id()}).status_code == 404
    assert client.post("/api/v1/judgements", json=answer(task)).status_code == 200
    assert len(store.judgements()) == 1


def test_a_skipped_task_comes_back_to_others_only(enter: Enter, store: Store):
    store.ask(questions(1))
    client, other = enter("ann"), enter("bo")
    (task,) = take(client)
    skip = {"id": new_id(), "reason": "no_knowledge", "comment": "physics"}
    for _ in range(2):
        assert client.post(f"/api/v1/tasks/{task['id']}/skip", json=skip).status_code == 200
    assert client.post(f"/api/v1/tasks/{task['id']}/skip", json=skip | {"reason": "unsafe"}).status_code == 409
    assert take(client) == [] and take(other)[0]["prompt"] == task["prompt"]


def test_a_skip_is_taken_back_by_a_row_however_often_that_is_sent(enter: Enter, store: Store):
    store.ask(questions(1), overlap=1)
    client, other = enter("ann"), enter("bo")
    (task,) = take(client)
    skip, undone = {"id": new_id(), "reason": "too_long"}, {"id": new_id()}
    assert client.post(f"/api/v1/tasks/{task['id']}/skip", json=skip).status_code == 200
    assert other.post(f"/api/v1/skips/{skip['id']}/undo", json={"id": new_id()}).status_code == 404
    replies = [client.post(f"/api/v1/skips/{skip['id']}/undo", json=undone) for _ in range(3)]
    assert {reply.json()["task"]["id"] for reply in replies} == {task["id"]}
    assert take(other) == [] and take(client) == [task] and Work(store.database).skipped("default") == []
    assert client.post(f"/api/v1/skips/{skip['id']}/undo", json={"id": new_id()}).status_code == 409
    assert client.post(f"/api/v1/skips/{undone['id']}/undo", json={"id": new_id()}).status_code == 404
    again = {"id": new_id(), "reason": "unclear"}
    assert client.post(f"/api/v1/tasks/{task['id']}/skip", json=again).status_code == 200
    assert take(client) == [] and take(other)[0]["prompt"] == task["prompt"]
    assert [row["reason"] for row in Work(store.database).skipped("default")] == ["unclear"]
    assert client.post(f"/api/v1/skips/{skip['id']}/undo", json=undone).status_code == 409


def test_nobody_answers_what_was_not_handed_to_them(enter: Enter, store: Store):
    store.ask(questions(1), overlap=1)
    store.ask(questions(1, name="other"), project="other", overlap=1)
    client, stranger = enter("ann"), enter("bo", project="other")
    (task,) = take(client)
    assert stranger.post("/api/v1/judgements", json=answer(task)).status_code == 404
    assert (
        stranger.post(f"/api/v1/tasks/{task['id']}/skip", json={"id": new_id(), "reason": "other"}).status_code == 404
    )


def test_a_late_answer_is_kept_and_called_extra_beyond_the_overlap(enter: Enter, store: Store):
    store.ask(questions(1), overlap=1)
    Projects(store.database).change("default", ProjectSettings(lease_seconds=30), actor="a")
    late, quick = enter("late"), enter("quick")
    (task,) = take(late)
    with store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE leases SET expires = 0")
    assert quick.post("/api/v1/judgements", json=answer(take(quick)[0])).json()["extra"] is False
    assert late.post("/api/v1/judgements", json=answer(task)).json()["extra"] is True
    assert len(store.judgements()) == 2


def test_order_is_each_raters_own_and_stays_the_same(enter: Enter, store: Store):
    store.ask(questions(1, "ranking", answers=6), overlap=20)
    clients = [enter(f"r{number}") for number in range(8)]
    orders = [[one["text"] for one in take(client)[0]["candidates"]] for client in clients]
    assert len({tuple(order) for order in orders}) > 4
    assert [[one["text"] for one in take(client)[0]["candidates"]] for client in clients] == orders


def test_places_on_the_screen_do_not_tell_the_order_in_the_database(enter: Enter, store: Store):
    """There the answers of one model often come first, throughout: whoever saw it could tell them apart."""
    store.ask(questions(12), overlap=2)
    client = enter()
    for _ in range(12):
        (task,) = take(client)
        assert task["shown"] == [0, 1] and [one["key"] for one in task["candidates"]] == ["0", "1"]
        best = ["Answer** 1" in one["text"] for one in task["candidates"]].index(True)
        ranks = [1, 2] if best == 0 else [2, 1]
        assert client.post("/api/v1/judgements", json=answer(task, ranks=ranks)).status_code == 200
    rows = store.history()
    assert {tuple(row["ranks"]) for row in rows} == {(2, 1)}  # always the second candidate, wherever it stood
    assert {tuple(row["shown"]) for row in rows} == {(0, 1), (1, 0)}


def test_an_answer_shown_under_another_secret_is_asked_again_never_turned_round(enter: Enter, store: Store):
    """The order on the screen is the secret's: whoever comes in again after it was changed may hold old answers."""
    store.ask(questions(12, "pair"))
    store.ask(questions(1, "edit", name="e"))
    client = enter()
    rater = client.get("/api/v1/me").json()["rater"]
    held: list[dict[str, Any]] = []
    for _ in range(13):
        (task,) = take(client)
        held.append(task)
        assert client.post(f"/api/v1/tasks/{task['id']}/skip", json={"id": new_id(), "reason": "other"}).is_success
    app = create_app(store, Settings(hosts=(HOST,), secret=b"t" * 32, limits=OPEN))
    back = door(app)
    token = People(store.database, b"t" * 32).invite("default", actor="test", rater=rater)
    assert back.post(f"/join/{token}").status_code == 303
    assert back.get("/api/v1/me").json()["rater"] == rater
    pairs = [task for task in held if task["kind"] == "pair"]
    assert {back.post("/api/v1/judgements", json=answer(task)).status_code for task in pairs} == {409}
    assert store.history() == []
    edit = next(task for task in held if task["kind"] == "edit")
    assert back.post("/api/v1/judgements", json=answer(edit)).status_code == 200, "one answer has one order"


def test_pages_that_say_the_order_of_the_database_are_understood_and_other_orders_refused(enter: Enter, store: Store):
    store.ask(questions(8, "ranking", answers=3))
    client = enter()
    texts = {tuple(one["text"][11] for one in task["candidates"]): task for task in take(client, 4)}
    order, task = next((list(map(int, order)), task) for order, task in texts.items() if order != ("0", "1", "2"))
    other = next(one for one in ([1, 2, 0], [2, 0, 1]) if one != order)
    given = answer(task, ranks=[1, 2, 3])
    assert client.post("/api/v1/judgements", json=given | {"shown": other}).status_code == 400
    assert client.post("/api/v1/judgements", json=given | {"shown": []}).status_code == 400
    assert client.post("/api/v1/judgements", json=given | {"shown": order}).status_code == 200
    (row,) = store.history()
    assert (row["shown"], row["ranks"]) == (order, [1, 2, 3])


def test_what_was_done_before_the_project_was_changed_goes_where_its_task_was_given(enter: Enter, store: Store):
    store.ask(questions(3, name="a"), "default")
    store.ask(questions(1, name="b"), "other")
    client = enter()
    first, second, third = take(client, 3)
    rater = client.get("/api/v1/me").json()["rater"]
    with store.database.writing() as connection:
        connection.exec_driver_sql(f"INSERT INTO members VALUES ('other', '{rater}', 0)")
    kept = client.post("/api/v1/judgements", json=answer(second)).json()["id"]
    assert client.post("/project", data={"project": "other"}).status_code == 303
    assert take(client)[0]["id"] not in (first["id"], second["id"], third["id"])
    assert client.post("/api/v1/judgements", json=answer(first)).status_code == 200
    gone = {"id": new_id(), "reason": "other"}
    assert client.post(f"/api/v1/tasks/{third['id']}/skip", json=gone).status_code == 200
    assert client.post(f"/api/v1/skips/{gone['id']}/undo", json={"id": new_id()}).json()["task"]["id"] == third["id"]
    undone = client.post(f"/api/v1/judgements/{kept}/undo", json={"id": new_id()})
    assert undone.json()["task"]["id"] == second["id"]
    assert len(store.judgements("default")) == 1 and store.judgements("other") == []
    stranger = enter("bo")
    assert stranger.post("/api/v1/judgements", json=answer(third)).status_code == 404


def test_no_reply_says_who_wrote_what(enter: Enter, store: Store):
    for kind in ("pair", "ranking", "scores", "best", "edit"):
        store.ask(questions(1, kind, name=kind))
    client = enter()
    tasks = [take(client)[0]]
    told = client.get("/api/v1/me").text + client.get("/api/v1/guidelines").text
    while tasks[-1:]:
        kept = answer(tasks[-1])
        told += json.dumps(tasks[-1]) + client.post("/api/v1/judgements", json=kept).text
        tasks = take(client)
    assert "SECRET" not in told


def test_scores_carry_the_wording_of_their_rubric(enter: Enter, store: Store):
    store.ask(questions(1, "scores"))
    anchors = {"0": {"en": "Wrong", "zh": "错误"}, "5": {"en": "Right"}}
    aspects = (Aspect("faithful", {"en": "Faithful", "zh": "忠实"}, (0.0, 5.0), 0.5, anchors),)
    Projects(store.database).publish("default", {"zh": "# 公平"}, aspects, actor="a")
    client = enter()
    faithful, fluent = take(client)[0]["aspects"]
    assert faithful["anchors"]["5"] == {"en": "Right", "zh": "Right"} and faithful["step"] == 0.5
    assert fluent == {
        "name": "fluent",
        "label": {"en": "Well written", "zh": "通顺"},
        "scale": [0, 5],
        "step": 1,
        "anchors": {},
    }
    assert client.get("/api/v1/guidelines").json()["html"]["en"] == "<h3>公平</h3>\n"


def test_language_is_kept_with_the_account(enter: Enter):
    client = enter()
    assert client.post("/api/v1/language", json={"language": "zh"}).status_code == 204
    assert client.get("/api/v1/me").json()["language"] == "zh"
    assert client.post("/api/v1/language", json={"language": "fr"}).status_code == 400


def test_what_was_asked_when_a_page_was_opened_is_taken_after_the_settings_were_changed(enter: Enter, store: Store):
    projects = Projects(store.database)
    projects.change("default", ProjectSettings(strength=4), actor="a")
    store.ask(questions(2))
    client = enter()
    first, second = take(client, 2)
    projects.change("default", ProjectSettings(strength=0, flags=()), actor="a")
    told = answer(first, strength=4, flags=["unsafe"])
    assert client.post("/api/v1/judgements", json=told).status_code == 200
    assert client.post("/api/v1/judgements", json=answer(second, strength=5)).status_code == 400
    (row,) = store.judgements()
    assert (row.strength, row.flags) == (4, ("unsafe",))


WRONG = {
    "no id": {"id": None},
    "an id that is no UUID": {"id": "1; DROP TABLE judgements"},
    "a task that is no number": {"task": "../1"},
    "too many ranks": {"ranks": [1, 2, 3]},
    "a rank of nobody's": {"ranks": [2, 2]},
    "ranks as truth": {"ranks": [True, 2]},
    "an order of other candidates": {"shown": [0, 5]},
    "a strength beyond the levels": {"strength": 4},
    "a score that no computer holds": {"scores": {"faithful": 10**400}},
    "endless time": {"seconds": 1e99},
    "time as text": {"seconds": "1"},
    "a flag of one's own": {"flags": ["x"]},
    "half a surrogate pair": {"comment": "\ud800"},
    "a NUL": {"comment": "a\x00b"},
    "too long a comment": {"comment": "x" * 5001},
    "an unknown name": {"rater": "bo"},
    "no word on untouched starts": {"confirmed": None},
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_an_answer_is_refused_in_words_and_not_stored(name: str, enter: Enter, store: Store):
    store.ask(questions(1))
    client = enter()
    reply = client.post("/api/v1/judgements", content=json.dumps(answer(take(client)[0]) | WRONG[name]), headers=JSON)
    assert reply.status_code == 400 and reply.json()["error"]["what"]
    assert store.history() == []


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "body", ["", "{", "[]", '{"n": NaN}', '{"n": 5}', "[" * 5000 + "]" * 5000, '{"n":' + "9" * 5000 + "}"]
)
def test_what_is_not_json_is_refused(body: str, enter: Enter):
    assert enter().post("/api/v1/tasks/next", content=body, headers=JSON).status_code == 400


def test_other_content_types_are_refused_since_forms_of_other_sites_can_send_them(enter: Enter):
    reply = enter().post("/api/v1/tasks/next", content='{"n": 1}', headers={"content-type": "text/plain"})
    assert reply.status_code == 400


def test_the_document_names_every_route_and_the_fields_that_are_sent(enter: Enter, store: Store):
    from tutelage.web import _api_sampling, api

    routes = {
        (route.path, method.lower())
        for route in [*api.routes, *_api_sampling.routes]
        for method in route.methods or ()
        if method != "HEAD"
    }
    told = {(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert told == routes
    store.ask(questions(1, "scores"))
    client = enter()
    schemas = client.get("/api/v1/openapi.json").json()["components"]["schemas"]
    assert set(schemas["Me"]["required"]) == client.get("/api/v1/me").json().keys()
    (task,) = take(client)
    assert set(schemas["Task"]["required"]) == task.keys() == schemas["Task"]["properties"].keys()
    assert set(schemas["Aspect"]["required"]) == task["aspects"][0].keys()
    assert set(schemas["Judgement"]["properties"]) == set(api._JUDGEMENT)


def test_a_closed_project_hands_out_nothing(enter: Enter, store: Store):
    store.ask(questions(1))
    Projects(store.database).change("default", ProjectSettings(open=False), actor="a")
    assert take(enter()) == []
    assert People(store.database, b"s" * 32).accounts()[0].projects == ("default",)
