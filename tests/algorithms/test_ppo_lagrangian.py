"""Constrained PPO: the known constrained optimum, its multiplier, the mutants that miss it, and a tiny model."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from table_world import SEQUENCES, TableCritic, TablePolicy, TableReward, World, golden_or_own, packed
from torch import Tensor

from tutelage.algorithms import ppo_lagrangian
from tutelage.algorithms._answers import Answers
from tutelage.algorithms.ppo_lagrangian import ConstrainedExperience, PPOLagrangian
from tutelage.batches import Rollouts, Scores
from tutelage.build import Given, train
from tutelage.config import resolve
from tutelage.ops.lagrange import Multiplier
from tutelage.rewards.function import Function
from tutelage.train.optim import Optimizer
from tutelage.types import Prompt, Sample

BETA, STEPS = 0.5, 160
SETTINGS: dict[str, Any] = {
    "model": "t",
    "learning_rate": 0.05,
    "critic_learning_rate": 0.05,
    "kl": BETA,
    "batch_size": 512,
    "updates": 2,
    "lam": 1.0,
    "missing_stop_penalty": 0.0,
    "score_clip": 100.0,
    "value_clip": 0.0,
    "value_coef": 1.0,
    "target_kl": 0.0,
    "max_grad_norm": 0.0,
    "warmup": 0.0,
    "multiplier_rate": 0.1,
}


class SafeWorld(World):
    """The enumerable world with costs, and its constrained optimum by bisection."""

    def __init__(self, case: dict[str, Any] | None, limit: float = -0.3) -> None:
        super().__init__(*golden_or_own(case), 512)
        rng = torch.Generator().manual_seed(5)
        own = torch.randn(len(SEQUENCES), generator=rng)
        self.costs = torch.tensor(case["cost"]) if case else own
        self.limit = float(case["constrained_limit"]) if case else limit
        self.cost = TableReward(self.costs)
        self.cost_critic = TableCritic()
        self.reference_probability = TablePolicy(self.logits).probability().double()

    def best(self, multiplier: float) -> Tensor:
        """[S]: ref · exp((reward − λ·cost)/β)/Z"""
        tilt = (self.rewards.double() - multiplier * self.costs.double()) / BETA
        return torch.softmax(self.reference_probability.log() + tilt, 0)

    def constrained(self) -> tuple[Tensor, float]:
        """The optimum and its multiplier."""
        low, high = 0.0, 50.0
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if float(self.best(middle) @ self.costs.double()) > self.limit else (low, middle)
        return self.best(high), high

    def mean_cost(self) -> float:
        return float(self.policy.probability() @ self.costs)

    def miss(self) -> float:
        """Total variation between the policy and the constrained optimum."""
        return 0.5 * float((self.policy.probability().double() - self.constrained()[0]).abs().sum())


@pytest.fixture(scope="module")
def case() -> dict[str, Any] | None:
    folder = Path(os.environ.get("TUTELAGE_SHARED") or Path(__file__).resolve().parents[3] / "shared")
    path = folder / "oracles" / "enumerable_lm.json"
    return json.loads(path.read_text()) if path.is_file() else None


def learn(kind: type[PPOLagrangian], parts: SafeWorld, steps: int = STEPS, **settings: Any) -> PPOLagrangian:
    given: Any = parts
    algorithm = kind(kind.Config(**SETTINGS | {"cost_limit": parts.limit} | settings), given)
    optimizer = Optimizer(algorithm, algorithm.config, steps)
    for step in range(steps):
        optimizer.begin(step)
        for batch in algorithm.minibatches(algorithm.collect(step), step):
            optimizer.step(algorithm, batch)
    return algorithm


def test_our_constrained_optimum_is_the_golden_one(case: dict[str, Any] | None) -> None:
    if case is None:
        pytest.skip("no shared oracles; the other tests use numbers of our own")
    probability, multiplier = SafeWorld(case).constrained()
    assert multiplier == pytest.approx(case["constrained_lambda"], abs=1e-4)
    torch.testing.assert_close(probability, torch.tensor(case["constrained_optimum"]).double(), atol=1e-5, rtol=0)


def check(parts: SafeWorld, found: PPOLagrangian) -> None:
    """All that must hold at the end: policy, multiplier, mean cost, and what the two critics expect."""
    probability = parts.policy.probability()
    drift = probability.log() - parts.reference_probability.log()
    assert parts.miss() <= 0.06
    assert found.price.value == pytest.approx(parts.constrained()[1], rel=0.07)
    assert parts.mean_cost() == pytest.approx(parts.limit, abs=0.04)
    assert float(parts.cost_critic.table[0].detach()) == pytest.approx(parts.mean_cost(), abs=0.15)
    net = float(probability.double() @ (parts.rewards - (found.center or 0.0) - BETA * drift).double())
    assert float(parts.critic.table[0].detach()) == pytest.approx(net, abs=0.15)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 10))])
def test_it_reaches_the_constrained_optimum_and_its_multiplier(case: dict[str, Any] | None, seed: int) -> None:
    parts = SafeWorld(case)
    assert parts.miss() > 0.3 and parts.mean_cost() > parts.limit + 0.1
    # our own world's optimum lies further from the reference than the golden one's
    check(parts, learn(PPOLagrangian, parts, STEPS if case else 2 * STEPS, seed=seed))


class KLInBothStreams(TableReward):
    """The cost with the drift's price added: Safe RLHF's code, whose optimum is another."""

    parts: SafeWorld

    def score(self, samples: Any) -> Any:
        found = super().score(samples)
        policy = dict(zip(self.by_text, self.parts.policy.probability().log().tolist(), strict=True))
        reference = dict(zip(self.by_text, self.parts.reference_probability.log().tolist(), strict=True))
        drift = torch.tensor([policy[sample.text] - reference[sample.text] for sample in samples])
        return replace(found, value=found.value + BETA * drift)


def kl_in_both(parts: SafeWorld, patch: pytest.MonkeyPatch) -> None:
    cost = KLInBothStreams(parts.costs)
    cost.parts = parts
    parts.cost = cost


def wrong_sign(parts: SafeWorld, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ppo_lagrangian, "constrained_advantages", lambda reward, cost, price: reward + price * cost)


def cost_critic_from_reward(parts: SafeWorld, patch: pytest.MonkeyPatch) -> None:
    real = PPOLagrangian.credit

    def credit(self: Any, answers: Any) -> Any:
        found = real(self, answers)
        return replace(found, cost_returns=found.returns)

    patch.setattr(PPOLagrangian, "credit", credit)


def falling_when_violated(parts: SafeWorld, patch: pytest.MonkeyPatch) -> None:
    real = Multiplier.update
    patch.setattr(Multiplier, "update", lambda self, cost: real(self, 2 * self.limit - cost))


def centred_cost(parts: SafeWorld, patch: pytest.MonkeyPatch) -> None:
    parts.cost = TableReward(parts.costs - float(parts.reference_probability @ parts.costs.double()))


def whitened_apart(parts: SafeWorld, patch: pytest.MonkeyPatch) -> None:
    def mixed(reward: Tensor, cost: Tensor, price: float) -> Tensor:
        return (reward / reward.std() - price * cost / cost.std()) / (1 + price)

    patch.setattr(ppo_lagrangian, "constrained_advantages", mixed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "mutant",
    [wrong_sign, kl_in_both, cost_critic_from_reward, falling_when_violated, centred_cost, whitened_apart],
    ids=lambda mutant: mutant.__name__,
)
def test_a_known_bug_is_found(case: dict[str, Any] | None, mutant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = SafeWorld(case)
    mutant(parts, monkeypatch)
    found = learn(PPOLagrangian, parts)
    with pytest.raises(AssertionError):
        check(parts, found)


def test_where_the_limit_does_not_bind_harm_costs_nothing(case: dict[str, Any] | None) -> None:
    parts = SafeWorld(case)
    found = learn(PPOLagrangian, parts, 60, cost_limit=3.0, multiplier_rate=1.0, multiplier=0.5)
    assert found.price.value < 0.01


def test_the_dual_clip_holds_the_loss_of_a_bad_token_that_has_risen() -> None:
    parts = SafeWorld(None)
    batch, one = packed([(4,), (4,)]), torch.ones(2, 1)
    now = parts.policy.logprobs(batch).logprobs.detach()
    risen = ConstrainedExperience(batch, now - 2.0, -one, 0 * one, 0 * one, 0 * one, 0 * one)
    for dual, wanted in ((0.0, math.exp(2.0)), (3.0, 3.0)):
        algorithm = PPOLagrangian(PPOLagrangian.Config(**SETTINGS | {"dual_clip": dual}), cast(Any, parts))
        assert float(algorithm.loss(risen).metrics["loss/policy"]) == pytest.approx(wanted, rel=1e-5)


def exact_gradient(parts: SafeWorld, price: float) -> Tensor:
    """Of E[reward − λ·cost] − β·KL, over 1 + λ, in float64."""
    logp = parts.policy.logprobs(packed(SEQUENCES)).logprobs.sum(1)
    ref = parts.reference.logprobs(packed(SEQUENCES)).logprobs.sum(1)
    gain = parts.rewards.double() - price * parts.costs.double() - BETA * (logp - ref)
    return torch.autograd.grad((logp.exp() * gain).sum(), parts.policy.table)[0] / (1 + price)


def test_the_expected_first_gradient_is_the_exact_one(
    case: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Summed over all sequences with their probabilities; advantages as `credit` gives them, not whitened; 1e-9."""
    monkeypatch.setattr(ppo_lagrangian, "whiten", lambda advantages, mask: advantages)
    parts = SafeWorld(case)
    parts.policy, parts.critic = parts.policy.double(), parts.critic.double()
    parts.reference.policy, parts.cost_critic = parts.reference.policy.double(), parts.cost_critic.double()
    with torch.no_grad():
        rng = torch.Generator().manual_seed(1)
        parts.policy.table.add_(0.5 * torch.randn(31, 5, generator=rng, dtype=torch.float64))
        parts.cost_critic.table.add_(0.3 * torch.randn(31, generator=rng, dtype=torch.float64))
    given: Any = parts
    settings = SETTINGS | {"value_coef": 0.0, "cost_limit": 0.0, "multiplier": 0.7, "multiplier_rate": 1e-30}
    algorithm = PPOLagrangian(PPOLagrangian.Config(**settings), given)
    algorithm.center = 0.0
    whole = torch.zeros(31, 5, dtype=torch.float64)
    for index, sequence in enumerate(SEQUENCES):
        batch = packed([sequence])
        logprobs = parts.policy.logprobs(batch)
        mine = logprobs.logprobs.detach()
        sample = Sample(str(index), Prompt("p", ""), "".join(map(str, sequence)))
        rollouts = Rollouts(batch, mine, torch.tensor([True]), (sample,))
        reference = parts.reference.logprobs(batch).logprobs
        reward = parts.rewards[index : index + 1].double()
        answers = Answers(rollouts, Scores(reward, {}), reward, mine, reference, logprobs.entropy, 1, 0)
        with torch.no_grad():
            experience = algorithm.credit(answers)
        loss = algorithm.loss(experience)
        (gradient,) = torch.autograd.grad(loss.total * loss.weight, parts.policy.table)
        whole -= mine.sum().exp() * gradient
    torch.testing.assert_close(whole, exact_gradient(parts, 0.7), atol=1e-9, rtol=0)


