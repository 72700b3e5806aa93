"""A run that computes the scored answers of a step once ends with the bits of one that computes them twice."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from real_runs import rows, train
from test_recomputed_runs import same, weights
from torch import Tensor

from tutelage.algorithms._online import Online
from tutelage.models import kept
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
    monkeypatch.setattr(Backbone, "_to_keep", lambda *_: None)
    twice = run(command, "twice", ONCE[command])
    later = 3 - 1  # steps: the first is looked at between its scoring and its loss
    assert twice - once == later * (2 if "critic_init" in ONCE[command] else 1)
    assert same(weights(tmp_path / "once"), weights(tmp_path / "twice"))


@pytest.mark.parametrize("command", TWICE)
def test_where_answers_are_not_learned_from_whole_nothing_is_kept(command, run, monkeypatch):
    put = list[object]()
    monkeypatch.setattr(kept, "put", lambda *given: put.append(given))
    run(command, "run", TWICE[command])
    assert not put


def test_a_step_whose_loss_does_not_follow_at_once_keeps_nothing():
    asked = SimpleNamespace(config=SimpleNamespace(staleness=0), learns_whole=lambda: True)

    def keeps(step: int, *live: bool) -> bool:
        asked.judges = lambda: [SimpleNamespace(live=each) for each in live]
        return Online.keeps(cast(Any, asked), step)

    assert keeps(1, False, False) and not keeps(0, False)
    assert not keeps(1, True) and not keeps(1, False, True), "people may be asked about the cost alone"
    asked.config.staleness = 1
    assert not keeps(1, False)
