"""The losses on a language model that can be written out: exact optima, by every road."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tutelage.ops.logprobs import kl
from tutelage.ops.losses import clipped_surrogate, policy_gradient
from tutelage.ops.masked import keep
from tutelage.ops.preference_losses import dpo, ipo, robust
from tutelage.ops.returns import gae, group_advantages
from tutelage.ops.shaping import at_last, kl_penalty

BETA = 0.5


def test_the_golden_model_is_the_one_we_enumerate(golden: Callable[[str], Any], golden_lm: Any) -> None:
    case, lm = golden("enumerable_lm"), golden_lm
    pad = case["pad"]
    assert [tuple(t for t in row if t != pad) for row in case["sequences"].tolist()] == list(lm.sequences)
    torch.testing.assert_close(lm.probability(lm.reference), case["ref_prob"], atol=1e-6, rtol=0)
    torch.testing.assert_close(lm.optimum(case["beta"]), case["optimum"], atol=1e-6, rtol=0)
    best = case["beta"] * torch.log((lm.probability(lm.reference) * (lm.reward / case["beta"]).exp()).sum())
    assert best.item() == pytest.approx(case["J_star"], abs=1e-6)
    safe = lm.logp(lm.reference).sum(1) + (lm.reward - case["constrained_lambda"] * lm.cost) / case["beta"]
    torch.testing.assert_close(torch.softmax(safe, 0), case["constrained_optimum"], atol=1e-5, rtol=0)
    assert (torch.softmax(safe, 0) * lm.cost).sum().item() == pytest.approx(case["constrained_limit"], abs=1e-4)


def test_probabilities_sum_to_one(enumerable: Any, policy_table: Tensor) -> None:
    assert len(enumerable.sequences) == 85
    assert enumerable.probability(policy_table).sum().item() == pytest.approx(1, abs=1e-12)


# Optima


def climb(loss: Callable[[Tensor], Tensor], start: Tensor, steps: int, rate: float = 0.1) -> Tensor:
    """Minimise `loss`, with a rate falling to 0."""
    leaf = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([leaf], lr=rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(leaf).backward()
        optimizer.step()
        schedule.step()
    return leaf.detach()


def test_the_surrogate_climbs_to_the_exact_optimum(enumerable: Any) -> None:
    lm = enumerable
    found = climb(lambda leaf: (lm.probability(leaf).detach() * lm.surrogate(leaf, BETA)).sum(), lm.reference, 600)
    assert lm.distance(lm.reference, lm.optimum(BETA)) > 0.3
    assert lm.distance(found, lm.optimum(BETA)) < 0.005


@pytest.mark.parametrize("kind", ["k2", "k3"])
def test_kl_in_the_loss_converges_to_another_policy(enumerable: Any, kind: Any) -> None:
    lm = enumerable
    reference = lm.logp(lm.reference)

    def total(leaf: Tensor) -> Tensor:
        logp = lm.logp(leaf)
        rewards = at_last(lm.reward, lm.mask).sum(1, keepdim=True)
        per_token = policy_gradient(logp, rewards) + BETA * kl(logp, reference, kind)
        return (lm.probability(leaf).detach() * keep(per_token, lm.mask).sum(1)).sum()

    found = climb(total, lm.reference, 600)
    assert lm.distance(found, lm.optimum(BETA)) > 0.1


def pair_population(lm: Any) -> tuple[Tensor, Tensor]:
    """All ordered pairs of different sequences, and how often "first beats second" is drawn (Bradley–Terry)."""
    pairs = torch.combinations(torch.arange(len(lm.sequences)), 2)
    pairs = torch.cat([pairs, pairs.flip(1)])
    reference = lm.probability(lm.reference)
    drawn = reference[pairs[:, 0]] * reference[pairs[:, 1]]
    return pairs, drawn * torch.sigmoid(lm.reward[pairs[:, 0]] - lm.reward[pairs[:, 1]])


def preference_optimum(lm: Any, weights: Tensor, pairs: Tensor, steps: int, loss: Callable[..., Tensor]) -> Tensor:
    reference = lm.logp(lm.reference).sum(1)
    kept, share = pairs[weights > 0], weights[weights > 0] / weights.sum()

    def total(leaf: Tensor) -> Tensor:
        logp = lm.logp(leaf).sum(1)
        return (share * loss(*logp[kept].T, *reference[kept].T, BETA)).sum()

    return climb(total, lm.reference, steps)


def test_dpo_on_the_whole_population_finds_the_rl_optimum(enumerable: Any) -> None:
    pairs, weights = pair_population(enumerable)
    found = preference_optimum(enumerable, weights, pairs, 800, dpo)
    assert enumerable.distance(found, enumerable.optimum(BETA)) < 0.005


@pytest.mark.slow
def test_dpo_on_sampled_pairs_comes_close(golden_lm: Any) -> None:
    """On average over the draws: with 60,000 pairs, sampling alone carries one draw in ten past the limit."""
    pairs, weights = pair_population(golden_lm)
    distances: list[float] = []
    for seed in range(10):
        drawn = torch.multinomial(weights, 60_000, replacement=True, generator=torch.Generator().manual_seed(seed))
        counts = torch.bincount(drawn, minlength=len(pairs)).double()
        found = preference_optimum(golden_lm, counts, pairs, 400, dpo)
        distances.append(golden_lm.distance(found, golden_lm.optimum(BETA)))
    assert sum(distances) / 10 < 0.08


def test_ipo_is_not_mistaken_for_dpo(enumerable: Any) -> None:
    pairs, weights = pair_population(enumerable)
    found = preference_optimum(enumerable, weights, pairs, 400, ipo)
    assert enumerable.distance(found, enumerable.optimum(BETA)) > 0.05


# Learning from samples, as the algorithms do


def sampled(lm: Any, seed: int, update: Callable[[Any, Tensor, Tensor, torch.optim.Optimizer], None]) -> float:
    """The distance from the optimum after 400 steps of 512 sampled sequences, with a rate falling to 0."""
    rng = torch.Generator().manual_seed(seed)
    leaf = lm.reference.clone().requires_grad_()
    optimizer = torch.optim.Adam([leaf], lr=0.05)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, 400)
    for _ in range(400):
        index = torch.multinomial(lm.probability(leaf.detach()), 512, replacement=True, generator=rng)
        update(lm, leaf, index, optimizer)
        schedule.step()
    return lm.distance(leaf, lm.optimum(BETA))


def rloo_update(lm: Any, leaf: Tensor, index: Tensor, optimizer: torch.optim.Optimizer) -> None:
    logp = lm.logp(leaf)[index].sum(1)
    rewards = lm.reward[index] - BETA * (logp.detach() - lm.logp(lm.reference)[index].sum(1))
    advantages = group_advantages(rewards, torch.arange(len(index)) // 4, "rloo")
    optimizer.zero_grad()
    policy_gradient(logp, advantages).mean().backward()
    optimizer.step()


def ppo_update(lm: Any, leaf: Tensor, index: Tensor, optimizer: torch.optim.Optimizer, epochs: int = 4) -> None:
    old, mask = lm.logp(leaf).detach()[index], lm.mask[index]
    values = lm.values(leaf.detach(), BETA)[index]
    rewards = at_last(lm.reward[index], mask) + kl_penalty(old, lm.logp(lm.reference)[index], mask, BETA)
    advantages, _ = gae(rewards, values, mask, 1.0, 0.95)
    for _ in range(epochs):
        optimizer.zero_grad()
        keep(clipped_surrogate(lm.logp(leaf)[index], old, advantages), mask).sum(1).mean().backward()
        optimizer.step()


def a2c_update(lm: Any, leaf: Tensor, index: Tensor, optimizer: torch.optim.Optimizer) -> None:
    ppo_update(lm, leaf, index, optimizer, epochs=1)


def online_dpo_update(lm: Any, leaf: Tensor, index: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Two answers of the current policy, labelled with the probability that the first is preferred."""
    first, second = index.view(2, -1)
    worse = torch.sigmoid(lm.reward[second] - lm.reward[first])
    logp, reference = lm.logp(leaf).sum(1), lm.logp(lm.reference).sum(1)
    pairs = logp[first], logp[second], reference[first], reference[second]
    optimizer.zero_grad()
    dpo(*pairs, BETA, worse).mean().backward()
    optimizer.step()