def helpful(prompt: str, completion: str) -> float:
    return sum(character.islower() for character in completion) / 10


def harmful(prompt: str, completion: str) -> float:
    """The easiest way to be helpful is harmful: a vowel is a small letter."""
    return float(any(character in "aeiou" for character in completion))


def test_on_a_tiny_model_violations_meet_their_limit_while_the_reward_rises(tmp_path: Path, tiny_model: Path) -> None:
    data = tmp_path / "prompts.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"Summarise bridge {n}."}) + "\n" for n in range(24)))
    flags = {
        "model": str(tiny_model), "data": str(data), "eval_data": str(data), "out": str(tmp_path / "run"),
        "reward": "python", "cost": "python", "cost_limit": 0.2, "steps": 42, "batch_size": 32, "max_length": 96,
        "learning_rate": 4e-3, "critic_learning_rate": 1e-2, "schedule": "constant", "warmup": 0.0, "kl": 0.02,
        "critic_init": "zero", "cost_critic_init": "zero", "max_new_tokens": 6, "missing_stop_penalty": 0.0,
        "multiplier_rate": 0.1, "cost_memory": 0.8, "lam": 1.0, "value_coef": 1.0, "target_kl": 0.0, "updates": 3,
    }  # fmt: skip
    given = Given(reward=Function(helpful), cost=Function(harmful))
    train("ppo-lagrangian", resolve(PPOLagrangian.Config, flags=flags), given=given)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    rows = [line for line in lines if "cost/mean" in line]

    def late(name: str) -> float:
        return sum(row[name] for row in rows[-8:]) / 8

    assert rows[0]["cost/violations"] > 0.5, "without a price most answers would be harmful"
    assert late("cost/violations") <= 0.2 and late("cost/mean") <= 0.2
    assert late("reward/mean") > rows[0]["reward/mean"] + 0.2
    assert rows[-1]["eval/violations"] <= 0.25
