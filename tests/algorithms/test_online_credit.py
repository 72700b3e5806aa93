"""What credit the online methods give: groups, the scores' shape, what is refused, counted, left out and remembered."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from table_world import SEQUENCES, World, answered, packed
from test_known_optimum import world

from tutelage.algorithms.a2c import A2C
from tutelage.algorithms.best_of_n import BestOfN
from tutelage.algorithms.grpo import GRPO
from tutelage.algorithms.ppo import PPO
from tutelage.algorithms.reinforce import Reinforce
from tutelage.algorithms.rloo import RLOO
from tutelage.batches import Referenced, Scores
from tutelage.errors import UsageError
from tutelage.rewards import RewardSource
from tutelage.train.health import Health

COMMON = {"model": "t", "max_new_tokens": 3, "missing_stop_penalty": 0.0, "kl": 0.0}
FOUR = [(4,), (0, 1, 2), (1, 4), (2, 3, 4)]


class Coarse(RewardSource):
    """A reward that gives one score to all answers but those that begin with 0."""

    def score(self, samples: Any) -> Scores:
        value = torch.tensor([float(sample.text.startswith("0")) for sample in samples])
        return Scores(value, {"coarse": value})


class Constant(RewardSource):
    """A reward that gives 1 to everything."""

    def score(self, samples: Any) -> Scores:
        value = torch.ones(len(samples))
        return Scores(value, {"constant": value})


def grpo(parts: World, **settings: Any) -> GRPO:
    algorithm = GRPO(GRPO.Config(**COMMON | {"answers": 2} | settings), parts)
    algorithm.center = 0.0
    return algorithm


@pytest.mark.parametrize("kind", [RLOO, GRPO])
def test_a_group_of_one_is_refused(kind: Any) -> None:
    with pytest.raises(UsageError, match="group of one"):
        kind.Config(answers=1)


@pytest.mark.parametrize("kind", [PPO, RLOO])
def test_a_price_that_could_never_rise_is_refused(kind: Any) -> None:
    with pytest.raises(UsageError, match="starts at 0"):
        kind.Config(kl=0.0, kl_target=6.0)
    assert kind.Config(kl=0.1, kl_target=6.0)


@pytest.mark.parametrize(("ratio", "share"), [("cispo", 0.5), ("token", 0.25)])
def test_clipped_tokens_are_those_that_the_ratio_bounds(ratio: str, share: float) -> None:
    """ρ = 2 with A = 1, ρ = 2 with A = −1, and twice ρ = 1: CISPO bounds both, the surrogate's clip the first."""
    parts = world(1)
    algorithm = grpo(parts, ratio=ratio)
    batch = packed([(4,), (4,), (4,), (4,)])
    now = parts.policy.logprobs(batch).logprobs.detach()
    moved, signs = torch.tensor([[2.0], [2.0], [1.0], [1.0]]).log(), torch.tensor([[1.0], [-1.0], [-1.0], [1.0]])
    found = algorithm.loss(Referenced(batch, now - moved, signs, now)).metrics["policy/clipped"]
    assert float(found) == pytest.approx(share)


def test_asking_again_for_what_is_not_left_out_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing is left out"):
        GRPO.Config(resample=2)


def test_a_mean_over_one_answer_is_refused() -> None:
    with pytest.raises(UsageError, match="at least two"):
        Reinforce.Config(batch_size=1)
    assert Reinforce.Config(batch_size=1, baseline="moving")


def test_an_answer_is_judged_against_its_own_group_and_no_cut_changes_that() -> None:
    parts, score = world(2), torch.tensor([1.0, 3.0, 10.0, 20.0])
    algorithm = grpo(parts)
    batch = algorithm.credit(answered(parts, FOUR, 2, score))
    assert batch.advantages[:, 0].tolist() == [-1, 1, -5, 5]
    assert batch.advantages.tolist()[1] == [1, 1, 1] and batch.advantages.tolist()[2] == [-5, -5, 0]
    cut = batch.select([3, 0])
    assert cut.advantages[:, 0].tolist() == [5, -1] and cut.advantages.shape[1] == 3
    rloo = RLOO(RLOO.Config(**COMMON | {"answers": 2}), parts)
    assert rloo.credit(answered(parts, FOUR, 2, score)).advantages[:, 0].tolist() == [-2, 2, -10, 10]


def test_normalised_groups_have_unit_deviation_whatever_their_spread() -> None:
    parts = world(2)
    batch = grpo(parts, normalise=True).credit(answered(parts, FOUR, 2, torch.tensor([1.0, 1.001, 10.0, 20.0])))
    assert batch.advantages[:, 0].abs().tolist() == pytest.approx([0.5**0.5] * 4, rel=1e-2)


