"""Advantages: golden values, a second slow way, padding, holes, and the bugs that others shipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tutelage.ops.returns import constant_groups, discounted, gae, group_advantages

NAN = float("nan")


def slow_gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> Tensor:
    """Straight from the definition: squeeze each row to its kept tokens, then sum (γλ)^k δ."""
    out = np.zeros(rewards.shape)
    for row in range(len(rewards)):
        kept = np.flatnonzero(mask[row].numpy())
        r, v = rewards[row].numpy()[kept], np.append(values[row].numpy()[kept], 0.0)
        delta = r + gamma * v[1:] - v[:-1]
        for place, column in enumerate(kept):
            out[row, column] = sum((gamma * lam) ** k * d for k, d in enumerate(delta[place:]))
    return torch.from_numpy(out)


def random_rows(seed: int, shape: tuple[int, int] = (6, 9)) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    rewards = torch.randn(shape, dtype=torch.float64, generator=rng)
    values = torch.randn(shape, dtype=torch.float64, generator=rng)
    return rewards, values, torch.rand(shape, generator=rng) < 0.7


def test_gae_equals_other_implementations(golden: Callable[[str], Any]) -> None:
    for case in golden("gae"):
        mask = case["mask"].bool()
        advantages, returns = gae(case["rewards"], case["values"], mask, case["gamma"], case["lam"])
        # The golden numbers are plain advantages (returns − values), whatever the README beside them says of whitening.
        torch.testing.assert_close(advantages[mask], case["advantages"][mask], atol=2e-5, rtol=0)
        torch.testing.assert_close(returns[mask], case["returns"][mask], atol=2e-5, rtol=0)


def test_gae_by_hand() -> None:
    rewards, values = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.5, 0.6, 0.8]])
    advantages, returns = gae(rewards, values, torch.ones(1, 3), gamma=1.0, lam=0.5)
    # δ = [0.1, 0.2, 0.2]; A₂ = 0.2; A₁ = 0.2 + 0.1; A₀ = 0.1 + 0.15
    torch.testing.assert_close(advantages, torch.tensor([[0.25, 0.3, 0.2]]))
    torch.testing.assert_close(returns, torch.tensor([[0.75, 0.9, 1.0]]))


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.0), (0.99, 1.0), (0.0, 0.5)])
@pytest.mark.parametrize("seed", range(3))
def test_gae_equals_the_definition_even_with_holes(seed: int, gamma: float, lam: float) -> None:
    rewards, values, mask = random_rows(seed)
    expected = slow_gae(rewards, values, mask, gamma, lam)
    torch.testing.assert_close(gae(rewards, values, mask, gamma, lam)[0], expected, atol=1e-12, rtol=0)


def test_nan_in_the_padding_changes_nothing() -> None:
    rewards, values, mask = random_rows(1)
    dirty = [torch.where(mask, x, NAN) for x in (rewards, values)]
    torch.testing.assert_close(gae(*dirty, mask, 0.99, 0.9), gae(rewards, values, mask, 0.99, 0.9))


def test_more_padding_changes_nothing() -> None:
    rewards, values, mask = random_rows(2)
    wide = [torch.cat([x, 7 * torch.ones(6, 3, dtype=x.dtype)], 1) for x in (rewards, values)]
    wide_mask = torch.cat([mask, torch.zeros(6, 3, dtype=torch.bool)], 1)
    torch.testing.assert_close(gae(*wide, wide_mask)[0][:, :9], gae(rewards, values, mask)[0])
    torch.testing.assert_close(gae(*wide, wide_mask)[0][:, 9:], torch.zeros(6, 3, dtype=torch.float64))


def test_lambda_one_is_the_discounted_return_minus_the_value() -> None:
    rewards, values, mask = random_rows(3)
    advantages, returns = gae(rewards, values, mask, 0.9, 1.0)
    torch.testing.assert_close(returns, discounted(rewards, mask, 0.9))
    torch.testing.assert_close(advantages, torch.where(mask, discounted(rewards, mask, 0.9) - values, 0.0))


def test_gae_carries_no_gradient() -> None:
    values = torch.randn(2, 3, requires_grad=True)
    assert not gae(torch.ones(2, 3), values, torch.ones(2, 3))[1].requires_grad


@pytest.mark.parametrize("wrong", [{"gamma": 1.1}, {"lam": -0.1}])
def test_gae_refuses_factors_outside_zero_to_one(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        gae(torch.ones(1, 2), torch.ones(1, 2), torch.ones(1, 2), **wrong)


def test_gae_refuses_shapes_that_would_broadcast() -> None:
    with pytest.raises(ValueError, match=r"must all be \[B, R\]"):
        gae(torch.ones(2, 3), torch.ones(2, 1), torch.ones(2, 3))


@pytest.mark.parametrize("kind", ["rloo", "grpo", "dr_grpo"])
def test_group_advantages_equal_other_implementations(golden: Callable[[str], Any], kind: Any) -> None:
    case = golden("group_advantages")
    torch.testing.assert_close(group_advantages(case["rewards"], case["group"], kind), case[kind], atol=1e-4, rtol=0)


def test_group_advantages_by_hand() -> None:
    rewards, groups = torch.tensor([1.0, 10.0, 3.0, 20.0, 5.0]), torch.tensor([7, -1, 7, -1, 7])
    assert group_advantages(rewards, groups, "rloo").tolist() == [-3, -10, 0, 10, 3]
    assert group_advantages(rewards, groups, "dr_grpo").tolist() == [-2, -5, 0, 5, 2]
    expected = torch.tensor([-1, -(0.5**0.5), 0, 0.5**0.5, 1])
    torch.testing.assert_close(group_advantages(rewards, groups, "grpo"), expected)


@pytest.mark.parametrize("kind", ["rloo", "grpo", "dr_grpo"])
def test_equal_rewards_give_exactly_no_advantage(kind: Any) -> None:
    # 0.1 · 3 / 3 ≠ 0.1 in floating point: a plain mean, divided by std + eps, would train on rounding.
    assert (group_advantages(torch.full((3,), 0.1), torch.zeros(3, dtype=torch.int64), kind) == 0).all()


def test_a_group_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        group_advantages(torch.ones(3), torch.tensor([0, 0, 1]), "rloo")


def test_an_unknown_kind_lists_the_choices() -> None:
    with pytest.raises(ValueError, match="rloo, grpo, dr_grpo"):
        group_advantages(torch.ones(2), torch.zeros(2), "gpro")  # type: ignore[arg-type]


def test_groups_of_one_reward_are_found_by_their_range() -> None:
    rewards = torch.tensor([1.0, 5.0, 1.0 + 5e-7, 5.1, 2.0, 1.0])
    groups = torch.tensor([7, 3, 7, 3, 9, 7])
    assert constant_groups(rewards, groups).tolist() == [True, False, True, False, True, True]
    assert constant_groups(rewards[:0], groups[:0]).tolist() == []
