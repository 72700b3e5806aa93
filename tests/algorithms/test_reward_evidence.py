"""From a run to its report: `tutelage reward` on pairs, rankings and scores leaves one, and its temperature."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_reward_kinds import ROWS

from tutelage.algorithms.reward import RewardModel
from tutelage.build import train
from tutelage.config import resolve


@pytest.mark.parametrize("kind", ROWS)
def test_a_run_leaves_its_report(kind: str, tmp_path: Path, tiny_model: Path) -> None:
    rows = [json.dumps(row) + "\n" for row in ROWS[kind]]
    if kind in ("pointwise", "ordinal"):  # only answers to one prompt can be compared
        rows = [line.replace(f"Summarise {n}.", f"Summarise {n // 3}.") for n, line in enumerate(rows)]
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text("".join(rows), encoding="utf-8")
    flags = {"model": str(tiny_model), "data": str(tmp_path / "a.jsonl"), "out": str(tmp_path / "run"), "kind": kind}
    flags |= {"eval_data": str(tmp_path / "b.jsonl"), "max_length": 120, "steps": 1, "batch_size": 4, "ensemble": 2}
    folder = train("reward", resolve(RewardModel.Config, flags=flags))
    told = json.loads((folder / "reward_report.json").read_text(encoding="utf-8"))
    assert {"accuracy", "length_only", "temperature", "accuracy_of_one_head"} <= told["measures"].keys()
    assert ("ece" in told["measures"]) == (kind not in ("pointwise", "ordinal")), "scores claim no probabilities"
    if "ece" not in told["measures"]:
        said = " ".join(told["notes"])
        assert "score_slope" in told["measures"] or "was not measured" in said
        assert "claim no probabilities" in said
    assert "said twice" in told["probes"]
    card = json.loads((folder / "model" / "tutelage.json").read_text(encoding="utf-8"))
    assert card["ensemble"] == 2 and card["learned"]["temperature"] == pytest.approx(
        told["measures"]["temperature"]["value"]
    )


@pytest.mark.parametrize("kind", ["pointwise", "ordinal"])
def test_held_out_answers_to_different_prompts_are_no_silent_blank(kind: str, tmp_path: Path, tiny_model: Path) -> None:
    for name in ("a", "b"):
        rows = [json.dumps(row) + "\n" for row in ROWS[kind]]
        (tmp_path / f"{name}.jsonl").write_text("".join(rows), encoding="utf-8")
    flags = {"model": str(tiny_model), "data": str(tmp_path / "a.jsonl"), "out": str(tmp_path / "run"), "kind": kind}
    flags |= {"eval_data": str(tmp_path / "b.jsonl"), "max_length": 120, "steps": 1, "batch_size": 4}
    folder = train("reward", resolve(RewardModel.Config, flags=flags))
    told = json.loads((folder / "reward_report.json").read_text(encoding="utf-8"))
    said = " ".join(told["notes"])
    assert "nothing is held out" not in said and "no held-out prompt has two answers" in said
    assert "temperature" not in told["measures"] and "accuracy" not in told["measures"]
