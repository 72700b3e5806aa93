"""A run that computes the scored answers of a step once ends with the bits of one that computes them twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from real_runs import rows, train
from test_recomputed_runs import same, weights
from torch import Tensor

from tutelage.models.body import Body
from tutelage.models.policy import Backbone
from tutelage.ops import native

ONCE: dict[str, dict[str, Any]] = {
    "rloo": {"answers": 3},
    "grpo": {"answers": 3, "updates": 2, "lora": True},
    "reinforce": {},
    "a2c": {"critic_init": "zero"},
    "ppo": {"critic_init": "zero", "updates": 2, "minibatches": 1},
}
TWICE: dict[str, dict[str, Any]] = {
    "ppo": {"critic_init": "zero", "minibatches": 2},
    "grpo": {"answers": 3, "dynamic_sampling": True},
    "rloo": {"answers": 3, "gradient_checkpointing": "on"},
}


@pytest.fixture
def run(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs a command; says how often a model's layers were passed through."""
    real, passes = Body.hidden, list[int]()

    def hidden(self: Body, *given: Any, **more: Any) -> Tensor:
        passes[-1] += 1
        return real(self, *given, **more)

    monkeypatch.setattr(Body, "hidden", hidden)
    data = tmp_path / "prompts.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows("ppo")), encoding="utf-8")
    flags = {"model": str(tiny_model), "data": str(data), "steps": 3, "batch_size": 4, "max_new_tokens": 8}

    def go(command: str, name: str, more: dict[str, Any]) -> int:
        passes.append(0)
        train(command, {**flags, "reward": "real_runs:reward", "out": str(tmp_path / name), **more})
        return passes[-1]

    return go


@pytest.mark.skipif(not native.available("body"), reason="NOT TESTED: there is no C++ compiler")
@pytest.mark.parametrize("command", ONCE)
def test_the_bits_are_the_same_and_a_pass_is_spared_in_each_step(command, run, tmp_path, monkeypatch):
    once = run(command, "once", ONCE[command])
    monkeypatch.setattr(Backbone, "_pass_to_keep", lambda *_: None)
    twice = run(command, "twice", ONCE[command])
    assert twice - once == 3 * (2 if "critic_init" in ONCE[command] else 1)
    assert same(weights(tmp_path / "once"), weights(tmp_path / "twice"))


@pytest.mark.parametrize("command", TWICE)
def test_where_answers_are_not_learned_from_whole_nothing_is_kept(command, run, monkeypatch):
    kept = list[object]()
    monkeypatch.setattr("tutelage.models.policy.Kept", lambda *given: kept.append(given))
    run(command, "run", TWICE[command])
    assert not kept
