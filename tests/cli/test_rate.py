"""`tutelage rate` end to end: simulate, stats, export, import, and what it says when something is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tutelage.cli._rate_serve import lock_of
from tutelage.cli.main import main
from tutelage.data.jsonl import write

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with answers.jsonl and a taste of its own, as the working directory."""
    random = Random(0)
    rows = [
        {
            "id": f"p{n}-{j}",
            "prompt": [{"role": "user", "content": f"概括新闻 {n}"}],
            "completion": f"答 {random.random():.6f}",
            "model": f"m{j % 2}",
            "meta": {"n": n},
        }
        for n in range(40)
        for j in range(4)
    ]
    write(tmp_path / "answers.jsonl", rows)
    (tmp_path / "own_taste.py").write_text(
        "def score(meta, text):\n"
        "    quality = float(text.split()[-1])\n"
        "    return dict.fromkeys(('faithful', 'concise', 'fluent', 'safe', 'overall'), quality)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def rate(world: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """`rate("stats", "--db", "r.db")` → its JSON result; it must succeed."""

    def run(*words: str) -> dict[str, Any]:
        assert main(["rate", *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


@pytest.fixture
def simulated(rate: Run) -> dict[str, Any]:
    return rate("simulate", "--db", "r.db", "--samples", "answers.jsonl", "--taste", "own_taste:score")


def test_simulate_asks_and_answers_and_can_be_repeated(rate: Run, simulated: dict[str, Any]) -> None:
    assert (simulated["questions"], simulated["judgements"]) == (40 * (2 + 1 + 4), 40 * 7 * 3)
    again = rate("simulate", "--db", "r.db", "--samples", "answers.jsonl", "--taste", "own_taste:score")
    assert (again["new_questions"], again["new_judgements"]) == (0, 0)
    more = rate("simulate", "--db", "r.db", "--taste", "own_taste:score")  # nothing open, no samples needed
    assert more["new_judgements"] == 0


def test_simulate_leaves_to_people_what_a_run_waits_for(
    world: Path, rate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    from tutelage.store.batches import Batches, Item
    from tutelage.store.store import Store
    from tutelage.types import Comparison, Prompt, Sample

    prompt = Prompt("p", "Say something.", {"n": 0})
    asked = [Comparison(f"q{n}", "scores", prompt, (Sample(f"s{n}", prompt, f"a 0.{n}"),), ("safe",)) for n in range(3)]
    with Store("r.db") as store:
        store.ask(asked, "default", 1)
        items = [Item(one.id) for one in asked[:2]]
        Batches(store.database).post("b", project="default", run="r", step=0, items=items, wanted=1)
    words = ["simulate", "--db", "r.db", "--taste", "own_taste:score", "--overlap", "1"]
    assert main(["rate", *words]) == 0
    assert "left to people, whose word a training run waits for: 2 questions" in capsys.readouterr().out
    with Store("r.db") as store:
        assert {one.comparison for one in store.judgements("default")} == {"q2"}
    assert rate(*words, "--awaited")["new_judgements"] == 2


def test_simulate_goes_on_after_kill_9(world: Path, rate: Run) -> None:
    words = ["simulate", "--db", "k.db", "--samples", "answers.jsonl", "--taste", "own_taste:score", "--json"]
    slow = (
        "import os, signal, tutelage.labelers.simulated as s\n"
        "s._BATCH = 50\n"
        "class Killed(s.Simulated):\n"
        "    def answer(self, store, waiting, progress=None):\n"
        "        kill = lambda given, _: given > 200 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return super().answer(store, waiting, kill)\n"
        "s.Simulated = Killed\n"
        f"from tutelage.cli.main import main; main({['rate', *words]!r})\n"
    )
    died = subprocess.run([sys.executable, "-c", slow], capture_output=True, env=_environment(world), check=False)
    assert died.returncode == -9, died.stderr.decode()
    assert 200 < rate("stats", "--db", "k.db")["judgements"] < 840
    finished = rate(*words[:-1])
    whole = rate("simulate", "--db", "w.db", *words[3:-1])
    assert finished["judgements"] == whole["judgements"] == 840
    for name in ("k", "w"):
        rate("export", "--db", f"{name}.db", "--out", f"{name}.jsonl")
    assert (world / "k.jsonl").read_bytes() == (world / "w.jsonl").read_bytes()


def test_every_kind_is_exported_and_counted(rate: Run, world: Path, simulated: dict[str, Any]) -> None:
    told = rate("export", "--db", "r.db", "--out", "pairs.jsonl", "--test-fraction", "0.25")
    assert told["train_rows"] + told["test_rows"] == told["preferences"] > 100
    assert told["ties_rows"] + told["test_ties_rows"] == told["ties"] + told["both_bad"] > 0
    told |= {"train_out": told["out"], "train_ties_out": told["ties_out"]}
    learned, tested = (
        {str(row["prompt"]) for name in (f"{part}_out", f"{part}_ties_out") for row in _read(world / told[name])}
        for part in ("train", "test")
    )
    assert not learned & tested, "ties are held out with the other pairs of their prompts"
    rows = _read(world / "pairs.jsonl")
    assert {"prompt", "chosen", "rejected", "weight", "margin", "group", "meta"} == rows[0].keys()
    right = [_quality(row["chosen"]) > _quality(row["rejected"]) for row in rows]
    assert sum(right) / len(right) > 0.95
    assert not {str(row["prompt"]) for row in rows} & {str(row["prompt"]) for row in _read(world / "pairs.test.jsonl")}
    assert rate("export", "--db", "r.db", "--out", "k.jsonl", "--kind", "ranking")["rankings"] == 120
    assert rate("export", "--db", "r.db", "--out", "s.jsonl", "--kind", "rated")["scores"] == 160 * 3 * 4
    assert rate("export", "--db", "r.db", "--out", "u.jsonl", "--kind", "unpaired")["good"] > 20
    only = rate("export", "--db", "r.db", "--out", "q.jsonl", "--rows", "question", "--sources", "pair")
    assert only["preferences"] + only["ties"] + only["both_bad"] == 80
    each = rate("export", "--db", "r.db", "--out", "j.jsonl", "--rows", "judgement", "--sources", "pair")
    assert each["preferences"] + each["ties"] + each["votes of raters no better than chance"] == 240


@pytest.mark.parametrize("kind", ["preference", "ranking", "rated", "raw"])
def test_what_was_exported_can_be_imported(rate: Run, simulated: dict[str, Any], kind: str) -> None:
    rate("export", "--db", "r.db", "--out", "rows.jsonl", "--kind", kind)
    told = rate("import", "--db", "i.db", "rows.jsonl")
    assert told["new_judgements"] > 0
    assert rate("import", "--db", "i.db", "--data", "rows.jsonl")["new_judgements"] == 0
    assert rate("stats", "--db", "i.db")["judgements"] == told["new_judgements"]


def test_a_raw_export_of_an_import_is_the_same_file(rate: Run, world: Path, simulated: dict[str, Any]) -> None:
    rate("export", "--db", "r.db", "--out", "raw.jsonl", "--kind", "raw")
    rate("import", "--db", "i.db", "--data", "raw.jsonl")
    rate("export", "--db", "i.db", "--out", "again.jsonl", "--kind", "raw")
    assert (world / "raw.jsonl").read_bytes() == (world / "again.jsonl").read_bytes()


def test_stats_speak_to_people(world: Path, simulated: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rate", "stats", "--db", "r.db", "--out", "stats.json"]) == 0
    said = capsys.readouterr().out
    for word in ("agreement", "raters", "adversary", "models", "one rater chooses what the others choose"):
        assert word in said
    assert "{" not in said  # a table in a table's cell
    assert json.loads((world / "stats.json").read_text(encoding="utf-8"))["ceiling"]["value"] > 0.5


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["stats", "--db", "none.db"], 66, "no such database"),
        (["export", "--db", "r.db", "--out", "x.jsonl", "--project", "gone"], 65, "no project 'gone'"),
        (["export", "--db", "r.db", "--out", "x.jsonl", "--test-fraction", "1.5"], 2, "not in [0, 1)"),
        (["export", "--db", "r.db", "--out", "x.jsonl", "--sources", "duel"], 2, "unknown kinds of question"),
        (["simulate", "--db", "r.db", "--taste", "nws"], 2, "did you mean 'news'"),
        (["simulate", "--db", "r.db", "--raters", "many"], 2, "does not name simulated raters"),
        (["simulate", "--db", "r.db", "--overlap", "11"], 2, "more raters than the 10"),
        (["simulate", "--db", "none.db"], 66, "no such database"),
        (["simulate", "--db", "r.db", "--samples", "none.jsonl"], 66, "none.jsonl"),
        (["import", "--db", "r.db", "--data", "answers.jsonl"], 2, "hold no judgements"),
        (["xyzzy"], 2, "simulate, judge, import, export, copy, stats"),
    ],
)
def test_mistakes_are_said_with_their_exit_code(
    simulated: dict[str, Any], capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    assert main(["rate", *words]) == code
    assert message in capsys.readouterr().err


def test_the_light_rooms_do_not_import_torch() -> None:
    modules = "tutelage.cli.rate, tutelage.store.export, tutelage.store.transfer, tutelage.labelers._consensus"
    check = (
        f"import sys, {modules}, tutelage.labelers.simulated, tutelage.store.labels; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", check], check=True, env=_environment(Path.cwd()))


def _environment(folder: Path) -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _quality(completion: list[Mapping[str, str]]) -> float:
    return float(completion[0]["content"].split()[-1])


def test_an_import_makes_no_noise_about_columns_that_it_reads(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"prompt": "p", "chosen": "a", "rejected": "b", "rater": "ann", "meta": {"n": 1}}
    write("pairs.jsonl", [row, row | {"prompt": "q", "odd": 1}])
    capsys.readouterr()
    assert main(["rate", "import", "--db", "n.db", "--data", "pairs.jsonl"]) == 0
    assert "other columns, kept in meta: odd\n" in capsys.readouterr().out


def test_an_import_says_that_weights_are_no_part_of_a_judgement(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = {"prompt": "p", "chosen": "a", "rejected": "b"}
    write("pairs.jsonl", [pair | {"weight": 0.1}, pair | {"prompt": "q"}])
    write("ranks.jsonl", [{"prompt": "p", "completions": ["a", "b", "c"], "ranks": [1, 2, 3], "weight": 0.5}])
    for name in ("pairs", "ranks"):
        capsys.readouterr()
        assert main(["rate", "import", "--db", "w.db", "--data", f"{name}.jsonl"]) == 0
        assert "weights left out of 1 row:" in " ".join(capsys.readouterr().out.split())


def test_stats_names_no_flag_of_another_verb(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("pairs.jsonl", [{"prompt": f"p{n}", "chosen": "a", "rejected": "b"} for n in range(6)])
    assert main(["rate", "import", "--db", "n.db", "--data", "pairs.jsonl"]) == 0
    assert main(["rate", "stats", "--db", "n.db"]) == 0
    said = capsys.readouterr().err
    assert "few pairs have more than one vote" in said and "--" not in said


def test_a_database_is_copied_and_exported_alike(rate: Run, world: Path, simulated: dict[str, Any]) -> None:
    told = rate("copy", "--from", "r.db", "--to", "copy.db")
    assert told["rows"]["judgements"] == simulated["judgements"] and len(told["digest"]) == 64
    for name in ("r", "copy"):
        rate("export", "--db", f"{name}.db", "--out", f"{name}.raw.jsonl", "--kind", "raw")
    assert (world / "r.raw.jsonl").read_bytes() == (world / "copy.raw.jsonl").read_bytes()
    assert main(["rate", "copy", "--from", "r.db", "--to", "copy.db"]) == 73
    assert main(["rate", "copy", "--from", "none.db", "--to", "new.db"]) == 66
    assert not (world / "new.db").exists()


def test_what_a_server_has_open_is_not_copied(
    world: Path, simulated: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    lock = lock_of("r.db")
    assert lock is not None
    assert main(["rate", "copy", "--from", "r.db", "--to", "served.db"]) == 75
    assert f"being served by pid {os.getpid()}" in capsys.readouterr().err and not (world / "served.db").exists()
    lock.release()
    assert main(["rate", "copy", "--from", "r.db", "--to", "served.db"]) == 0
    lock.acquire()
    lock.release()


def test_a_quiz_of_more_gold_than_there_is_is_refused(
    world: Path, simulated: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rate", "project", "--db", "r.db", "quiz=3", "goal=7"]) == 2
    said = capsys.readouterr().err
    assert "a quiz of 3 questions, and the project has 0 gold questions" in said and "--gold" in said
    assert main(["rate", "project", "--db", "r.db", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["quiz"], told["goal"]) == (0, 50), "nothing was set"


def test_a_raw_export_of_a_past_time_is_as_it_was(rate: Run, world: Path, simulated: dict[str, Any]) -> None:
    from datetime import UTC, datetime

    rate("export", "--db", "r.db", "--out", "then.jsonl", "--kind", "raw")
    newest = max(row["created"] for row in _read(world / "then.jsonl") if row.get("record") == "judgement")
    first = _read(world / "then.jsonl")[-1]
    from tutelage.store.store import Store

    with Store(world / "r.db") as store:
        last = store.judgements()[-1]
        store.withdraw(last.id, "undone")
    moment = datetime.fromtimestamp(newest, UTC).isoformat()
    rate("export", "--db", "r.db", "--out", "again.jsonl", "--kind", "raw", "--at", moment)
    rate("export", "--db", "r.db", "--out", "now.jsonl", "--kind", "raw")
    assert len(_read(world / "now.jsonl")) == len(_read(world / "then.jsonl")) + 1
    assert first["record"] and (world / "again.jsonl").stat().st_size > 0


def test_parquet_goes_out_and_comes_back_in(rate: Run, world: Path, simulated: dict[str, Any]) -> None:
    rate("export", "--db", "r.db", "--out", "raw.parquet", "--kind", "raw")
    rate("export", "--db", "r.db", "--out", "raw.jsonl", "--kind", "raw")
    rate("import", "--db", "two.db", "--data", "raw.parquet")
    rate("export", "--db", "two.db", "--out", "two.jsonl", "--kind", "raw")
    assert (world / "raw.jsonl").read_bytes() == (world / "two.jsonl").read_bytes()
    told = rate("export", "--db", "r.db", "--out", "p.parquet", "--columns", "trl", "--test-fraction", "0.3")
    assert told["train_rows"] + told["test_rows"] == told["preferences"]
    assert (world / "p.test.parquet").exists() and not (world / "p.ties.parquet").exists()
