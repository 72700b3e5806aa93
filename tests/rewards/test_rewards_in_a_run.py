"""Rewards in whole runs: a classical one is fitted, rewards PPO in a sum with people, and a stopped run goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rewards import news_ratings as world
from tutelage import build
from tutelage.algorithms import Algorithm
from tutelage.config import resolve
from tutelage.errors import UsageError
from tutelage.eval._parts import Parts
from tutelage.eval.answers import Where, pair_margins
from tutelage.registry import find
from tutelage.types import Prompt


def run(command: str, out: Path, dry_run: bool = False, **settings: Any) -> Path:
    kind = find("algorithms", command, Algorithm)
    resolved = resolve(kind.Config, flags=settings | {"out": str(out)})
    return build.train(command, resolved, dry_run=dry_run)


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def ratings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ratings") / "rated.jsonl"
    rows = [
        {
            "prompt": row.prompt,
            "completion": row.completion,
            "ratings": [
                {"rater": one.rater, "aspect": one.aspect, "score": one.score, "scale": [0, 5]} for one in row.ratings
            ],
        }
        for row in world.rated(15, 3, seed=2)
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def fitted(ratings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("classical") / "reward"
    return run("reward", out, kind="ridge", data=str(ratings), eval_data=str(ratings))


def test_a_classical_reward_is_a_run_like_any_other(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = [line for line in lines(fitted) if "cv/score" in line]
    assert {"cv/length_only", "cv/strength", "cv/accuracy", "eval/accuracy", "eval/length_only"} <= row.keys()
    assert {path.name for path in (fitted / "model").iterdir()} == {"classical.json", "classical.safetensors"}
    lineage = json.loads((fitted / "lineage.json").read_text())
    assert (
        lineage["model"].keys() == {"classical.json", "classical.safetensors"} and lineage["inputs"]["data"]["sha256"]
    )
    assert "kind: ridge" in (fitted / "config.yaml").read_text()
    capsys.readouterr()
    config = lineage["config"]
    again = run("reward", fitted, kind="ridge", data=config["data"], eval_data=config["eval_data"])
    assert "already complete" in "".join(capsys.readouterr()) and again == fitted


def test_eval_measures_a_classical_reward_on_pairs(fitted: Path, tmp_path: Path) -> None:
    pairs = world.true_pairs(80, seed=99)
    (tmp_path / "parts").mkdir()
    margins = pair_margins(str(fitted / "model"), pairs, Where(), Parts(tmp_path / "parts"))
    assert sum(margin > 0 for margin in margins) / len(pairs) > 0.7


def test_a_dry_run_reads_and_writes_nothing(ratings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("reward", tmp_path / "x", dry_run=True, kind="svm-pair", data=str(ratings))
    assert "would learn from" in capsys.readouterr().out and not (tmp_path / "x").exists()
    with pytest.raises(UsageError, match="one head"):
        run("reward", tmp_path / "x", dry_run=True, kind="svm", data=str(ratings), ensemble=3)
    with pytest.raises(UsageError, match="--model is missing"):
        run("reward", tmp_path / "x", data=str(ratings))


def test_a_sum_with_people_rewards_ppo_and_a_stopped_run_goes_on_to_the_same_numbers(
    fitted: Path, tiny_model: Path, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    asked = [group[0].prompt for group in world.answers(4, 1, seed=7)]
    rows = [{"id": one.id, "prompt": _short(one), "meta": dict(one.meta)} for one in asked]
    prompts.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    settings: dict[str, Any] = {"model": str(tiny_model), "data": str(prompts), "batch_size": 2, "max_length": 96}
    settings |= {"max_new_tokens": 6, "critic_init": "zero", "updates": 1, "save_every": 1, "learning_rate": 1e-3}

    people = f"people:{tmp_path / 'r.db'}#fluent?raters=default&n=10&zscore=1"
    settings |= {"reward": f"0.7*normalise({fitted}) + 0.3*{people} + 0.1*taste:news", "steps": 4, "keep": 4}
    whole = run("ppo", tmp_path / "whole", **settings)
    rows = [line for line in lines(whole) if "reward/mean" in line]
    for row in rows:
        parts = {name: row[f"reward/part/{name}"] for name in ("normalise", "people", "taste-news")}
        total = 0.7 * parts["normalise"] + 0.3 * parts["people"] + 0.1 * parts["taste-news"]
        assert row["reward/mean"] == pytest.approx(total, abs=1e-5)
        assert row["reward/part/people/people/raters"] == 10
    state = json.loads((whole / "checkpoints" / "step-00000004" / "state.json").read_text())["algorithm"]["reward"]
    assert state["normalise"]["seen"]["count"] == 8 and "people" not in state, "people's words are in the database"

    (whole / "done.json").unlink()
    for step in (3, 4):
        shutil.rmtree(whole / "checkpoints" / f"step-{step:08d}")
    run("ppo", whole, **settings)
    told = [line for line in lines(whole) if "reward/mean" in line]
    assert [row["reward/mean"] for row in told] == [row["reward/mean"] for row in rows]
    parents = json.loads((whole / "lineage.json").read_text())["parents"]
    assert {"path": str(fitted)}.items() <= parents[0].items() and parents[0]["lineage"]


def _short(prompt: Prompt) -> str:
    return f"News {prompt.id}:"
