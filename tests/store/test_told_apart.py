"""Skips of checks say nothing of their question; what was chosen keeps its place in a raw file."""

from __future__ import annotations

import json
from pathlib import Path

import sqlalchemy as sa

from rating_room import questions
from revisions import upgrade
from tutelage.store import transfer
from tutelage.store.choosing import Choice, Choosing
from tutelage.store.decisions import Decisions
from tutelage.store.overview import Overview
from tutelage.store.projects import Projects, ProjectSettings
from tutelage.store.store import Store
from tutelage.store.work import Work
from tutelage.types import Judgement


def test_a_skipped_check_is_no_doubt_about_its_question() -> None:
    with Store(":memory:") as store:
        store.ask(questions(40), "P", overlap=2)
        for number in range(1, 11):
            Decisions(store.database).decide("P", number, Judgement("", "", "", (1, 2)), gold=True, actor="t")
        Projects(store.database).change("P", ProjectSettings(gold_rate=0.3, repeat_rate=0.3), actor="t")
        work, skipped = Work(store.database, b"s"), list[str]()
        while not {"gold", "repeat"} <= set(skipped):
            (task,) = work.take("ann", "P", count=1, lease_seconds=900, rubric=1)
            if task.purpose:
                work.skip(task.id, f"s{len(skipped)}", "ann", "P", "unclear")
                skipped.append(task.purpose)
            else:
                work.submit(Judgement(task.id, task.id, "ann", (1, 2), shown=(0, 1)), "P")
        assert work.skipped("P") == [] and Overview(store.database).page("P", "skipped") == (0, [])
        again = skipped.index("repeat")
        task = work.unskip(f"s{again}", "back", "ann", "P", lease_seconds=900, rubric=1)
        assert task.purpose == "repeat", "given back as what it was"
        while (task := work.take("ann", "P", count=1, lease_seconds=900, rubric=1)[0]).purpose:
            work.submit(Judgement(f"r{task.id}", task.id, "ann", (1, 2), shown=(0, 1)), "P")
        work.skip(task.id, "mine", "ann", "P", "unclear")
        assert [row["id"] for row in work.skipped("P")] == ["mine"]
        assert Overview(store.database).page("P", "skipped")[0] == 1


def test_raw_rows_keep_the_place_of_what_was_chosen() -> None:
    with Store(":memory:") as store, Store(":memory:") as other:
        asked = questions(5)
        store.ask(asked, "P")
        Choosing(store.database).put("P", [Choice(asked[4].id, 0.5, "active"), Choice(asked[2].id, 0.5, "random")],
                                     actor="t", how={})  # fmt: skip
        rows = [json.dumps(row) for row in transfer.dump(store, "P")]
        transfer.load(other, map(json.loads, rows), "P")
        assert [json.dumps(row) for row in transfer.dump(other, "P")] == rows
        first = other.next_question("ann", project="P")
        assert first is not None and first.id == asked[4].id
        older = [{name: value for name, value in json.loads(row).items() if name != "place"} for row in rows]
        with Store(":memory:") as third:
            transfer.load(third, older, "P")
            assert Choosing(third.database).left("P") == (0, 5, 0), "a file of before: nothing is chosen"


def test_an_older_database_learns_which_skips_were_of_checks(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/r.db")
    with engine.begin() as connection:
        upgrade(connection, "0005")
        for sql in (
            "INSERT INTO prompts VALUES ('P', 'p', '\"x\"', '{}')",
            "INSERT INTO raters VALUES ('ann', 'person', 0)",
            *(
                "INSERT INTO questions (number, id, project, kind, prompt, candidates, aspects, scale, probability, "
                f"overlap, created, given) VALUES ({n}, 'q{n}', 'P', 'pair', 'p', '[]', '[]', '[0,5]', 1, 1, 0, {n})"
                for n in (1, 2)
            ),
            "INSERT INTO tasks VALUES (1, 'P', 'q1', 'ann', '', 1), (2, 'P', 'q2', 'ann', '', 2)",
            "INSERT INTO tasks VALUES (3, 'P', 'q2', 'ann', 'repeat', 4)",
            "INSERT INTO skips VALUES (1, 's1', 'q1', 'ann', 'unclear', '', 2)",
            "INSERT INTO skips VALUES (2, 's2', 'q2', 'ann', 'unclear', '', 5)",
        ):
            connection.execute(sa.text(sql))
    engine.dispose()
    with Store(tmp_path / "r.db") as store:
        assert [row["id"] for row in Work(store.database).skipped("P")] == ["s1"]
        assert Overview(store.database).spent("P") == (3, 0)
