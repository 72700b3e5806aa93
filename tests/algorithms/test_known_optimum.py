"""The real algorithm classes, through the real optimiser, reach the known optimum of an enumerable language model."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from table_world import SEQUENCES, World, golden_or_own, packed, row_of, rows

from tutelage.algorithms.dpo import DPO
from tutelage.algorithms.ppo import PPO
from tutelage.batches import Experience, ScoredPairs
from tutelage.ops.returns import gae
from tutelage.ops.shaping import at_last, kl_penalty
from tutelage.train.optim import Optimizer

BETA = 0.5
SETTINGS = {
    "model": "t",
    "learning_rate": 0.05,
    "critic_learning_rate": 0.05,
    "kl": BETA,
    "batch_size": 512,
    "updates": 2,
    "minibatches": 1,
    "lam": 1.0,
    "missing_stop_penalty": 0.0,
    "score_clip": 100.0,
    "value_clip": 0.0,
    "value_coef": 1.0,
    "target_kl": 0.0,
    "max_grad_norm": 0.0,
    "warmup": 0.0,
}


def world(size: int = 512) -> World:
    folder = Path(os.environ.get("TUTELAGE_SHARED") or Path(__file__).resolve().parents[3] / "shared")
    path = folder / "oracles" / "enumerable_lm.json"
    case = json.loads(path.read_text()) if path.is_file() else None
    return World(*golden_or_own(case), size)


def run(algorithm, parts: World, steps: int) -> float:
    optimizer = Optimizer(algorithm, algorithm.config, steps)
    for step in range(steps):
        optimizer.begin(step)
        with torch.no_grad():
            experience = algorithm.collect(step)
        for batch in algorithm.minibatches(experience, step):
            optimizer.step(algorithm, batch)
    return parts.distance(BETA)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 10))])
def test_ppo_reaches_the_optimum_of_reward_minus_kl(seed):
    parts = world()
    assert parts.distance(BETA) > 0.3
    assert run(PPO(PPO.Config(**SETTINGS, seed=seed), parts), parts, 250) <= 0.05


@pytest.mark.parametrize(
    "mutant",
    [{"kl": 0.0}, {"kl": BETA / 2}, {"temperature": 2.0}],
    ids=["KL dropped", "half the price", "scored at another temperature"],
)
def test_a_ppo_with_a_known_bug_does_not_reach_it(mutant):
    parts = world()
    assert run(PPO(PPO.Config(**SETTINGS | mutant), parts), parts, 250) > 0.05


def test_the_fast_row_lookup_is_the_definition():
    batch = packed(SEQUENCES)
    assert rows(batch).tolist() == [row_of(s[:place]) for s in SEQUENCES for place in range(len(s))]


def test_ppos_expected_first_gradient_is_the_exact_gradient():
    """Summed over all sequences with their probabilities; float64, 1e-9."""
    parts = world()
    parts.policy = parts.policy.double()
    parts.reference.policy = parts.reference.policy.double()
    parts.critic = parts.critic.double()
    with torch.no_grad():
        rng = torch.Generator().manual_seed(1)
        parts.policy.table.add_(0.5 * torch.randn(31, 5, generator=rng, dtype=torch.float64))
    ppo = PPO(PPO.Config(**SETTINGS | {"value_coef": 0.0}), parts)
    whole = torch.zeros(31, 5, dtype=torch.float64)
    for sequence, reward, probability in zip(
        SEQUENCES, parts.rewards.double(), parts.policy.probability(), strict=True
    ):
        batch = packed([sequence])
        logprobs = parts.policy.logprobs(batch).logprobs.detach()
        token_rewards = at_last(reward[None], batch.answer_mask)
        token_rewards = token_rewards + kl_penalty(
            logprobs, parts.reference.logprobs(batch).logprobs, batch.answer_mask, BETA
        )
        values = torch.full_like(logprobs, 0.3)
        advantages, returns = gae(token_rewards, values, batch.answer_mask, 1.0, 1.0)
        loss = ppo.loss(Experience(batch, logprobs, advantages, values, returns))
        (gradient,) = torch.autograd.grad(loss.total * loss.weight, parts.policy.table)
        whole -= probability * gradient
    leaf = parts.policy.table.detach().clone().requires_grad_()
    parts.policy.table = torch.nn.Parameter(leaf)
    logp = parts.policy.logprobs(packed(SEQUENCES)).logprobs.sum(1)
    ref = parts.reference.logprobs(packed(SEQUENCES)).logprobs.sum(1)
    objective = (logp.exp() * (parts.rewards.double() - BETA * (logp - ref))).sum()
    (exact,) = torch.autograd.grad(objective, parts.policy.table)
    torch.testing.assert_close(whole, exact, atol=1e-9, rtol=0)


def all_pairs(parts: World) -> ScoredPairs:
    """Every ordered pair, weighted by how often it is drawn from the reference and preferred."""
    probability = parts.policy.probability()
    keep = [(i, j) for i in range(len(SEQUENCES)) for j in range(len(SEQUENCES)) if i != j]
    left, right = torch.tensor(keep).T
    weight = probability[left] * probability[right] * torch.sigmoid(parts.rewards[left] - parts.rewards[right])
    chosen, rejected = packed([SEQUENCES[i] for i in left]), packed([SEQUENCES[i] for i in right])
    logp = parts.reference.logprobs(packed(SEQUENCES)).logprobs.sum(1)
    return ScoredPairs(chosen, rejected, torch.zeros(len(keep)), weight, logp[left], logp[right])


def test_dpo_on_the_whole_population_reaches_the_same_optimum():
    parts = world()
    dpo = DPO(
        DPO.Config(model="t", learning_rate=0.1, beta=BETA, max_grad_norm=0.0, tokens_per_part=10**6, warmup=0.0), parts
    )
    pairs = all_pairs(parts)
    assert dpo.preflight(pairs)["preflight/dpo_loss"] == pytest.approx(0.693147, abs=1e-5)
    optimizer = Optimizer(dpo, dpo.config, 700)
    for step in range(700):
        optimizer.begin(step)
        optimizer.step(dpo, pairs)
    assert parts.distance(BETA) <= 0.005


@pytest.mark.parametrize("beta", [BETA / 2, 2 * BETA])
def test_dpo_with_another_beta_ends_elsewhere(beta):
    parts = world()
    dpo = DPO(
        DPO.Config(model="t", learning_rate=0.1, beta=beta, max_grad_norm=0.0, tokens_per_part=10**6, warmup=0.0), parts
    )
    optimizer = Optimizer(dpo, dpo.config, 60)
    pairs = all_pairs(parts)
    for step in range(60):
        optimizer.begin(step)
        optimizer.step(dpo, pairs)
    assert parts.distance(BETA) > 0.05
