"""From rewards to credit: discounted returns, generalised advantage estimation, group baselines."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from tutelage.ops.masked import keep

GroupKind = Literal["rloo", "grpo", "dr_grpo"]


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float = 1.0, lam: float = 0.95) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation over the tokens that `mask` keeps.

    δ_t = r_t + γ·V_{t+1} − V_t, A_t = Σ_k (γλ)^k δ_{t+k}, V after the last token = 0 (Schulman et al. 2016,
    1506.02438, eq. 16). "Next" means the next *kept* token, so padding and tool output neither discount nor bootstrap.

    Args:
        rewards: [B, R]
        values: [B, R], the critic's expectation *before* each token
        mask: [B, R], True = a token of the policy
        gamma: discount per token, in [0, 1]
        lam: 0 = one-step, 1 = Monte Carlo

    Returns:
        advantages [B, R] (not whitened) and returns [B, R] = advantages + values; both 0 where masked, both detached.

    Raises:
        ValueError: the shapes differ, or `gamma` or `lam` lies outside [0, 1].
    """
    _check(rewards, values, mask, gamma, lam)
    kept = mask.bool()
    rewards, values = keep(rewards.detach(), kept), keep(values.detach(), kept)
    advantages = torch.zeros_like(rewards)
    next_value = next_advantage = torch.zeros_like(rewards[:, 0])
    for step in reversed(range(rewards.shape[1])):
        here = kept[:, step]
        delta = rewards[:, step] + gamma * next_value - values[:, step]
        next_advantage = torch.where(here, delta + gamma * lam * next_advantage, next_advantage)
        next_value = torch.where(here, values[:, step], next_value)
        advantages[:, step] = next_advantage
    advantages = keep(advantages, kept)
    return advantages, advantages + values


def discounted(rewards: Tensor, mask: Tensor, gamma: float = 1.0) -> Tensor:
    """Reward to go, G_t = Σ_k γ^k r_{t+k} over the kept tokens, [B, R]; 0 where masked."""
    return gae(rewards, torch.zeros_like(rewards), mask, gamma, 1.0)[0]


def group_advantages(rewards: Tensor, groups: Tensor, kind: GroupKind, eps: float = 1e-6) -> Tensor:
    """Each reward against those of the other answers to the same prompt.

    - `rloo`: r_i − mean of the *others* (Kool et al. 2019; Ahmadian et al. 2024, 2402.14740): unbiased;
    - `dr_grpo`: r_i − mean of the group (Liu et al. 2025, 2503.20783) = (k − 1)/k × rloo;
    - `grpo`: that over (sample standard deviation + eps) (Shao et al. 2024, 2402.03300): a group of near-ties
      becomes a full-size update.

    Args:
        rewards: [B]
        groups: int [B], equal = the same prompt; any ids, in any order
        kind: see above
        eps: added to the standard deviation (`grpo` only)

    Returns:
        [B], detached; exactly 0 for a group whose rewards are all equal.

    Raises:
        ValueError: the shapes differ, or a group has one member (no baseline: the raw reward would be the advantage).
    """
    if rewards.ndim != 1 or groups.shape != rewards.shape:
        raise ValueError(f"rewards {tuple(rewards.shape)} and groups {tuple(groups.shape)} must both be [B]")
    rewards = rewards.detach()
    _, index, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    if counts.numel() and int(counts.min()) < 2:
        raise ValueError("a group of one answer has no baseline; sample at least 2 answers per prompt")
    count = counts.to(rewards.dtype)[index]
    # Centred on a member first, so that equal rewards cancel exactly.
    lowest = torch.zeros(len(counts), dtype=rewards.dtype, device=rewards.device)
    centred = rewards - lowest.scatter_reduce(0, index, rewards, "amin", include_self=False)[index]
    centred = centred - _group_sum(centred, index, len(counts)) / count
    if kind == "dr_grpo":
        return centred
    if kind == "rloo":
        return centred * count / (count - 1)
    if kind == "grpo":
        return centred / ((_group_sum(centred**2, index, len(counts)) / (count - 1)).sqrt() + eps)
    raise ValueError(f"kind '{kind}' is not one of rloo, grpo, dr_grpo")


def constant_groups(rewards: Tensor, groups: Tensor, tolerance: float = 1e-6) -> Tensor:
    """bool [B]: the rewards of this answer's group differ by `tolerance` at most, so that it teaches nothing.

    `rewards` is [B], `groups` int [B], as for `group_advantages`. A group of one is constant.
    """
    _, index = torch.unique(groups, return_inverse=True)
    start = torch.zeros(int(index.max()) + 1 if len(index) else 0, dtype=rewards.dtype, device=rewards.device)
    high = start.scatter_reduce(0, index, rewards.detach(), "amax", include_self=False)
    low = start.scatter_reduce(0, index, rewards.detach(), "amin", include_self=False)
    return (high - low <= tolerance)[index]


def _group_sum(x: Tensor, index: Tensor, groups: int) -> Tensor:
    return torch.zeros(groups, dtype=x.dtype, device=x.device).index_add_(0, index, x)[index]


def _check(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> None:
    if rewards.ndim != 2 or not rewards.shape == values.shape == mask.shape:
        shapes = f"rewards {tuple(rewards.shape)}, values {tuple(values.shape)}, mask {tuple(mask.shape)}"
        raise ValueError(f"{shapes} must all be [B, R]")
    if not (0 <= gamma <= 1 and 0 <= lam <= 1):
        raise ValueError(f"gamma {gamma} and lam {lam} must lie in [0, 1]")
