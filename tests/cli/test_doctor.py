"""`doctor` says what stands in the way, with an exit code."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from conftest import REPO
from tutelage.cli import _checks
from tutelage.cli._checks import _LEAST, _SHOWN, check_machine, check_place, check_versions, memory_gib
from tutelage.cli.main import main


def findings(capsys: pytest.CaptureFixture[str]) -> dict[str, dict]:
    return {row["what"]: row for row in json.loads(capsys.readouterr().out)["findings"]}


def test_a_fit_machine_passes(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    code = main(["doctor", "--json", "--out", str(tmp_path)])
    found = findings(capsys)
    assert code == 0, found
    assert {"Python", "torch", "memory", "free disk", "SQLite", "accelerator"} <= set(found)


def test_loops_of_one_thread_are_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    from tutelage.ops import native

    monkeypatch.setattr(native, "available", lambda _: True)
    monkeypatch.setattr(native, "threaded", lambda name: name != "body")
    assert main(["doctor", "--json"]) == 0
    told = findings(capsys)["fast engine"]
    assert told["found"].startswith("body: compiled for one thread") and "OpenMP" in told["fix"]


def test_the_versions_asked_for_are_those_of_the_package():
    declared = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    wanted = {one.name: str(one.specifier) for one in map(Requirement, declared)}
    assert {name: ">=" + ".".join(map(str, least)) for name, least in _LEAST.items()} == wanted
    assert set(_SHOWN) <= set(_LEAST)


@pytest.mark.parametrize(("found", "problem"), [(None, "not installed"), ("1.5.9", "needs 1.6"), ("1.6.1", None)])
def test_a_library_that_is_missing_or_old_is_a_problem(
    found: str | None, problem: str | None, monkeypatch: pytest.MonkeyPatch
):
    real = _checks._version
    monkeypatch.setattr(_checks, "_version", lambda name: found if name == "scikit-learn" else real(name))
    said = {one.what: one for one in check_versions()}["scikit-learn"]
    assert (said.state == "problem") == (problem is not None) and (problem is None or problem in said.found)
    assert problem is None or said.fix == "pip install 'scikit-learn>=1.6'"


def test_checks_need_no_torch_and_find_the_machine():
    assert all(finding.found for finding in [*check_versions(), *check_machine()]) and memory_gib() > 0


def test_a_model_is_looked_at_without_its_weights(tiny_chat_model: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["doctor", "--json", "--model", str(tiny_chat_model)]) == 0
    found = findings(capsys)
    assert found["pad token"]["state"] == "ok" and found["longest sequence"]["found"] == "128 tokens"
    assert "<|im_end|>" in found["chat template"]["found"] and found["chat template"]["state"] == "note"


def test_pad_equal_to_stop_is_told(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from transformers import AutoTokenizer

    folder = tmp_path / "m"
    shutil.copytree(tiny_model, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    assert main(["doctor", "--json", "--model", str(folder)]) == 0
    assert findings(capsys)["pad token"]["found"] == "the stop token itself"


@pytest.mark.parametrize(("name", "code"), [("missing", 66), ("empty", 65)])
def test_a_folder_that_is_no_model_is_a_problem(
    name: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "empty").mkdir()
    assert main(["doctor", "--json", "--model", str(tmp_path / name)]) == code
    assert findings(capsys)["model"]["state"] == "problem"


def test_bad_data_and_a_bad_place_are_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"a": 1}\n{"a": \n')
    assert main(["doctor", "--json", "--data", str(bad)]) == 65
    assert "data" in findings(capsys)
    assert check_place(str(bad))[0].exit_code == 73
