"""`sample` and `chat`: deterministic, resumable, and never over someone else's file."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from tutelage.cli._answers import Draft
from tutelage.cli.main import main
from tutelage.errors import TryAgainError
from tutelage.models.load import load_policy
from tutelage.store.projects import Projects, ProjectSettings
from tutelage.store.store import Store

PROMPTS = 5


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    file = tmp_path / "prompts.jsonl"
    rows = [{"id": f"p{i}", "prompt": f"Line {i}:", "meta": {"n": i}} for i in range(PROMPTS)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def command(model: Path, prompts: Path, out: Path, *more: str) -> list[str]:
    base = ["sample", "--model", str(model), "--data", str(prompts), "--out", str(out)]
    return [*base, "--n", "2", "--max-new-tokens", "6", "--quiet", *more]


def rows(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_answers_are_written_in_order_with_all_their_fields(tiny_model: Path, prompts: Path, tmp_path: Path):
    out = tmp_path / "deep" / "a.jsonl"
    assert main(command(tiny_model, prompts, out, "--seed", "3")) == 0
    found = rows(out)
    assert [row["prompt_id"] for row in found] == [f"p{i}" for i in range(PROMPTS) for _ in range(2)]
    assert len({row["id"] for row in found}) == 2 * PROMPTS
    assert all(row["seed"] == 3 and row["meta"] for row in found)
    assert {re.sub("@[0-9a-f]{12}$", "", row["model"]) for row in found} == {str(tiny_model)} != {found[0]["model"]}
    assert {row["finish"] for row in found} <= {"stop", "length"} and found[0]["prompt"] == "Line 0:"
    assert not out.with_name("a.jsonl.partial").exists()


def test_two_checkpoints_that_lay_in_one_folder_are_told_apart(tiny_model: Path, prompts: Path, tmp_path: Path):
    model, db = tmp_path / "model", tmp_path / "r.db"
    shutil.copytree(tiny_model, model)
    names: list[str] = []
    wrote: list[str] = []
    for number in range(2):
        wrote.append(load_policy(str(model), device="cpu").digest())
        asked = ("--db", str(db), "--project", "news", "--kinds", "scores")
        assert main(command(model, prompts, tmp_path / f"{number}.jsonl", *asked)) == 0
        row = rows(tmp_path / f"{number}.jsonl")[0]
        assert (row["model"], row["checkpoint"]) == (f"{model}@{wrote[-1][:12]}", wrote[-1])
        names.append(row["model"])
        weights = model / "model.safetensors"
        told = weights.read_bytes()
        weights.write_bytes(told[:-4] + b"\x01\x02\x03\x3c")
    assert names[0] != names[1]
    with Store(db) as store:
        said = {(sample.model, sample.checkpoint) for one in store.comparisons("news") for sample in one.candidates}
        assert said == set(zip(names, wrote, strict=True))


def test_the_best_of_several_is_kept_with_its_reward_also_after_an_interruption(
    tiny_model: Path, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "liking.py").write_text("def length(prompt, completion):\n    return len(completion)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("tutelage.cli.sample._AT_ONCE", 8)
    every, best = tmp_path / "every.jsonl", tmp_path / "best.jsonl"
    words = [word for word in command(tiny_model, prompts, every) if word not in ("--n", "2")]
    assert main([*words, "--n", "4"]) == 0
    words[words.index(str(every))] = str(best)
    words += ["--best-of", "4", "--reward", "liking:length", "--json"]
    assert main(words) == 0
    longest = [max(len(row["completion"]) for row in rows(every)[4 * i : 4 * i + 4]) for i in range(PROMPTS)]
    assert [row["reward"] for row in rows(best)] == longest == [len(row["completion"]) for row in rows(best)]
    assert f'"reward": {sum(longest) / PROMPTS:g}' in capsys.readouterr().out
    whole = best.read_bytes()
    best.rename(best.with_name("best.jsonl.partial"))
    best.with_name("best.jsonl.partial").write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    assert main(words) == 0 and best.read_bytes() == whole


def test_an_interrupted_file_goes_on_to_the_same_bytes(
    tiny_model: Path, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("tutelage.cli.sample._AT_ONCE", 4)
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    assert main(command(tiny_model, prompts, whole)) == 0
    lines = whole.read_bytes().splitlines(keepends=True)
    for kept in (0, 1, 4, 7, 10):
        cut.unlink(missing_ok=True)
        torn = b"".join(lines[:kept]) + (lines[kept][:20] if kept < len(lines) else b"")
        cut.with_name("cut.jsonl.partial").write_bytes(torn)
        assert main(command(tiny_model, prompts, cut)) == 0
        assert cut.read_bytes() == whole.read_bytes(), kept
    capsys.readouterr()
    assert main([word for word in command(tiny_model, prompts, cut) if word != "--quiet"]) == 0
    assert "already complete" in capsys.readouterr().out


def test_a_file_of_another_run_is_left_alone(
    tiny_model: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "a.jsonl"
    assert main(command(tiny_model, prompts, out)) == 0
    before = out.read_bytes()
    assert main(command(tiny_model, prompts, out, "--seed", "1")) == 2
    assert "was not made by this command" in capsys.readouterr().err and out.read_bytes() == before
    other = tmp_path / "b.jsonl"
    other.with_name("b.jsonl.partial").write_bytes(before)
    assert main(command(tiny_model, prompts, other, "--seed", "1")) == 0
    assert "starting anew" in capsys.readouterr().err and len(rows(other)) == 2 * PROMPTS


def test_a_second_process_on_one_file_is_refused(tmp_path: Path):
    with (
        Draft(tmp_path / "a.jsonl", "x").opened(),
        pytest.raises(TryAgainError, match="another process"),
        Draft(tmp_path / "a.jsonl", "x").opened(),
    ):
        pass


def test_prompts_without_room_for_an_answer_are_refused(
    tiny_model: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(command(tiny_model, prompts, tmp_path / "a.jsonl", "--max-length", "8")) == 65
    assert "5 of 5 prompts are too long" in capsys.readouterr().err


def test_dry_run_checks_the_prompts_and_writes_nothing(tiny_model: Path, prompts: Path, tmp_path: Path):
    assert main(command(tiny_model, prompts, tmp_path / "a.jsonl", "--dry-run")) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["prompts.jsonl"]


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--out", "x.txt"], 2, "must end in .jsonl"),
        (["--n", "0"], 2, "n must be at least 1"),
        (["--best-of", "4"], 2, "keeps one answer, by --reward"),
        (["--reward", "taste:news"], 2, "keeps one answer, by --reward"),
        (["--temperature", "0"], 2, "temperature"),
        (["--model", "/nowhere/at/all"], 66, "no model folder"),
        (["--data", "/nowhere.jsonl"], 66, "no such file"),
    ],
)
def test_a_wrong_flag_is_told_before_anything_is_written(
    tiny_model: Path,
    prompts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    code: int,
    said: str,
):
    words = command(tiny_model, prompts, tmp_path / "a.jsonl")
    words = [word for word in words if word not in ("--n", "2")] if more[0] == "--n" else words
    if more[0] in words:
        words[words.index(more[0]) + 1] = more[1]
        more = []
    assert main([*words, *more]) == code
    assert said in capsys.readouterr().err


def test_answers_can_go_into_the_rating_database_twice_without_doubling(
    tiny_model: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    pytest.importorskip("tutelage.labelers._pairing")
    from tutelage.store.store import Store

    database = tmp_path / "r.db"
    words = command(tiny_model, prompts, tmp_path / "a.jsonl", "--db", str(database), "--overlap", "2", "--json")
    assert main(words) == 0
    asked = json.loads(capsys.readouterr().out)["questions"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["questions"] == 0
    with Store(database) as store:
        assert len(store.comparisons()) == asked > 0


def test_among_several_projects_none_is_guessed_and_none_made(
    tiny_model: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    database = tmp_path / "r.db"
    with Store(database) as store:
        Projects(store.database).change("news", ProjectSettings(), actor="test")
    words = command(tiny_model, prompts, tmp_path / "a.jsonl", "--db", str(database))
    assert main(words) == 0
    with Store(database) as store:
        assert Projects(store.database).names() == ["news"] and store.comparisons("news")
        Projects(store.database).change("other", ProjectSettings(), actor="test")
    words[words.index(str(tmp_path / "a.jsonl"))] = str(tmp_path / "b.jsonl")
    assert main(words) == 65
    assert "--project news or other" in capsys.readouterr().err and not list(tmp_path.glob("b.jsonl*"))
    with Store(database) as store:
        assert Projects(store.database).names() == ["news", "other"]


def test_fewer_answers_in_flight_give_the_same_answers_sooner_on_the_disk(
    tiny_model: Path, prompts: Path, tmp_path: Path
):
    assert main(command(tiny_model, prompts, tmp_path / "whole.jsonl")) == 0
    few = tmp_path / "few.jsonl"
    assert main(command(tiny_model, prompts, few, "--in-flight", "2")) == 0
    told = [[row["completion"] for row in rows(file)] for file in (few, tmp_path / "whole.jsonl")]
    assert told[0] == told[1]
    lines = few.read_bytes()
    few.rename(few.with_name("few.jsonl.partial"))
    few.with_name("few.jsonl.partial").write_bytes(b"".join(lines.splitlines(keepends=True)[:5]))
    assert main(command(tiny_model, prompts, few, "--in-flight", "2")) == 0 and few.read_bytes() == lines
    assert main(command(tiny_model, prompts, few, "--in-flight", "-1")) == 2


def test_chat_answers_one_prompt_and_a_pipe_the_same_way(
    tiny_chat_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    base = ["chat", str(tiny_chat_model), "--max-new-tokens", "5", "--json"]
    assert main([*base, "--prompt", "Hello"]) == 0
    first = json.loads(capsys.readouterr().out)
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hello\n\n/reset\nHello\nand more\n/exit\nnever\n"))
    assert main(base) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["prompt"] for row in found] == ["Hello", "Hello", "and more"]
    assert found[0] == found[1] == first


def test_chat_says_when_the_conversation_is_too_long(tiny_chat_model: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["chat", str(tiny_chat_model), "--prompt", "word " * 200]) == 65
    assert "the model can take 128" in capsys.readouterr().err
