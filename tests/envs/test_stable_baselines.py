"""Stable-Baselines3's PPO and A2C, unchanged, learn the text task; and the page's example does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import gymnasium
import pytest
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from tutelage.envs import TEXT

PAGE = Path(__file__).resolve().parents[2] / "docs" / "environment.md"
COLOURS = {"sky": "blue", "grass": "green", "snow": "white", "coal": "black"}
OTHERS = ["red", "pink", "grey", "gold"]
SETTINGS = {PPO: {"n_steps": 128, "batch_size": 256, "learning_rate": 1e-3}, A2C: {"learning_rate": 1e-3}}


def score(prompt: str, answer: str) -> float:
    """1 for the right colour first, and half as much for one word only."""
    words = answer.split()
    return float(words[:1] == [COLOURS[prompt]]) + 0.5 * float(len(words) == 1)


def colours(others: int = 3, limit: int = 4) -> gymnasium.Env:
    words = [*COLOURS.values(), *OTHERS[:others]]
    return gymnasium.make(TEXT, prompts=list(COLOURS), words=words, reward=score, max_new_tokens=limit)


def learned(kind: type, steps: int, seed: int = 0, limit: int = 4) -> tuple[float, float]:
    """Mean reward before and after."""
    vector = make_vec_env(lambda: colours(limit=limit), n_envs=8, seed=seed)
    agent = kind("MultiInputPolicy", vector, seed=seed, device="cpu", **SETTINGS[kind])

    def mean() -> float:
        return float(evaluate_policy(agent, vector, 200, deterministic=False)[0])

    before = mean()
    agent.learn(steps)
    return before, mean()


@pytest.mark.parametrize(("kind", "steps"), [(PPO, 8_000), (A2C, 12_000)])
def test_it_learns_far_above_random(kind, steps):
    before, after = learned(kind, steps)
    assert before < 0.5
    assert after > 1.2


@pytest.mark.slow
@pytest.mark.parametrize("kind", [PPO, A2C])
@pytest.mark.parametrize("seed", range(3))
def test_it_learns_longer_answers_from_every_seed(kind, seed):
    before, after = learned(kind, 40_000, seed, limit=8)
    assert before < 0.5 and after > 1.4


def test_the_lines_of_the_page_train_an_agent_on_a_reward_of_ones_own(capsys):
    (first, *_) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len([line for line in first.splitlines() if line.strip()]) <= 20
    exec(compile(first, str(PAGE), "exec"), {})
    before, after = (int(share) for share in re.findall(r"(\d+)%", capsys.readouterr().out))
    assert before < 40 and after > 80


def test_the_other_lines_of_the_page_compile():
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        compile(block, str(PAGE), "exec")