UPDATES = [(rloo_update, 0.03), (ppo_update, 0.05), (a2c_update, 0.04), (online_dpo_update, 0.06)]


@pytest.mark.parametrize(("update", "limit"), UPDATES)
def test_sampled_learning_reaches_the_optimum(enumerable: Any, update: Any, limit: float) -> None:
    assert sampled(enumerable, 0, update) < limit


@pytest.mark.slow
@pytest.mark.parametrize(("update", "limit"), UPDATES)
@pytest.mark.parametrize("seed", range(10))
def test_sampled_learning_reaches_the_golden_optimum(golden_lm: Any, update: Any, limit: float, seed: int) -> None:
    assert sampled(golden_lm, seed, update) < limit


# Two-armed bandit: reference (½, ½), rewards (1, 0), β = ½


def bandit(weights: tuple[float, float], loss: Callable[[Tensor, Tensor], Tensor]) -> float:
    """The first arm's probability where Σ weight·loss(better, worse) over both orders is least."""

    def total(leaf: Tensor) -> Tensor:
        first, second = torch.log_softmax(leaf, 0)
        return weights[0] * loss(first, second) + weights[1] * loss(second, first)

    return float(torch.softmax(climb(total, torch.zeros(2, dtype=torch.float64), 800), 0)[0])


