"""Each alarm speaks when it should, once, and stays silent on a healthy run."""

from __future__ import annotations

import json

import pytest
import torch

from tutelage.batches import Experience, TokenBatch
from tutelage.train.health import RULES, Health, culprit

HEALTHY = {
    "cost/swings": 1.0,
    "cost/multiplier_share": 0.1,
    "loss": 0.5,
    "policy/kl": 3.0,
    "policy/kl_se": 0.2,
    "policy/approx_kl": 0.01,
    "policy/sampled_gap": 0.2,
    "policy/clipped": 0.05,
    "policy/entropy": 2.0,
    "policy/stop_rate": 0.97,
    "policy/logp_chosen": -2.0,
    "answer/length": 30.0,
    "reward/std": 0.5,
    "groups/zero_variance": 0.1,
    "reward/accuracy": 0.7,
    "eval/accuracy": 0.7,
    "value/explained_variance": 0.4,
    "gradient/policy": 0.5,
    "preflight/ratio_error": 1e-6,
}
SICK = {
    "multiplier-swings": ("cost/swings", 5.0),
    "multiplier-highest": ("cost/multiplier_share", 1.0),
    "kl-negative": ("policy/kl", -2.0),
    "kl-high": ("policy/kl", 45.0),
    "ratio": ("preflight/ratio_error", 0.2),
    "approx-kl": ("policy/approx_kl", 0.4),
    "sampled-gap": ("policy/sampled_gap", 3.0),
    "clip-fraction": ("policy/clipped", 0.5),
    "entropy": ("policy/entropy", 0.2),
    "stop-rate": ("policy/stop_rate", 0.3),
    "length": ("answer/length", 90.0),
    "reward-constant": ("reward/std", 0.0),
    "zero-groups": ("groups/zero_variance", 0.9),
    "value": ("value/explained_variance", -3.0),
    "accuracy": ("reward/accuracy", 1.0),
    "chosen-falls": ("policy/logp_chosen", -40.0),
    "gradient": ("gradient/policy", 50.0),
    "loss-rises": ("loss", 4.0),
    "labels-swapped": ("eval/accuracy", 0.1),
}
FIRST = {"reward-constant": ("reward/std", 0.0), "stop-rate": ("policy/stop_rate", 0.0)}
FIRST |= {"zero-groups": ("groups/zero_variance", 1.0)}


def test_every_rule_is_tried_here() -> None:
    assert {rule.name for rule in RULES} == SICK.keys()


def test_a_healthy_run_is_silent() -> None:
    health = Health(100)
    assert [alarm for step in range(1, 101) for alarm in health.check(step, HEALTHY)] == []


@pytest.mark.parametrize("name", SICK)
def test_an_alarm_speaks_once_with_number_and_advice(name: str) -> None:
    metric, value = SICK[name]
    health = Health(100)
    raised = []
    for step in range(1, 101):
        sick = step >= (1 if name in ("accuracy", "ratio") else 12)
        raised += health.check(step, {**HEALTHY, metric: value} if sick else HEALTHY)
    assert [alarm.name for alarm in raised] == [name]
    assert any(character.isdigit() for character in raised[0].message) or name == "accuracy"
    assert raised[0].advice and "{" not in raised[0].message


@pytest.mark.parametrize("name", FIRST)
def test_what_is_wrong_with_the_first_batch_is_said_at_once_and_once(name: str) -> None:
    metric, value = FIRST[name]
    health, sick = Health(100), {**HEALTHY, metric: value}
    assert [alarm.name for alarm in health.check(1, sick)] == [name]
    assert [alarm for step in range(2, 30) for alarm in health.check(step, sick)] == []
    assert not Health(100).check(7, sick), "one such batch later on is no alarm"


def test_an_accuracy_below_a_half_is_an_alarm_only_where_it_is_no_chance() -> None:
    assert not Health(9).check(3, {"eval/accuracy": 0.35, "eval/pairs": 20})
    assert Health(9).check(3, {"eval/accuracy": 0.35, "eval/pairs": 400})[0].name == "labels-swapped"


