"""The examples run offline and do what they say; every recipe is a configuration of its command."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tutelage.cli import _verbs
from tutelage.config import describe, resolve

REPO = Path(__file__).resolve().parent.parent
RECIPES = sorted((REPO / "src" / "tutelage" / "recipes").glob("*.yaml"))
_LIMIT = 300
"""seconds; each takes less than 60 on two free cores"""


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_resolves_against_its_command(recipe: Path) -> None:
    resolved = resolve(_verbs.load(recipe.stem, None).config, yaml_file=recipe)
    assert all(resolved.given(name) for name in ("model", "out", "seed"))


def test_settings_inside_the_loop_recipe_are_settings_of_their_commands() -> None:
    loop = resolve(_verbs.load("loop", None).config, yaml_file=REPO / "src/tutelage/recipes/loop.yaml").config
    inner = {
        "sample": _verbs.load("sample", None),
        "rate": _verbs.load("rate", "simulate"),
        "reward": _verbs.load("reward", None),
        "improve": _verbs.load(loop.algorithm, None),
        "evaluate": _verbs.load("eval", None),
    }
    for name, verb in inner.items():
        assert set(getattr(loop, name)) <= {field.name for field in describe(verb.config)}, name


def run(words: list[str], tmp_path: Path) -> str:
    """Run a program with `tutelage` on its path; returns what it printed."""
    command = tmp_path / "bin" / "tutelage"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tutelage "$@"\n', encoding="utf-8")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    surroundings = os.environ | {
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPO / "src"),
    }
    done = subprocess.run(words, cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=_LIMIT)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "Warning" not in done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_function_as_reward_is_learned(tmp_path: Path) -> None:
    run([sys.executable, str(REPO / "examples" / "reward_function.py"), "out"], tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "out/ppo/metrics.jsonl").read_text().splitlines()]
    shares = [line["reward/mean"] for line in lines if "reward/mean" in line]
    assert shares[-1] > shares[0] + 0.3


@pytest.mark.slow
def test_own_pairs_make_answers_short(tmp_path: Path) -> None:
    run([str(REPO / "examples" / "own_data.sh"), "out"], tmp_path)

    def length(name: str) -> float:
        rows = [json.loads(line) for line in (tmp_path / "out" / name).read_text(encoding="utf-8").splitlines()]
        return sum(len(row["completion"]) for row in rows) / len(rows)

    assert length("after.jsonl") < length("before.jsonl")


@pytest.mark.slow
def test_the_loop_goes_round_from_its_recipe(tmp_path: Path) -> None:
    run([str(REPO / "examples" / "loop.sh"), "out"], tmp_path)
    told = json.loads((tmp_path / "out/loop/loop.json").read_text())
    assert len(told["rounds"]) == 2 and told["reason"]
    assert (tmp_path / "out/report.html").is_file()