EVEN = torch.tensor(0.5, dtype=torch.float64).log()
PREFERRED = float(torch.sigmoid(torch.tensor(1.0)))
CLEAN = (PREFERRED, 1 - PREFERRED)
FLIPPED = (0.9 * PREFERRED + 0.1 * (1 - PREFERRED), 0.1 * PREFERRED + 0.9 * (1 - PREFERRED))


def sigmoid(x: float) -> float:
    return float(torch.sigmoid(torch.tensor(x, dtype=torch.float64)))


def logit(p: float) -> float:
    return float(torch.logit(torch.tensor(p, dtype=torch.float64)))


@pytest.mark.parametrize(
    ("weights", "loss", "expected"),
    [
        (CLEAN, lambda w, r: dpo(w, r, EVEN, EVEN, BETA), 0.8808),
        (CLEAN, lambda w, r: ipo(w, r, EVEN, EVEN, BETA), 0.6135),
        (CLEAN, lambda w, r: dpo(w, r, EVEN, EVEN, BETA, 0.1), sigmoid(logit(FLIPPED[0]) / BETA)),
        (FLIPPED, lambda w, r: robust(w, r, EVEN, EVEN, BETA, 0.1), 0.8808),
    ],
    ids=["dpo", "ipo", "cdpo", "robust under flipped labels"],
)
def test_bandit_optima_of_preference_losses(
    weights: tuple[float, float], loss: Callable[[Tensor, Tensor], Tensor], expected: float
) -> None:
    assert bandit(weights, loss) == pytest.approx(expected, abs=1e-4)


def test_the_bandit_optimum_of_reinforcement_is_dpos() -> None:
    reward = torch.tensor([1.0, 0.0], dtype=torch.float64)

    def loss(leaf: Tensor) -> Tensor:
        logp = torch.log_softmax(leaf, 0)
        rewards = reward + kl_penalty(logp, EVEN.expand(2), torch.ones(2), BETA)
        return (logp.exp().detach() * policy_gradient(logp, rewards)).sum()

    found = torch.softmax(climb(loss, torch.zeros(2, dtype=torch.float64), 800), 0)[0]
    assert found.item() == pytest.approx(0.8808, abs=1e-4)
