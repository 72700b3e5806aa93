"""Training commands from flags and YAML to a finished run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tutelage.cli.main import main


@pytest.fixture
def config(tmp_path: Path, tiny_model: Path) -> Path:
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"Say {i}:", "completion": f" {i}!"}) + "\n" for i in range(8)))
    file = tmp_path / "sft.yaml"
    file.write_text(f"model_name_or_path: {tiny_model}\ndata: {data}\nbatch_size: 4\nsteps: 2\n")
    return file


def test_a_dry_run_checks_everything_and_writes_nothing(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    before = sorted(tmp_path.iterdir())
    assert main(["sft", str(config), "--out", str(tmp_path / "run"), "--dry-run"]) == 0
    assert "dry run: 2 steps" in capsys.readouterr().out and sorted(tmp_path.iterdir()) == before


def test_held_out_prompts_that_are_learned_on_are_named(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    data = tmp_path / "rows.jsonl"
    words = ["sft", str(config), "--out", str(tmp_path / "run"), "--eval-data", str(data), "--dry-run"]
    assert main(words) == 0
    assert "8 of 8 prompts of --eval-data are learned on too" in capsys.readouterr().err
    flags = ["--model", str(tmp_path / "none"), "--prompts", str(data), "--out", str(tmp_path / "loop")]
    assert main(["loop", *flags, "--test-prompts", str(data)]) == 66
    assert "8 of 8 test prompts are learned on too" in capsys.readouterr().err


def test_a_printed_configuration_is_the_same_configuration(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["--out", str(tmp_path / "run"), "--learning_rate", "1e-3", "--set", "max_length=64"]
    assert main(["sft", str(config), *words, "--print-config"]) == 0
    printed = capsys.readouterr().out
    assert f"batch_size: 4  # {config}:3" in printed and "# flag --learning-rate" in printed and "# --set" in printed
    (tmp_path / "again.yaml").write_text(printed)
    assert main(["sft", str(tmp_path / "again.yaml"), "--print-config"]) == 0
    again = capsys.readouterr().out
    assert [line.partition("#")[0] for line in again.splitlines()] == [
        line.partition("#")[0] for line in printed.splitlines()
    ]


def test_a_run_goes_through_and_is_complete_the_second_time(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["sft", str(config), "--out", str(tmp_path / "run")]
    assert main([*words, "--quiet"]) == 0
    assert (tmp_path / "run" / "model" / "config.json").is_file()
    assert main(words) == 0
    assert "already complete" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--out", ""], 2, "--out is missing"),
        (["--model", ""], 2, "--model is missing"),
        (["--learning-rate", "fast"], 2, "'fast' is not a number"),
        (["--learning-rte", "1"], 2, "Did you mean --learning-rate?"),
        (["--model", "/no/such/folder"], 66, "no model folder"),
        (["--batch-size", "0"], 2, "batch_size = 0"),
    ],
)
def test_what_is_wrong_is_said_with_the_right_code(
    words: list[str], code: int, said: str, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    base = [] if "--out" in words else ["--out", str(tmp_path / "run")]
    assert main(["sft", str(config), *base, *words, "--dry-run"]) == code
    assert said in capsys.readouterr().err


def test_a_run_keeps_libraries_silent_and_loads_no_database(config: Path, tmp_path: Path):
    program = (
        "import sys; from tutelage.cli.main import main; code = main(sys.argv[1:]); "
        "print('loaded:', *{'sqlalchemy', 'alembic', 'starlette'} & sys.modules.keys()); sys.exit(code)"
    )
    words = ["-c", program, "sft", str(config), "--out", str(tmp_path / "run"), "--quiet"]
    answer = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ)
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.splitlines()[-1] == "loaded:", "only a rating database needs these"