def test_equal_scores_are_not_blown_up_by_the_spread_of_their_drift() -> None:
    """Group 1: equal scores, drifts 0 and 0.6 nats; group 2: scores 0 and 1, the same drifts."""
    parts, scores = world(2), torch.tensor([1.0, 1.0, 0.0, 1.0])
    known = answered(parts, FOUR, 2, scores)
    drift = torch.zeros_like(known.logprobs)
    drift[1::2, 0] = 0.6
    drifted = replace(known, reference=known.logprobs - drift)
    algorithm = grpo(parts, normalise=True, kl=0.1)
    first, second = algorithm.credit(drifted).advantages[:, 0].view(2, 2).tolist()
    assert first == pytest.approx([0.03, -0.03], abs=1e-6), "the price of 0.6 nats, at its own size"
    assert second == pytest.approx([-(0.5**0.5), 0.5**0.5], rel=1e-4)
    assert algorithm.metrics()["groups/zero_variance"] == 0.5, "by the scores, though the rewards differ"
    unpriced = grpo(parts, normalise=True, kl=0.1, kl_in_loss="k3").credit(drifted)
    assert unpriced.advantages[:2].abs().max() == 0
    for plain in (grpo(parts, kl=0.1), RLOO(RLOO.Config(**COMMON | {"answers": 2, "kl": 0.1}), parts)):
        whole = 2.0 if isinstance(plain, RLOO) else 1.0
        first = plain.credit(drifted).advantages[:2, 0].tolist()
        assert first == pytest.approx([0.03 * whole, -0.03 * whole], abs=1e-6)
        assert plain.metrics()["groups/zero_variance"] == 0.5


def test_best_of_n_counts_groups_by_their_scores_too() -> None:
    parts = world(2)
    known = answered(parts, FOUR, 2, torch.tensor([1.0, 1.0, 0.0, 1.0]))
    drifted = replace(known, reference=known.logprobs - torch.tensor([0.0, 0.6, 0.0, 0.6])[:, None])
    algorithm = BestOfN(BestOfN.Config(**COMMON | {"answers": 2, "kl": 0.1}), parts)
    algorithm.credit(drifted)
    assert algorithm.metrics()["groups/zero_variance"] == 0.5


def test_groups_of_one_score_are_counted_and_an_alarm_is_raised_when_they_are_many() -> None:
    parts = world(2)
    for algorithm in (grpo(parts), RLOO(RLOO.Config(**COMMON | {"answers": 2}), parts)):
        algorithm.credit(answered(parts, FOUR, 2, torch.tensor([1.0, 1.0, 0.0, 1.0])))
        assert algorithm.metrics()["groups/zero_variance"] == 0.5
    health = Health(100)
    raised = [alarm.name for step in range(1, 20) for alarm in health.check(step, {"groups/zero_variance": 0.6})]
    assert raised == ["zero-groups"]
    assert not [a for s in range(1, 20) for a in Health(100).check(s, {"groups/zero_variance": 0.5})]


def test_dynamic_sampling_leaves_groups_of_one_score_out() -> None:
    parts = world(2)
    algorithm = grpo(parts, dynamic_sampling=True)
    batch = algorithm.credit(answered(parts, FOUR, 2, torch.tensor([1.0, 1.0, 0.0, 1.0])))
    assert len(batch) == 2 and batch.advantages[:, 0].tolist() == [-0.5, 0.5]
    assert algorithm.metrics() == {"groups/zero_variance": 0.5, "groups/left_out": 0.5}


def test_with_every_group_of_one_score_the_step_keeps_them_and_learns_nothing() -> None:
    parts = world(4)
    parts.reward = Constant()  # type: ignore[assignment]
    algorithm = grpo(parts, dynamic_sampling=True, resample=2)
    batch = algorithm.collect(0)
    assert len(batch) == 8 and not batch.advantages.any()
    assert algorithm.metrics()["groups/left_out"] == algorithm.metrics()["groups/zero_variance"] == 1.0
    loss = algorithm.loss(batch)
    loss.total.backward()
    assert not parts.policy.table.grad.any()  # type: ignore[union-attr]


def test_the_prompts_of_left_out_groups_are_asked_again_with_other_answers() -> None:
    parts = world(64)
    parts.reward = Coarse()  # type: ignore[assignment]
    found = {}
    for resample in (0, 3):
        algorithm = grpo(parts, dynamic_sampling=True, resample=resample)
        batch = algorithm.collect(0)
        found[resample] = len(batch)
        assert bool((batch.advantages[:, 0] != 0).all())
        assert len(batch) / 128 == pytest.approx(1 - algorithm.metrics()["groups/left_out"])
    assert found[0] < found[3] <= 128
    again = grpo(parts, dynamic_sampling=True, resample=3).collect(0)
    assert torch.equal(again.advantages, batch.advantages), "the same step gives the same answers"


