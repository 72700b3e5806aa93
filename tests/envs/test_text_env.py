"""The text task as an environment: checkers are content, episodes end as they should, seeds decide, prices add up."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import tutelage
from tutelage.batches import Scores
from tutelage.envs import TEXT, register
from tutelage.envs.text import TextEnv, log_prob_of
from tutelage.envs.words import word_tokenizer
from tutelage.errors import DataError, DivergedError, UsageError
from tutelage.ops.shaping import at_last, kl_penalty
from tutelage.rewards import RewardSource
from tutelage.types import Message, Prompt, Sample

WORDS = ["blue", "green", "white", "绿"]
STOP, BLUE, GREEN, WHITE = range(4)


def length(prompt: str, answer: str) -> float:
    return float(len(answer.split()))


def make(**settings) -> gymnasium.Env:
    given = {"prompts": ["sky", "the green grass"], "words": WORDS, "reward": length, "max_new_tokens": 3}
    return gymnasium.make(TEXT, **given | settings)


def write(env: gymnasium.Env, *actions: int):
    """The last step, and the rewards of all."""
    steps = [env.step(action) for action in actions]
    return steps[-1], [step[1] for step in steps]


def test_gymnasiums_checker_finds_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make().unwrapped)


def test_stable_baselines_checker_finds_nothing():
    from stable_baselines3.common.env_checker import check_env as check_for_sb3

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_for_sb3(make(), warn=True)


def test_an_environment_of_a_models_tokenizer_passes_both_checkers(tiny_chat_model: Path):
    from stable_baselines3.common.env_checker import check_env as check_for_sb3

    env = make(prompts=[Prompt("p", (Message("user", "你好"),)), "Hello"], words=(), model=tiny_chat_model)
    check_env(env.unwrapped)
    check_for_sb3(env, warn=True)


def test_a_price_of_drift_passes_the_checker_too():
    check_env(make(reference=lambda before, token: -1.5, kl=0.1).unwrapped)


def test_the_observation_holds_the_prompt_right_aligned_and_then_the_answer():
    env = make()
    first, _ = env.reset(options={"prompt": "0"})
    (second, *_), _ = write(env, GREEN, WHITE)
    pad = len(word_tokenizer(WORDS, ["sky", "the green grass"])) - 1
    sky = 5
    assert first["tokens"].tolist() == [pad, pad, sky, pad, pad, pad]
    assert first["mask"].tolist() == [0, 0, 1, 0, 0, 0]
    assert second["tokens"].tolist() == [pad, pad, sky, GREEN, WHITE, pad]
    assert second["mask"].tolist() == [0, 0, 1, 1, 1, 0]


def test_a_prompts_word_that_is_also_an_answers_word_is_one_token():
    observation, _ = make().reset(options={"prompt": "1"})
    assert observation["tokens"].tolist()[1] == GREEN


def test_the_stop_token_terminates_and_pays_the_score():
    env = make()
    env.reset(seed=0)
    (_, _, terminated, truncated, info), rewards = write(env, GREEN, BLUE, STOP)
    assert (terminated, truncated) == (True, False)
    assert rewards == [0.0, 0.0, 2.0]
    assert info["text"] == "green blue" and info["finish"] == "stop"
    assert info["parts"] == {"function": 2.0, "score": 2.0, "missing_stop": 0.0, "drift": 0.0}


def test_the_limit_truncates_and_because_the_score_is_paid_terminates_too():
    env = make(missing_stop_penalty=0.5)
    env.reset(seed=0)
    (_, reward, terminated, truncated, info), _ = write(env, GREEN, BLUE, WHITE)
    assert (terminated, truncated) == (True, True)
    assert reward == 3.0 - 0.5
    assert info["text"] == "green blue white" and info["finish"] == "length"


def test_an_answer_that_goes_on_is_neither():
    env = make()
    env.reset(seed=0)
    (_, _, terminated, truncated, info), _ = write(env, GREEN, BLUE)
    assert not terminated and not truncated and info["parts"] == {} and info["text"] == "green blue"


def test_stable_baselines_adds_no_value_after_the_limit():
    from stable_baselines3.common.vec_env import DummyVecEnv

    vector = DummyVecEnv([make])
    vector.reset()
    for _ in range(3):
        _, _, dones, infos = vector.step(np.array([GREEN]))
    assert dones[0] and infos[0]["TimeLimit.truncated"] is False


def test_an_empty_answer_is_scored():
    env = make(reward=lambda prompt, answer: float(answer == ""))
    env.reset(seed=0)
    assert write(env, STOP)[1] == [1.0]


def test_a_seed_decides_the_prompts_and_all_are_asked():
    def asked(seed: int) -> list[str]:
        env = make(prompts=[f"p{number}" for number in range(5)])
        first = env.reset(seed=seed)[1]["prompt"]
        return [first, *(env.reset()[1]["prompt"] for _ in range(60))]

    assert asked(1) == asked(1) != asked(2)
    assert set(asked(1)) == set("01234")


def test_a_reward_source_gives_its_parts_and_sees_prompt_and_finish():
    seen: list[Sample] = []

    class Source(RewardSource):
        def score(self, samples: Sequence[Sample]) -> Scores:
            seen.extend(samples)
            value = torch.tensor([0.25] * len(samples))
            return Scores(value, {"tone": value * 2})

    env = make(prompts=[Prompt("a", "sky", {"gold": 1})], reward=Source())
    env.reset(seed=0)
    (*_, info), _ = write(env, BLUE, BLUE, BLUE)
    assert info["parts"]["tone"] == 0.5 and info["parts"]["score"] == 0.25
    assert seen[0].prompt.meta == {"gold": 1} and seen[0].finish == "length"


def test_the_price_of_drift_is_that_of_our_own_algorithms():
    """k1 on every token and the score on the last, as `ActorCritic` puts them."""
    own, ref = [-0.5, -2.0, -0.1], [-1.0, -0.25, -3.0]
    env = make(reference=lambda before, token: ref[len(before) - 1], kl=0.3, prompts=["sky"])
    place = iter(own)
    env.unwrapped.agent = lambda observation, action: next(place)
    env.reset(seed=0)
    (*_, info), rewards = write(env, GREEN, WHITE, STOP)
    mask = torch.ones(1, 3, dtype=torch.bool)
    expected = at_last(torch.tensor([2.0]), mask) + kl_penalty(torch.tensor([own]), torch.tensor([ref]), mask, 0.3)
    assert rewards == pytest.approx(expected[0].tolist())
    assert info["parts"]["drift"] == pytest.approx(sum(own) - sum(ref))


def test_the_agent_is_asked_what_it_said_before_the_token_was_written():
    asked = []
    env = make(prompts=["sky"], reference=lambda before, token: 0.0, kl=1.0)
    env.unwrapped.agent = lambda observation, action: asked.append((int(observation["mask"].sum()), action)) or 0.0
    env.reset(seed=0)
    write(env, GREEN, STOP)
    assert asked == [(1, GREEN), (2, STOP)]


def test_without_an_agent_only_the_references_half_is_charged():
    env = make(reference=lambda before, token: -2.0, kl=0.5)
    env.reset(seed=0)
    assert write(env, GREEN, STOP)[1] == [-1.0, 1.0 - 1.0]


def test_a_models_log_probabilities_are_the_references(tiny_model: Path):
    from transformers import AutoModelForCausalLM

    log_prob = log_prob_of(tutelage.load_policy(str(tiny_model)))
    before, token = [2, 30, 40], 50
    stock = AutoModelForCausalLM.from_pretrained(tiny_model)
    with torch.no_grad():
        expected = torch.log_softmax(stock(torch.tensor([before])).logits[0, -1], -1)[token]
    assert log_prob(before, token) == pytest.approx(float(expected), abs=1e-5)


def test_prompts_come_from_a_file(tmp_path: Path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "sky"}\n{"prompt": "草 地"}\n', encoding="utf-8")
    env = make(prompts=path)
    assert [prompt.content for prompt in env.unwrapped.prompts] == ["sky", "草 地"]


def test_a_chinese_answer_is_read_as_it_was_written():
    env = make()
    env.reset(seed=0)
    (*_, info), _ = write(env, 4, 4, STOP)
    assert info["text"] == "绿 绿"


def test_gymnasium_makes_several_at_once():
    given = {"prompts": ["sky"], "words": WORDS, "reward": length, "max_new_tokens": 3}
    vector = gymnasium.make_vec(TEXT, num_envs=3, **given)
    observation, _ = vector.reset(seed=0)
    assert observation["tokens"].shape == (3, 4)
    vector.step(np.array([STOP, GREEN, GREEN]))
    _, rewards, terminated, truncated, _ = vector.step(np.array([GREEN, STOP, GREEN]))
    assert rewards.tolist() == [0, 1, 0] and terminated.tolist() == [False, True, False] and not truncated.any()


def test_render_shows_prompt_and_answer():
    env = make(render_mode="ansi", prompts=["sky"])
    env.reset(seed=0)
    write(env, BLUE, GREEN)
    assert env.render() == "sky → blue green"


def test_registering_twice_is_once():
    register()
    assert gymnasium.spec(TEXT).entry_point == "tutelage.envs.text:make_text"


def test_registering_loads_no_torch():
    program = (
        "import sys, tutelage.envs, gymnasium; gymnasium.spec('tutelage/Text-v0'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("settings", "error", "word"),
    [
        ({"words": ()}, UsageError, "vocabulary"),
        ({"model": "x"}, UsageError, "vocabulary"),
        ({"prompts": []}, DataError, "no prompt"),
        ({"max_new_tokens": 0}, UsageError, "max_new_tokens"),
        ({"kl": -1.0}, UsageError, "kl"),
        ({"kl": 0.1}, UsageError, "reference"),
        ({"missing_stop_penalty": -1.0}, UsageError, "penalty"),
        ({"words": ["two words"]}, UsageError, "cannot be a token"),
        ({"words": ["twice", "twice"]}, UsageError, "cannot be a token"),
        ({"words": ["<pad>"]}, UsageError, "cannot be a token"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, error, word):
    with pytest.raises(error, match=word):
        make(**settings)


def test_misuse_is_told():
    env: TextEnv = make().unwrapped
    with pytest.raises(UsageError, match="reset"):
        env.step(STOP)
    env.reset(seed=0)
    with pytest.raises(UsageError, match="no action 99"):
        env.step(99)
    with pytest.raises(UsageError, match="no prompt has the id"):
        env.reset(options={"prompt": "nowhere"})


def test_a_reward_that_is_no_number_stops_the_episode():
    env = make(reward=lambda prompt, answer: float("nan"))
    env.reset(seed=0)
    with pytest.raises(DivergedError):
        env.step(STOP)
