"""What `rate stats` says of raters, and that an excluded one leaves every export, traceably."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tutelage.cli.main import main
from tutelage.store.people import People
from tutelage.store.store import Store
from tutelage.types import Comparison, Judgement, Prompt, Sample

RATERS = {"ann": 0.92, "bob": 0.88, "cleo": 0.85, "liar": 0.08}


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 pairs, four raters, one of them upside down; ten pairs with a known answer that nobody was told."""
    random, db = Random(0), tmp_path_factory.mktemp("rated") / "r.db"
    comparisons: list[Comparison] = []
    judgements: list[Judgement] = []
    for number in range(80):
        prompt = Prompt(f"p{number}", f"Question {number}?")
        good, bad = Sample(f"s{number}a", prompt, "good", model="m1"), Sample(f"s{number}b", prompt, "bad", model="m2")
        pair, right, wrong = ((good, bad), (1, 2), (2, 1)) if number % 2 else ((bad, good), (2, 1), (1, 2))
        comparisons.append(Comparison(f"q{number}", "pair", prompt, pair))
        for name, chance in RATERS.items():
            ranks = right if random.random() < chance else wrong
            shown = tuple(random.sample(range(2), 2))
            judgements.append(Judgement(f"{name}-{number}", f"q{number}", name, ranks=ranks, shown=shown, seconds=9.0))
        if number < 10:
            judgements.append(Judgement(f"gold-{number}", f"q{number}", "gold", ranks=right))
    with Store(db) as store:
        store.ask(comparisons, overlap=4)
        store.answer_many(judgements)
    return db


def test_stats_name_the_liar_and_check_nobody_by_what_was_decided_afterwards(
    rated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = _stats(rated, tmp_path)
    lines = {line["rater"]: line for line in told["raters"]}
    assert set(lines) == set(RATERS), "gold is a key and no rater"
    assert lines["liar"]["faults"] == ["contradicts"] and lines["ann"]["faults"] == []
    assert {line["gold"] for line in lines.values()} == {None}, "none of these was asked as a hidden question"
    pair = told["agreement"][0]
    assert pair["alpha_low"] < pair["alpha"] < pair["alpha_high"] and pair["ac1"] is not None
    assert {line["reason"] for line in told["adjudicate"]} <= {"split"}
    assert "liar: chooses the opposite of the others" in capsys.readouterr().out


def test_an_excluded_rater_leaves_exports_and_comes_back_by_asking_for_before(
    rated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = datetime.now(UTC).isoformat()
    time.sleep(0.01)
    with Store(rated) as store:
        People(store.database, b"").exclude("default", "liar", True, reason="answers upside down", actor="test")
    try:
        _export(rated, tmp_path / "now.jsonl")
        _export(rated, tmp_path / "then.jsonl", "--at", before)
        now, then = (_rows(tmp_path / f"{name}.jsonl") for name in ("now", "then"))
        assert not any("liar" in row["meta"]["raters"] for row in now)
        assert any("liar" in row["meta"]["raters"] for row in then)
        origin = _rows(tmp_path / "now.origin.jsonl")[0]
        assert origin["excluded"] == {"liar": "answers upside down"}
        assert set(origin["raters"]) == {"ann", "bob", "cleo"} and origin["raters"]["ann"]["judgements"] == 80
        assert origin["newest_judgement"] == 330 and origin["settings"]["weights"] == "reliability"
        assert _rows(tmp_path / "then.origin.jsonl")[0]["excluded"] == {}
        capsys.readouterr()
        told = _stats(rated, tmp_path)
        assert re.search(r"\braters\W+3\b", capsys.readouterr().out), "the totals leave out who is excluded"
        assert told["excluded"] == {"liar": "answers upside down"}
        assert "liar" in {line["rater"] for line in told["raters"]}, "who is excluded can be seen and taken in again"
        assert told["agreement"][0]["alpha"] > 0.3
    finally:
        with Store(rated) as store:
            People(store.database, b"").exclude("default", "liar", False, reason="", actor="test")


def test_an_export_names_whose_judgements_weigh_nothing(
    rated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _export(rated, tmp_path / "pairs.jsonl")
    assert "liar: 80 judgements weigh nothing (no better than chance)" in " ".join(capsys.readouterr().err.split())
    weights = {name: told["weight"] for name, told in _rows(tmp_path / "pairs.origin.jsonl")[0]["raters"].items()}
    assert weights["liar"] == 0 and min(weights[name] for name in ("ann", "bob", "cleo")) > 0.5
    told = {line["rater"]: line["weight"] for line in _stats(rated, tmp_path)["raters"]}
    assert told == {name: round(weight, 4) for name, weight in weights.items()}
    capsys.readouterr()
    _export(rated, tmp_path / "alike.jsonl", "--weights", "none")
    assert "weigh" not in capsys.readouterr().err


def test_one_rater_is_compared_with_the_others_and_a_taste(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rated: Path
) -> None:
    (tmp_path / "likes_good.py").write_text("def score(meta, text):\n    return {'overall': float(text == 'good')}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ["rate", "stats", "--db", str(rated), "--rater", "ann"]
    assert main([*words, "--taste", "likes_good:score", "--out", str(tmp_path / "people.json")]) == 0
    told = json.loads((tmp_path / "people.json").read_text(encoding="utf-8"))
    assert (told["rater"], told["judged"], told["with_taste"]["of"]) == ("ann", 80, 80)
    assert "ann: 80 pairs judged (0 ties, 0 skipped)" in capsys.readouterr().out
    assert main(words) == 2
    assert "--rater and --taste go together" in capsys.readouterr().err


def test_stats_say_why_there_is_no_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompt = Prompt("p", "Which?")
    said = tuple(Sample(f"s{name}", prompt, name, model=name) for name in "abc")
    with Store(tmp_path / "one.db") as store:
        store.ask([Comparison("q", "ranking", prompt, said)], overlap=2)
        for rater, ranks in (("ann", (1, 2, 3)), ("bo", (3, 2, 1))):
            store.answer(Judgement(rater, "q", rater, ranks, shown=(0, 1, 2)))
    assert main(["rate", "stats", "--db", str(tmp_path / "one.db")]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "tau-b of two raters -1.00 (no interval: one prompt)" in told
    assert "log odds, no interval: one prompt" in told and "to look at again: 1 question," in told


def test_every_export_has_an_origin_of_its_own(rated: Path, tmp_path: Path) -> None:
    _export(rated, tmp_path / "pairs.jsonl", "--weights", "none")
    _export(rated, tmp_path / "pairs.believed.jsonl.gz")
    told = [_rows(tmp_path / f"{name}.origin.jsonl")[0]["settings"]["weights"] for name in ("pairs", "pairs.believed")]
    assert told == ["none", "reliability"]


def test_a_time_that_is_none_is_refused(rated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rate", "export", "--db", str(rated), "--out", str(tmp_path / "x.jsonl"), "--at", "yesterday"]) == 2
    assert "'yesterday' is no time" in capsys.readouterr().err


def _stats(db: Path, folder: Path) -> dict[str, Any]:
    assert main(["rate", "stats", "--db", str(db), "--out", str(folder / "stats.jsonl")]) == 0
    return _rows(folder / "stats.jsonl")[0]


def _export(db: Path, out: Path, *more: str) -> None:
    assert main(["rate", "export", "--db", str(db), "--out", str(out), *more]) == 0


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
