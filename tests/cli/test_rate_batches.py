"""`rate batches`: what training waits for is seen, ended and cancelled; evaluation asks nobody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tutelage.cli.main import main
from tutelage.store.batches import Batches, Item
from tutelage.store.store import Store
from tutelage.types import Comparison, Prompt, Sample


@pytest.fixture
def db(tmp_path: Path) -> str:
    prompt = Prompt("p", "Say it.")
    asked = [Comparison(f"q{n}", "scores", prompt, (Sample(f"s{n}", prompt, "a"),), ("overall",)) for n in range(2)]
    with Store(tmp_path / "r.db") as store:
        store.ask(asked, "P", 2)
        for number in range(2):
            told: dict[str, Any] = {"project": "P", "run": f"run {number}", "step": 7, "wanted": 2, "seconds": 500}
            told["checkpoint"] = "0123456789abcdef" * 2 * number
            Batches(store.database).post(f"b{number}", items=[Item(f"q{number}")], **told)
    return str(tmp_path / "r.db")


def told(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["rate", "batches", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])["batches"]


def test_open_batches_are_listed_ended_and_cancelled(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert [(one["id"], one["missing"]) for one in told(capsys, "--db", db, "--project", "P")] == [("b0", 2), ("b1", 2)]
    [ended] = told(capsys, "--db", db, "--end", "b0", "--late", "stop")
    assert (ended["late"], ended["state"]) == ("stop", "open") and ended["seconds_left"] <= 0
    [cancelled] = told(capsys, "--db", db, "--cancel", "b1")
    assert cancelled["state"] == "cancelled"
    assert [one["id"] for one in told(capsys, "--db", db)] == ["b0"]
    assert len(told(capsys, "--db", db, "--all")) == 2
    assert main(["rate", "batches", "--db", db]) == 0
    assert "step 8  0 of 1 answers judged by 2, 2 judgements missing" in capsys.readouterr().out
    assert main(["rate", "batches", "--db", db, "--all"]) == 0
    assert "step 8  weights 0123456789ab  0 of 1 answers judged" in capsys.readouterr().out


def test_of_two_batches_of_one_run_the_later_one_is_said_to_be_asked_ahead(
    db: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store(db) as store:
        told: dict[str, Any] = {"project": "P", "run": "run 0", "step": 8, "wanted": 2, "beside": ["b0"]}
        Batches(store.database).post("b2", items=[Item("q1")], **told)
    assert main(["rate", "batches", "--db", db]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["b2"].endswith("asked ahead, the run waits for step 8 first")
    assert "ahead" not in lines["b0"] + lines["b1"]


def test_mistakes_are_named(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rate", "batches", "--db", db, "--cancel", "none"]) == 65
    assert "there is no batch 'none'" in capsys.readouterr().err
    assert main(["rate", "batches", "--db", db, "--cancel", "b0", "--end", "b0"]) == 2
    capsys.readouterr()
    assert main(["rate", "batches", "--db", db, "--end", "b0", "--late", "model"]) == 2
    assert "names no model" in capsys.readouterr().err
    assert told(capsys, "--db", db)[0]["seconds_left"] > 0
    assert main(["eval", "--model", "m", "--data", "d.jsonl", "--out", "o", "--reward", "human?n=3"]) == 2
    assert "training steps only" in capsys.readouterr().err
