"""Whole steps of sft, reward, dpo, ppo and rloo under both engines: the same losses, step after step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tutelage.algorithms.ppo import PPO
from tutelage.api import training
from tutelage.build import Toolbox
from tutelage.models.load import load_policy, load_scorer
from tutelage.ops import native
from tutelage.rewards.learned import Learned

PROMPTS = [f"Summarise bridge {n}." for n in range(12)]
SFT = [{"prompt": prompt, "completion": f"{prompt} Done."} for prompt in PROMPTS]
PAIRS = [{"prompt": prompt, "chosen": f"Bridge {n} was opened.", "rejected": "no"} for n, prompt in enumerate(PROMPTS)]
ONLINE: dict[str, Any] = {"max_new_tokens": 6, "learning_rate": 1e-4, "reward": lambda _, answer: len(set(answer)) / 10}
METHODS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "sft": (SFT, {"learning_rate": 1e-3}),
    "reward": (PAIRS, {"learning_rate": 1e-3, "report_rows": 0}),
    "dpo": (PAIRS, {"learning_rate": 1e-3}),
    "ppo": ([{"prompt": prompt} for prompt in PROMPTS], ONLINE | {"critic_init": "zero", "updates": 2}),
    "rloo": ([{"prompt": prompt} for prompt in PROMPTS], ONLINE | {"answers": 3}),
}


@pytest.mark.parametrize("method", METHODS)
def test_losses_are_the_same_step_after_step(method, model_folder, tmp_path):
    if not native.available("body"):
        pytest.skip(f"NOT TESTED: {native.why_not('body')}")
    rows, settings = METHODS[method]
    seen = list[list[dict[str, float]]]()
    for engine in ("auto", "plain"):
        out: Path = tmp_path / engine
        flags = {"model": str(model_folder("qwen3")), "steps": 4, "batch_size": 4, "seed": 5, "dtype": "float32"}
        training(method, data=rows, out=str(out), engine=engine, **flags, **settings).train()
        lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        seen.append([json.loads(line) for line in lines])
    names = ("loss", "reward/mean", "policy/kl", "loss/value", "answer/length")
    for ours, theirs in zip(*seen, strict=True):
        for name in names:
            if name in theirs:
                assert ours[name] == pytest.approx(theirs[name], rel=2e-3, abs=2e-5), (name, theirs.get("step"))


def test_bfloat16_learns_what_float32_learns(model_folder, tmp_path):
    """The loss on a handful of rows falls as far, within a tenth."""
    rows, last = SFT, list[float]()
    for dtype in ("bfloat16", "float32"):
        flags = {"model": str(model_folder("qwen3")), "steps": 40, "batch_size": 12, "learning_rate": 3e-3}
        training("sft", data=rows, out=str(tmp_path / dtype), dtype=dtype, **flags).train()
        lines = (tmp_path / dtype / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        losses = [json.loads(line)["loss"] for line in lines if "loss" in json.loads(line)]
        assert losses[-1] < 0.7 * losses[0]
        last.append(losses[-1])
    assert last[0] == pytest.approx(last[1], rel=0.1)


def test_under_bfloat16_the_ratio_starts_at_one(model_folder):
    """Old and new log-probabilities come the same way, so their bits are the same."""
    from tests_support import batch_of, random_rows

    policy = load_policy(str(model_folder("qwen3")), device="cpu", dtype="bfloat16")
    batch = batch_of(random_rows((20, 31, 9)))
    old = policy.logprobs(batch).logprobs.detach()
    assert bool((policy.logprobs(batch).logprobs == old).all())


def test_the_engine_that_was_asked_for_computes_reward_and_critic_too(model_folder, tmp_path):
    load_scorer(str(model_folder("gemma")), device="cpu", head="zero").save(tmp_path / "reward")
    asked: dict[str, Any] = {"model": str(model_folder("gemma")), "data": "-", "reward": str(tmp_path / "reward")}
    said = {engine: list[str]() for engine in ("auto", "plain")}
    for engine, lines in said.items():
        config = PPO.Config(engine=engine, device="cpu", tokens_per_part=77, **asked)
        parts = Toolbox(config, tmp_path, lines.append)
        reward = parts.reward
        assert isinstance(reward, Learned)
        for model in (parts.policy, parts.critic, reward.scorer):
            assert model.engine == engine and model.room.tokens == 77
    told = [line.partition(":")[0] for line in said["auto"] if "slower than our own way" in line]
    assert sorted(told) == sorted((asked["model"], asked["reward"])), "each model once"
    assert not any("slower" in line for line in said["plain"])