def test_an_untrained_model_that_ranks_pairs_upside_down_is_no_alarm() -> None:
    health, upside_down = Health(9), {"eval/accuracy": 0.1, "eval/pairs": 400}
    assert not health.check(0, upside_down), "a new head knows nothing yet"
    assert health.check(3, upside_down)[0].name == "labels-swapped"


def test_the_loss_of_a_policy_gradient_may_rise() -> None:
    health, calm = Health(100), {"loss": 0.01, "loss/policy": 0.0, "loss/value": 0.1}
    rows = [calm] * 10 + [calm | {"loss": 2.0, "loss/policy": 1.9}] * 20
    assert [alarm for step, row in enumerate(rows, 1) for alarm in health.check(step, row)] == []


def test_one_odd_value_is_no_alarm() -> None:
    for name in ("policy/kl", "policy/clipped", "policy/entropy", "policy/stop_rate", "answer/length"):
        health = Health(100)
        odd = {"policy/kl": -0.4, "answer/length": 45.0, "policy/clipped": 0.4}.get(name, 0.5 * HEALTHY[name])
        rows = [HEALTHY] * 10 + [{**HEALTHY, name: odd}] + [HEALTHY] * 10
        assert [alarm for step, row in enumerate(rows) for alarm in health.check(step + 1, row)] == []


def test_a_kl_a_little_below_zero_is_noise() -> None:
    health = Health(100)
    noisy = {**HEALTHY, "policy/kl": -0.3, "policy/kl_se": 0.2}
    assert [alarm for step in range(1, 30) for alarm in health.check(step, noisy)] == []


def test_reward_up_and_gold_down_is_over_optimisation() -> None:
    health = Health(100)
    assert not health.check(10, {"eval/reward": 0.5, "eval/gold": 0.7})
    assert not health.check(20, {"eval/reward": 0.9, "eval/gold": 0.69})
    (alarm,) = health.check(30, {"eval/reward": 1.4, "eval/gold": 0.6})
    assert alarm.name == "over-optimised"
    assert "(0.500 to 1.400)" in alarm.message and "0.700 at step 10 to 0.600" in alarm.message


def test_reward_up_and_gold_down_is_also_seen_in_training() -> None:
    health = Health(100)
    raised = []
    for step in range(1, 101):
        raised += health.check(step, {"reward/mean": step / 100, "gold/mean": 1 - step / 100})
    assert [alarm.name for alarm in raised] == ["over-optimised"]


def test_the_state_survives_json_and_alarms_are_not_repeated() -> None:
    through, stopped = Health(100), Health(100)
    rows = [HEALTHY] * 8 + [{**HEALTHY, "policy/entropy": 0.1}] * 30
    expected = [alarm for step, row in enumerate(rows) for alarm in through.check(step + 1, row)]
    raised = []
    for step, row in enumerate(rows):
        raised += stopped.check(step + 1, row)
        state = json.loads(json.dumps(stopped.state()))
        stopped = Health(100)
        stopped.restore(state)
    assert raised == expected and len(raised) == 1


def test_numbers_that_are_not_finite_do_not_confuse_it() -> None:
    health = Health(100)
    assert [a for step in range(1, 20) for a in health.check(step, dict.fromkeys(HEALTHY, float("nan")))] == []


def test_a_culprit_is_told_in_numbers_only() -> None:
    batch = TokenBatch.of([([5, 6, 7], [False, True, True]), ([5, 8], [False, True])])
    odd = torch.tensor([[0.5, float("nan")], [1.5, 0.0]])
    text = culprit(Experience(batch, odd, odd, odd, torch.full((2, 2), float("inf"))))
    assert "Experience of 2, sizes [3, 2]" in text
    assert "batch: [2, 1] learned tokens" in text
    assert "logprobs: (2, 2) min 0 mean 0.6667 max 1.5, 1 not finite" in text
    assert "returns: (2, 2) no finite value, 4 not finite" in text
