"""`tutelage data …` from the command line: what it prints, writes and returns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tutelage.cli.main import main
from tutelage.data.formats import load


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    file = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"p{i}", "chosen": "good", "rejected": "bad", "id": i} for i in range(3)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_inspect_shows_text_ids_and_mask(
    pairs: Path, tiny_chat_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "inspect", str(pairs), "--model", str(tiny_chat_model), "--limit", "1"]) == 0
    out = capsys.readouterr().out
    assert "pairs.jsonl:1" in out and "[chosen]" in out and "p0⟦good</s>⟧" in out
    assert "pairs.jsonl:2" not in out


def test_inspect_without_a_model_shows_the_rows(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "inspect", str(pairs), "--start", "2"]) == 0
    assert "[prompt] p2\n[chosen] good\n[rejected] bad" in capsys.readouterr().out


def test_check_prints_findings_and_json(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(pairs), "--against", str(pairs), "--json"]) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert result["kind"] == "preference" and result["facts"]["rows"] == 3
    assert any("3 of 3 prompts of the other file are here too" in warning for warning in result["warnings"])
    assert "warning: " in said.err


def test_check_ends_in_65_and_lists_every_problem(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs.write_text(pairs.read_text() + '{"prompt": "p", "chosen": "", "rejected": "b"}\n{"a": 1,}\n')
    assert main(["data", "check", str(pairs)]) == 65
    said = capsys.readouterr().err
    assert "2 problems" in said and "pairs.jsonl:4:27" in said and "pairs.jsonl:5:8" in said and "Traceback" not in said


def test_check_counts_tokens_and_refuses_what_is_too_long(
    pairs: Path, tiny_chat_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(pairs), "--model", str(tiny_chat_model), "--max-length", "3"]) == 65
    assert "are more than the limit of 3" in capsys.readouterr().err
    assert main(["data", "check", str(pairs), "--model", str(tiny_chat_model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lengths"][0]["unit"] == "tokens"


def test_convert_writes_the_other_kind_and_counts(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sft.jsonl"
    assert main(["data", "convert", str(pairs), "--kind", "demonstration", "--out", str(out), "--chat"]) == 0
    rows = load(out, "demonstration")
    assert len(rows) == 3 and rows[0].completion[0].content == "good" and rows[0].meta["id"] == 0
    assert "3 preference rows → 3 demonstration rows" in capsys.readouterr().out


def test_convert_renames_columns(tmp_path: Path) -> None:
    (tmp_path / "qa.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    out = tmp_path / "new.jsonl"
    words = ["data", "convert", str(tmp_path / "qa.jsonl"), "--kind", "demonstration", "--out", str(out)]
    assert main([*words, "--columns", "prompt=question,completion=answer"]) == 0
    assert load(out, "demonstration")[0].prompt == "q"
    assert main([*words, "--columns", "prompt"]) == 2
    assert main(words) == 65


def test_wrong_calls_end_in_their_codes(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "inspect", str(tmp_path / "none.jsonl")]) == 66
    assert main(["data", "convert", str(pairs), "--kind", "text", "--out", str(tmp_path / "x.jsonl")]) == 2
    assert main(["data", "convert", str(pairs), "--kind", "prompt", "--out", str(tmp_path / "x.txt")]) == 2
    assert main(["data", "make", "wheather", "--out", str(tmp_path)]) == 2
    assert main(["data", "convert", str(pairs), "--kind", "prompt", "--out", str(pairs / "x.jsonl")]) == 73
    assert "Traceback" not in capsys.readouterr().err


def test_make_writes_a_world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "make", "news", "--documents", "50", "--demonstrations", "20", "--prompts", "20"]
    assert main([*words, "--out", str(tmp_path / "world")]) == 0
    assert len(load(tmp_path / "world" / "corpus.jsonl", "text")) == 50
    assert "50 rows" in capsys.readouterr().out
