"""Reading piece by piece: whole prompts together, one moment, whatever is written meanwhile; by an index everywhere."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lively_ratings import lively
from rating_room import questions
from tutelage.data.jsonl import read, write
from tutelage.errors import DataError
from tutelage.store import transfer
from tutelage.store.batches import Batches
from tutelage.store.copy import page_of
from tutelage.store.decisions import Decisions
from tutelage.store.engine import Database
from tutelage.store.schema import handouts, judgements, metadata, skips, tasks
from tutelage.store.store import Store
from tutelage.store.stream import Cut, Reader, cut_of, judgements_on, prompt_order, question_numbers, questions_numbered
from tutelage.store.work import Work
from tutelage.types import Comparison, Judgement, Prompt, Sample


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with Store(database_url) as made:
        yield made


def pairs(prompts: int, each: int, start: int = 0) -> list[Comparison]:
    """Pairs about prompts that come again and again: p0 p1 … p0 p1 …"""
    made: list[Comparison] = []
    for number in range(start, start + prompts * each):
        prompt = Prompt(f"p{number % prompts}", f"? {number % prompts}")
        said = tuple(Sample(f"{prompt.id}-{number}-{j}", prompt, f"answer {number} {j}") for j in range(2))
        made.append(Comparison(f"q{number}", "pair", prompt, said))
    return made


def test_whole_prompts_come_together_in_the_order_first_asked(store: Store) -> None:
    store.ask(pairs(7, 5))
    reader = Reader(store.database, "default", cut_of(store.database), page=3)
    order = prompt_order(reader)
    assert [len(part) for part in order] == [5] * 7
    told = [[asked.id for asked in posed.comparisons] for posed in reader.by_prompt(order)]
    assert told == [[f"q{prompt + 7 * again}" for again in range(5)] for prompt in range(7)]
    assert [posed.comparisons[0].id for posed in reader.in_order()] == [f"q{number}" for number in range(35)]


def test_what_comes_after_the_cut_is_not_there(store: Store) -> None:
    store.ask(pairs(2, 2))
    store.answer(Judgement("first", "q0", "ann", (1, 2)))
    store.answer(Judgement("second", "q1", "ann", (1, 2)))
    cut = Cut(**json.loads(json.dumps(cut_of(store.database).as_json())))
    store.answer(Judgement("edit", "q0", "ann", (2, 1)))
    store.withdraw("second", "undone")
    store.ask(pairs(2, 2, start=4))
    found = list(Reader(store.database, "default", cut).in_order())
    assert [(piece.comparisons[0].id, [row.id for row in piece.judgements]) for piece in found] == [
        ("q0", ["first"]), ("q1", ["second"]), ("q2", []), ("q3", []),
    ]  # fmt: skip
    now = [
        row.id
        for piece in Reader(store.database, "default", cut_of(store.database)).in_order()
        for row in piece.judgements
    ]
    assert now == ["edit"]


def test_a_raw_export_is_that_of_its_moment_while_others_write(store: Store) -> None:
    store.ask(pairs(3, 400))
    store.answer_many([Judgement(f"j{number}", f"q{number}", "ann", (1, 2)) for number in range(1200)])
    before = list(transfer.dump(store, "default"))
    rows: list[dict[str, Any]] = []
    for number, row in enumerate(transfer.dump(store, "default", cut_of(store.database))):
        if number % 400 == 0:
            store.ask(pairs(3, 1, start=10_000 + number))
            store.answer(Judgement(f"late{number}", f"q{number % 1200}", "late", (2, 1)))
        rows.append(row)
    assert rows == before
    assert len(list(transfer.dump(store, "default"))) > len(before)


def test_raw_goes_round_to_identical_bytes(database_url: str, tmp_path: Path) -> None:
    lively(database_url)
    with Store(database_url) as one:
        moments = [row["created"] for row in one.history("news")]
        for at in (None, moments[4]):
            path, back = tmp_path / f"{at}.jsonl", tmp_path / f"{at}.back.jsonl"
            write(path, transfer.dump(one, "news", cut_of(one.database, at)))
            with Store(tmp_path / f"{at}.db") as two:
                asked, given = transfer.load(two, (row.data for row in read(path)), "renamed")
                assert transfer.load(two, (row.data for row in read(path)), "renamed") == (0, 0)
                write(back, transfer.dump(two, "renamed"))
                with two.database.reading() as connection:
                    counted = connection.execute(sa.text("SELECT sum(given), sum(open) FROM questions")).one()
            assert path.read_bytes() == back.read_bytes()
            assert (asked, given) == ((12, 14) if at is None else (12, 5))
            if at is None:
                kinds = {row.data["record"] for row in read(path)}
                with one.database.reading() as connection:
                    query = (
                        "SELECT sum(given), sum(CASE WHEN open THEN 1 ELSE 0 END) FROM questions WHERE project='news'"
                    )
                    assert tuple(connection.execute(sa.text(query)).one()) == tuple(counted)
    assert kinds == {
        "raw", "setting", "rubric", "exclusion", "question", "rater", "judgement", "skip", "task",
    }  # fmt: skip


def test_a_raw_file_that_was_tampered_with_is_refused_whole(tmp_path: Path) -> None:
    lively(str(tmp_path / "one.db"))
    with Store(tmp_path / "one.db") as one, Store(tmp_path / "two.db") as two:
        rows = list(transfer.dump(one, "news"))
        last = max(index for index, row in enumerate(rows) if row["record"] == "judgement")
        for change, message in (
            ({"ranks": [3, 4]}, "do not rank 2 candidates"),
            ({"question": "gone"}, "no question 'gone'"),
            ({"id": rows[last - 1]["id"]}, "already stands for another"),
            ({"record": "opinion"}, "no kind of record 'opinion'"),
            ({"mood": "good"}, "have no mood"),
        ):
            wrong = [row | (change if index == last else {}) for index, row in enumerate(rows)]
            with pytest.raises(DataError, match=message):
                transfer.load(two, wrong, "news")
        lacking = [{name: value for name, value in row.items() if name != "rater"} for row in rows]
        with pytest.raises(DataError, match="lacks 'rater'"):
            transfer.load(two, lacking, "news")
        assert two.projects() == []


def test_every_reading_goes_by_an_index(database_url: str) -> None:
    lively(database_url)
    with Store(database_url) as store:
        cut, names = cut_of(store.database), ["SECRET-a-pair-1", "SECRET-a-pair-2"]
        queries = {
            "numbers": question_numbers("news", cut, 3, 400),
            "questions": questions_numbered([1, 2, 3]),
            "judgements of questions": judgements_on(names, cut),
            "handouts of questions": transfer.handouts_of(names, cut),
            **{f"{table.name} in order": transfer.rows_after(table, cut, 3) for table in (judgements, skips, tasks)},
            **{f"copy of {table.name}": page_of(table, _after(table)) for table in metadata.sorted_tables},
        }
        for name, query in queries.items():
            assert not scans(store.database, query), name
            if "questions" not in name:  # a page must not cost a sort of the whole project
                assert not sorts(store.database, query), name
        everything = sa.select(judgements).order_by(judgements.c.comment).limit(3)
        assert sorts(store.database, everything), "the check sees a sort where there is one"
        odd = sa.select(judgements).where(judgements.c.comment == "x")
        assert scans(store.database, odd), "the check sees a scan where there is one"
        assert not scans(store.database, sa.select(handouts).where(handouts.c.question == "x"))


def _after(table: sa.Table) -> tuple[Any, ...]:
    return tuple(1 if column.type.python_type is int else "a" for column in table.primary_key.columns)


def scans(database: Database, query: sa.Select[Any]) -> bool:
    """Whether a table would be read from its beginning to its end."""
    if database.dialect == "sqlite":
        return any(
            line.startswith("SCAN") and "USING" not in line and not line.startswith(("SCAN anon_", "SCAN (subquery"))
            for line in plan(database, query)
        )
    return any("Seq Scan" in line for line in plan(database, query))


def sorts(database: Database, query: sa.Select[Any]) -> bool:
    """Whether rows would be put in order before the first is there."""
    mark = "TEMP B-TREE" if database.dialect == "sqlite" else "Sort"
    return any(mark in line for line in plan(database, query))


def plan(database: Database, query: sa.Select[Any]) -> list[str]:
    text = str(query.compile(database.engine, compile_kwargs={"literal_binds": True}))
    with database.reading() as connection:
        if database.dialect == "sqlite":
            return [str(row[-1]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]
        for way in ("seqscan", "hashjoin", "bitmapscan"):  # what only pays for small tables
            connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
        return [str(row[0]) for row in connection.exec_driver_sql(f"EXPLAIN {text.replace('%', '%%')}")]


def test_a_raw_export_carries_checks_and_what_they_decided(database_url: str, tmp_path: Path):
    lively(database_url)
    with Store(database_url) as one, Store(tmp_path / "two.db") as two:
        rows = list(transfer.dump(one, "quizzed"))
        records = Counter(row["record"] for row in rows)
        assert (records["setting"], records["admission"], records["task"], records["question"]) == (1, 3, 3, 3)
        transfer.load(two, rows, "quizzed")
        assert list(transfer.dump(two, "quizzed")) == rows
        for store in (one, two):
            assert Decisions(store.database).golds("quizzed") == 1
            assert {name: row["admitted"] for name, row in Decisions(store.database).admissions("quizzed").items()} == {
                "cy": True, "dee": True,
            }  # fmt: skip
            work = Work(store.database)
            mine = work.take("cy", "quizzed", count=4, lease_seconds=60, rubric=1)
            assert {task.purpose for task in mine} == {""}, "no second quiz, and gold is nobody's ordinary task"
            (task,) = work.take("new", "quizzed", count=4, lease_seconds=60, rubric=1)
            assert task.purpose == "quiz" and task.comparison.id == questions(1, name="gold")[0].id
        live = list(transfer.dump(one, "live"))
        transfer.load(two, live, "live")
        assert list(transfer.dump(two, "live")) == live and Batches(two.database).all() == [], "a run's business"
        (task,) = Work(two.database).take("bo", "live", count=4, lease_seconds=60, rubric=1)
        assert task.comparison.id == questions(2, "scores", name="live")[1].id
