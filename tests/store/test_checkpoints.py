"""Which weights wrote an answer stands on the answer, on every judgement of it, and in whatever is exported."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rating_room import questions
from revisions import upgrade
from tutelage.errors import DataError
from tutelage.labelers._desk import rows_of
from tutelage.store import transfer
from tutelage.store.answers import read_answers
from tutelage.store.batches import Batches, Item
from tutelage.store.copy import content, copy
from tutelage.store.engine import Database
from tutelage.store.store import Store
from tutelage.types import Comparison, Judgement


def by(checkpoint: str, asked: Comparison, name: str = "") -> Comparison:
    """The same question, its answers by other weights."""
    said = tuple(replace(one, checkpoint=checkpoint) for one in asked.candidates)
    return replace(asked, id=name or asked.id, candidates=said)


def written(store: Store, project: str = "P") -> list[list[str]]:
    return [[said.checkpoint for said in one.candidates] for one in store.comparisons(project)]


def records(store: Store, kind: str, at: float | None = None) -> list[dict[str, Any]]:
    return [row for row in rows_of(store, "P", "raw", at=at) if row["record"] == kind]


def test_every_judgement_names_the_weights_and_a_raw_file_brings_them_back(database_url: str, tmp_path: Path) -> None:
    first, second = questions(2)
    with Store(database_url) as store, Store(tmp_path / "other.db") as other:
        store.ask([by("a" * 32, first), by("", second)], "P")
        store.answer(Judgement("j0", first.id, "ann", (1, 2), shown=(0, 1)))
        store.answer(Judgement("j1", second.id, "ann", (1, 2), shown=(0, 1)))
        assert [row["checkpoints"] for row in store.history("P")] == [["a" * 32] * 2, []]
        rows = list(transfer.dump(store, "P"))
        assert [said["checkpoint"] for said in rows[1]["candidates"]] == ["a" * 32] * 2
        transfer.load(other, json.loads(json.dumps(rows)), "P")
        assert list(transfer.dump(other, "P")) == rows and written(other) == [["a" * 32] * 2, [""] * 2]
        for kind in ("preference", "per-rater"):
            told = {row["meta"]["item"]: row["meta"]["checkpoints"] for row in rows_of(store, "P", kind)}
            assert list(told.values()) == [["a" * 32] * 2, [""] * 2]


def test_the_same_words_by_later_weights_stay_those_of_the_first(database_url: str) -> None:
    """So that an export of any past time stays what it was."""
    (asked,) = questions(1)
    with Store(database_url) as store:
        store.ask([by("a" * 32, asked)], "P", overlap=2)
        store.answer(Judgement("j0", asked.id, "ann", (1, 2), shown=(0, 1)))
        then = store.history("P")[0]["created"] + 1e-6
        before = records(store, "question", then) + records(store, "judgement", then)
        store.ask([by("b" * 32, asked), by("b" * 32, asked, "again")], "P", overlap=2)
        store.answer(Judgement("j1", asked.id, "bo", (1, 2), shown=(0, 1)))
        assert written(store) == [["a" * 32] * 2] * 2
        assert [row["checkpoints"] for row in store.history("P")] == [["a" * 32] * 2] * 2
        assert records(store, "question", then) + records(store, "judgement", then) == before
        theirs = list(transfer.dump(store, "P"))
        with Store(":memory:") as other:
            other.ask([by("c" * 32, asked, "elsewhere")], "P", overlap=2)
            transfer.load(other, theirs, "P")
            assert written(other) == [["c" * 32] * 2] * 3, "here these words were written by other weights first"


def test_a_batch_names_the_weights_of_its_step(database_url: str) -> None:
    asked = questions(1, "scores")
    with Store(database_url) as store:
        store.ask(asked, "P")
        batches = Batches(store.database)
        told: dict[str, Any] = {"project": "P", "run": "r", "items": [Item(asked[0].id)], "wanted": 1}
        assert batches.post("b0", step=0, checkpoint="a" * 32, **told).checkpoint == "a" * 32
        assert batches.post("b0", step=0, checkpoint="b" * 32, **told).checkpoint == "a" * 32, "found as it was"
        assert batches.post("b1", step=1, **told).checkpoint == ""


def test_a_copy_of_the_database_keeps_them(database_url: str, tmp_path: Path) -> None:
    with Store(database_url) as store:
        store.ask(questions(2), "P")
        store.answer(Judgement("j0", questions(1)[0].id, "ann", (1, 2), shown=(0, 1)))
        target = Database(tmp_path / "copy.db")
        assert copy(store.database, target) == content(target) == content(store.database)
        target.close()
    with Store(tmp_path / "copy.db") as copied:
        assert written(copied) == [["SECRET-weights0", "SECRET-weights1"]] * 2
        assert copied.history("P")[0]["checkpoints"] == ["SECRET-weights0", "SECRET-weights1"]


def test_rows_of_before_say_nothing_of_checkpoints_and_are_read(database_url: str) -> None:
    with Store(database_url) as store, Store(":memory:") as other:
        store.ask([by("", one) for one in questions(2)], "P")
        store.answer(Judgement("j0", questions(1)[0].id, "ann", (1, 2), shown=(0, 1)))
        rows = list(transfer.dump(store, "P"))
        transfer.load(other, [without(row) for row in json.loads(json.dumps(rows))], "P")
        assert list(transfer.dump(other, "P")) == rows


def without(row: dict[str, Any]) -> dict[str, Any]:
    """A raw record as it was written before answers named their weights."""
    row.pop("checkpoints", None)
    for said in row.get("candidates", ()):
        del said["checkpoint"]
    return row


def test_an_older_database_is_brought_up_and_its_rows_name_no_weights(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/r.db")
    with engine.begin() as connection:
        upgrade(connection, "0006")
        for sql in (
            "INSERT INTO prompts VALUES ('P', 'p', '\"x\"', '{}')",
            "INSERT INTO samples VALUES ('P', 's', 'p', 'said', 'stop', 'm', 0)",
            "INSERT INTO raters VALUES ('ann', 'person', 0)",
            "INSERT INTO questions (number, id, project, kind, prompt, candidates, aspects, scale, probability, "
            "overlap, created) VALUES (1, 'q', 'P', 'scores', 'p', '[\"s\"]', '[\"a\"]', '[0,5]', 1, 2, 0)",
            "INSERT INTO judgements (number, id, question, rater, ranks, scores, shown, both_bad, strength, comment, "
            "seconds, rubric, withdrawn, created) "
            "VALUES (1, 'j', 'q', 'ann', '[]', '{\"a\": 3}', '[0]', 0, 0, '', 1, '', 0, 0)",
            "INSERT INTO batches (number, id, project, run, step, kind, wanted, late, state, seen, created) "
            "VALUES (1, 'b', 'P', 'r', 0, 'scores', 1, 'wait', 'cancelled', 0, 0)",
        ):
            connection.execute(sa.text(sql))
    engine.dispose()
    with Store(tmp_path / "r.db") as store:
        assert written(store) == [[""]] and store.history("P")[0]["checkpoints"] == []
        store.answer(Judgement("j2", "q", "bo", scores={"a": 1}))
        with store.database.reading() as connection:
            assert connection.exec_driver_sql("SELECT checkpoint FROM batches").scalars().all() == [""]


def sampled(folder: Path, rows: Sequence[Any]) -> Path:
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "answers.jsonl"


def test_sampled_rows_bring_theirs(tmp_path: Path) -> None:
    told = {"prompt": "Say.", "completion": "Hello.", "model": "m"}
    file = sampled(tmp_path, [told, told | {"checkpoint": "a" * 32}])
    first, second = read_answers([file])
    assert (first.checkpoint, second.checkpoint) == ("", "a" * 32)
    assert first.id == second.id, "the same answer by the same model"
    with pytest.raises(DataError, match="'checkpoint' is 7, not text"):
        read_answers([sampled(tmp_path, [told | {"checkpoint": 7}])])
