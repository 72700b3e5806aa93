"""A database that cannot be read or written refuses nobody's answer for good: pages send it again until it is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from rating_room import Enter, answer, questions, take
from tutelage.store.store import Store


def test_an_answer_to_a_read_only_database_is_to_be_sent_again_and_is_kept_once(enter: Enter, store: Store):
    store.ask(questions(1))
    client, only = enter(), ["ON"]
    judgement = answer(take(client)[0])

    def hold(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA query_only = {only[0]}")

    event.listen(store.database.engine, "begin", hold, insert=True)
    refused = client.post("/api/v1/judgements", json=judgement)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2"), refused.text
    assert refused.json()["error"]["what"] == "the database does not answer just now"
    only[0] = "OFF"
    assert client.post("/api/v1/judgements", json=judgement).status_code == 200
    assert [row.id for row in store.judgements()] == [judgement["id"]]


@pytest.mark.parametrize("path", ["/api/v1/me", "/rate"])
def test_a_database_that_cannot_be_read_is_a_pause_and_says_so_under_the_policy(
    path: str, enter: Enter, store: Store, tmp_path: Path
):
    client, file = enter(), tmp_path / "ratings.db"
    store.database.close()
    whole = file.read_bytes()
    file.write_bytes(b"no database at all, " * 400)
    reply = client.get(path)
    assert reply.status_code == 503 and "ratings.db" not in reply.text
    assert "script-src 'self'" in reply.headers["content-security-policy"]
    store.database.close()
    file.write_bytes(whole)
    assert client.get(path).status_code == 200


def test_a_full_disk_acknowledges_nothing_and_the_same_answer_is_kept_when_there_is_room(enter: Enter, store: Store):
    store.ask(questions(2))
    client = enter()
    judgement = answer(take(client)[0], comment="满" * 5000)  # more than the free pages of the file hold
    engine, limit = store.database.engine, [1]

    def narrow(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {limit[0]}")  # at least what is there already

    event.listen(engine, "begin", narrow, insert=True)
    refused = client.post("/api/v1/judgements", json=judgement)
    assert refused.status_code == 507 and refused.headers["retry-after"] and store.history() == []
    limit[0] = 1_000_000
    assert client.post("/api/v1/judgements", json=judgement).status_code == 200
    assert [row.id for row in store.judgements()] == [judgement["id"]]
