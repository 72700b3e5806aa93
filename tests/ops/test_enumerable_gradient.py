"""The losses on a language model that can be written out: the exact gradient, and known bugs rejected by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tutelage.ops.logprobs import kl
from tutelage.ops.losses import clipped_surrogate, policy_gradient
from tutelage.ops.masked import keep
from tutelage.ops.returns import gae, group_advantages
from tutelage.ops.shaping import at_last, kl_penalty

BETA = 0.5
Shape = Callable[[Any, Tensor], Tensor]


def expected_gradient(lm: Any, table: Tensor, loss: Shape) -> Tensor:
    """−∇ of the per-sequence `loss`, averaged over every sequence with its probability."""
    leaf = table.clone().requires_grad_()
    weight = lm.probability(leaf).detach()
    return -torch.autograd.grad((weight * loss(lm, leaf)).sum(), leaf)[0]


def error(lm: Any, table: Tensor, loss: Shape) -> float:
    return float((expected_gradient(lm, table, loss) - lm.gradient(table, BETA)).abs().max())


# The gradient oracle


def test_the_surrogate_has_the_exact_gradient(enumerable: Any, policy_table: Tensor) -> None:
    assert error(enumerable, policy_table, lambda lm, leaf: lm.surrogate(leaf, BETA)) < 1e-9


def test_any_function_of_the_prefix_is_an_unbiased_critic_at_lambda_one(enumerable: Any, policy_table: Tensor) -> None:
    guess = torch.randn(len(policy_table), dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    values = keep(guess[enumerable.rows], enumerable.mask)
    assert error(enumerable, policy_table, lambda lm, leaf: lm.surrogate(leaf, BETA, values=values)) < 1e-9


@pytest.mark.parametrize("lam", [0.0, 0.5, 0.95])
def test_the_exact_critic_is_unbiased_at_any_lambda(enumerable: Any, policy_table: Tensor, lam: float) -> None:
    values = enumerable.values(policy_table, BETA)
    assert error(enumerable, policy_table, lambda lm, leaf: lm.surrogate(leaf, BETA, lam, values)) < 1e-9


def test_a2c_has_the_same_gradient(enumerable: Any, policy_table: Tensor) -> None:
    def loss(lm: Any, leaf: Tensor) -> Tensor:
        logp = lm.logp(leaf)
        advantages, _ = gae(lm.token_rewards(logp, BETA), lm.values(leaf, BETA), lm.mask, 1.0, 0.9)
        return keep(policy_gradient(logp, advantages), lm.mask).sum(1)

    assert error(enumerable, policy_table, loss) < 1e-9


@pytest.mark.parametrize(("kind", "factor"), [("rloo", 1.0), ("dr_grpo", 0.5)])
def test_group_baselines_over_all_pairs_of_answers(
    enumerable: Any, policy_table: Tensor, kind: Any, factor: float
) -> None:
    """Leave-one-out is exact; a mean that includes the sample is (k − 1)/k of it, here one half."""
    lm, leaf = enumerable, policy_table.clone().requires_grad_()
    logp, probability = lm.logp(leaf), lm.probability(policy_table)
    rewards = lm.token_rewards(logp, BETA).sum(1)
    pairs = torch.cartesian_prod(torch.arange(85), torch.arange(85))
    groups = torch.arange(len(pairs)).repeat_interleave(2)
    advantages = group_advantages(rewards[pairs].flatten(), groups, kind).view(-1, 2)
    loss = (policy_gradient(logp.sum(1)[pairs], advantages).mean(1) * probability[pairs].prod(1)).sum()
    gradient = -torch.autograd.grad(loss, leaf)[0]
    torch.testing.assert_close(gradient, factor * lm.gradient(policy_table, BETA), atol=1e-9, rtol=0)


# Known bugs of other projects: each must be far from the exact gradient


def _in_reward(penalty: Callable[[Tensor, Tensor], Tensor]) -> Shape:
    def loss(lm: Any, leaf: Tensor) -> Tensor:
        logp = lm.logp(leaf)
        cost = keep(penalty(logp.detach(), lm.logp(lm.reference)), lm.mask)
        advantages, _ = gae(at_last(lm.reward, lm.mask) - BETA * cost, torch.zeros_like(logp), lm.mask, 1.0, 1.0)
        return keep(clipped_surrogate(logp, logp, advantages), lm.mask).sum(1)

    return loss


def _in_loss(kind: Any) -> Shape:
    def loss(lm: Any, leaf: Tensor) -> Tensor:
        logp = lm.logp(leaf)
        advantages, _ = gae(at_last(lm.reward, lm.mask), torch.zeros_like(logp), lm.mask, 1.0, 1.0)
        per_token = clipped_surrogate(logp, logp, advantages) + BETA * kl(logp, lm.logp(lm.reference), kind)
        return keep(per_token, lm.mask).sum(1)

    return loss


def _masked(change: Callable[[Tensor], Tensor]) -> Shape:
    """The loss under another mask than the rewards."""

    def loss(lm: Any, leaf: Tensor) -> Tensor:
        logp = lm.logp(leaf)
        advantages, _ = gae(lm.token_rewards(logp, BETA), torch.zeros_like(logp), lm.mask, 1.0, 1.0)
        return keep(clipped_surrogate(logp, logp, advantages), change(lm.mask)).sum(1)

    return loss


def _stop_token_not_trained(lm: Any, leaf: Tensor) -> Tensor:
    logp = lm.logp(leaf)
    advantages, _ = gae(lm.token_rewards(logp, BETA), torch.zeros_like(logp), lm.mask, 1.0, 1.0)
    stop = lm.tokens == lm.vocabulary - 1
    return keep(clipped_surrogate(logp, logp, advantages), lm.mask & ~stop).sum(1)


def _length_mean(lm: Any, leaf: Tensor) -> Tensor:
    return lm.surrogate(leaf, BETA) / lm.mask.sum(1)


def _score_after_the_end(lm: Any, leaf: Tensor) -> Tensor:
    logp = lm.logp(leaf)
    late = torch.roll(at_last(lm.reward, lm.mask), 1, dims=1)
    late[:, 0] = 0
    rewards = late + kl_penalty(logp, lm.logp(lm.reference), lm.mask, BETA)
    advantages, _ = gae(rewards, torch.zeros_like(logp), lm.mask, 1.0, 1.0)
    return keep(clipped_surrogate(logp, logp, advantages), lm.mask).sum(1)


def _values_of_the_next_token(lm: Any, leaf: Tensor) -> Tensor:
    values = lm.values(leaf.detach(), BETA)
    shifted = keep(torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], 1), lm.mask)
    return lm.surrogate(leaf, BETA, 0.95, shifted)


def _bootstrap_from_padding(lm: Any, leaf: Tensor) -> Tensor:
    logp = lm.logp(leaf)
    values = torch.where(lm.mask, lm.values(leaf.detach(), BETA), 3.0)  # a critic says something of padding too
    rewards = lm.token_rewards(logp, BETA)
    advantages, _ = gae(rewards, values, torch.ones_like(lm.mask), 1.0, 0.95)
    return keep(clipped_surrogate(logp, logp, advantages), lm.mask).sum(1)


def _other_temperature(lm: Any, leaf: Tensor) -> Tensor:
    hot = lm.logp(leaf / 0.7)
    advantages, _ = gae(lm.token_rewards(lm.logp(leaf), BETA), torch.zeros_like(hot), lm.mask, 1.0, 1.0)
    return keep(policy_gradient(hot, advantages), lm.mask).sum(1)


def _discounted(lm: Any, leaf: Tensor) -> Tensor:
    logp = lm.logp(leaf)
    advantages, _ = gae(lm.token_rewards(logp, BETA), torch.zeros_like(logp), lm.mask, 0.9, 1.0)
    return keep(clipped_surrogate(logp, logp, advantages), lm.mask).sum(1)


MUTANTS: dict[str, Shape] = {
    "sign of the KL flipped": _in_reward(lambda logp, ref: ref - logp),
    "KL dropped": _in_reward(lambda logp, ref: 0 * logp),
    "beta halved": _in_reward(lambda logp, ref: 0.5 * (logp - ref)),
    "k2 in the reward": _in_reward(lambda logp, ref: kl(logp, ref, "k2")),
    "k3 in the reward": _in_reward(lambda logp, ref: kl(logp, ref, "k3")),
    "k1 in the loss": _in_loss("k1"),
    "k2 in the loss": _in_loss("k2"),
    "k3 in the loss": _in_loss("k3"),
    "stop token not trained": _stop_token_not_trained,
    "first token not trained": _masked(lambda mask: mask & (torch.arange(3) > 0)),
    "mask shifted by one": _masked(lambda mask: torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1)),
    "mean over the length": _length_mean,
    "score after the last token": _score_after_the_end,
    "values one token late": _values_of_the_next_token,
    "bootstrap from padding": _bootstrap_from_padding,
    "scored at another temperature": _other_temperature,
    "discounted": _discounted,
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_gradient_oracle_rejects(enumerable: Any, policy_table: Tensor, name: str) -> None:
    assert error(enumerable, policy_table, MUTANTS[name]) > 1e-3