def test_the_overlong_price_is_in_the_score() -> None:
    parts = world(2)
    batch = grpo(parts, overlong=2).credit(answered(parts, FOUR, 2, torch.zeros(4)))
    # answers of 1, 3, 2 and 3 tokens of at most 3 cost 0, 1, ½ and 1
    assert batch.advantages[:, 0].tolist() == [0.5, -0.5, 0.25, -0.25]


def test_reinforces_baselines_by_hand() -> None:
    parts, score = world(4), torch.tensor([1.0, 2.0, 3.0, 6.0])

    def advantages(algorithm: Reinforce) -> list[float]:
        return algorithm.credit(answered(parts, FOUR, 1, score)).advantages[:, 0].tolist()

    made = {name: Reinforce(Reinforce.Config(**COMMON | {"baseline": name}), parts) for name in ("none", "mean")}
    assert advantages(made["none"]) == [1, 2, 3, 6]
    assert advantages(made["mean"]) == pytest.approx([1 - 11 / 3, 2 - 10 / 3, 3 - 9 / 3, 6 - 6 / 3])
    moving = Reinforce(Reinforce.Config(**COMMON | {"baseline": "moving", "baseline_decay": 0.5}), parts)
    assert advantages(moving) == [1, 2, 3, 6], "nothing has been seen before the first step"
    assert advantages(moving) == [-2, -1, 0, 3]
    other = Reinforce(moving.config, parts)
    other.restore(json.loads(json.dumps(moving.state())))
    assert advantages(other) == advantages(moving)


@pytest.mark.parametrize("kind", [PPO, A2C])
def test_a_critic_that_begins_as_the_reward_model_expects_centred_scores(kind: Any) -> None:
    """It says 7 of everything because scores are near 7; centred scores are near 0, and so must its values be."""
    parts = world(64)
    parts.reward.reward = 7 + 0.1 * parts.rewards
    with torch.no_grad():
        parts.critic.table.fill_(7.0)
    algorithm = kind(kind.Config(**COMMON), parts)
    batch = algorithm.collect(0)
    inside = batch.values[batch.mask]
    assert float(inside.abs().max()) < 0.1 and float(batch.returns.abs().max()) < 1
    assert not batch.values[~batch.mask].any()
    other = kind(kind.Config(**COMMON), parts)
    other.restore(json.loads(json.dumps(algorithm.state())))
    assert torch.equal(other.values(batch.batch), algorithm.values(batch.batch))
    algorithm.collect(1)
    assert algorithm.value_center == other.value_center == algorithm.center


def test_a_critic_that_begins_at_0_is_not_shifted() -> None:
    parts = world(64)
    parts.reward.reward = 7 + 0.1 * parts.rewards
    ppo = PPO(PPO.Config(**COMMON), parts)
    assert not ppo.collect(0).values.any() and ppo.value_center == 0.0


def test_a2c_steps_once_on_raw_advantages_and_ppo_whitens() -> None:
    parts = world(64)
    a2c, ppo = A2C(A2C.Config(**COMMON), parts), PPO(PPO.Config(**COMMON), parts)
    raw, white = a2c.collect(0), ppo.collect(0)
    assert len(list(a2c.minibatches(raw, 0))) == 1 and len(list(ppo.minibatches(white, 0))) == 4
    assert float(raw.advantages[raw.mask].std()) != pytest.approx(1, abs=0.05)
    assert float(white.advantages[white.mask].std()) == pytest.approx(1, abs=1e-3)


def test_gspo_is_the_mean_over_answers_of_the_clipped_geometric_mean_ratio() -> None:
    parts = world(2)
    algorithm = grpo(parts, ratio="sequence", aggregation="sequence-mean", clip=0.1, clip_high=0.2)
    batch = algorithm.credit(answered(parts, SEQUENCES[:40], 2))
    with torch.no_grad():
        parts.policy.table.add_(0.3 * torch.randn(31, 5, generator=torch.Generator().manual_seed(4)))
    now = parts.policy.logprobs(batch.batch).logprobs.detach()
    slow = []
    for row, size in enumerate(batch.batch.answer_lengths.tolist()):
        ratio = float((now - batch.logprobs)[row, :size].mean().exp())
        advantage = float(batch.advantages[row, 0])
        slow.append(-min(ratio * advantage, min(max(ratio, 0.9), 1.2) * advantage))
    assert float(algorithm.loss(batch).total.detach()) == pytest.approx(sum(slow) / len(slow), abs=1e-6)
