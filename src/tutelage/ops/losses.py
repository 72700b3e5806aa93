"""Losses per token, each with its equation and paper; the caller masks and averages.

Legend: `logp` log π(token | before); `old` the same under the policy that sampled. What policies learn from preferences
stands in `preference_losses`, what reward models learn in `reward_losses`. All work in the dtype that they are given
(float32 or float64) and never form log(sigmoid(·)), which is −inf at −1000.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LOG_RATIO_LIMIT = 20.0


def nll(logp: Tensor) -> Tensor:
    """−log p, per token: supervised fine-tuning and pretraining."""
    return -logp


# Policy and value, per token


def policy_gradient(logp: Tensor, adv: Tensor) -> Tensor:
    """−A·log π, per token (REINFORCE, Williams 1992; A2C, Mnih et al. 2016). *Sum* it over the tokens of an answer."""
    return -adv.detach() * logp


def probability_ratio(logp: Tensor, old: Tensor) -> Tensor:
    """ρ = π/π_old per token; the log is held in ±20, so that an outlier is no inf (and 0·inf no NaN gradient)."""
    return torch.exp(torch.clamp(logp - old.detach(), -_LOG_RATIO_LIMIT, _LOG_RATIO_LIMIT))


def clipped_surrogate(
    logp: Tensor, old: Tensor, adv: Tensor, clip_low: float = 0.2, clip_high: float | None = None
) -> Tensor:
    """−min(ρA, clip(ρ, 1 − clip_low, 1 + clip_high)·A), per token (PPO, Schulman et al. 2017, 1707.06347, eq. 7).

    `clip_high` (= `clip_low` if absent) may be larger, to let rare tokens rise (DAPO, Yu et al. 2025, 2503.14476).
    """
    adv, ratio = adv.detach(), probability_ratio(logp, old)
    high = clip_low if clip_high is None else clip_high
    return torch.maximum(-adv * ratio, -adv * torch.clamp(ratio, 1 - clip_low, 1 + high))


def was_clipped(
    logp: Tensor, old: Tensor, adv: Tensor, clip_low: float = 0.2, clip_high: float | None = None
) -> Tensor:
    """bool, per token: the clip took this token's gradient away (its mean is the clip fraction)."""
    ratio, high = probability_ratio(logp, old), clip_low if clip_high is None else clip_high
    return ((adv > 0) & (ratio > 1 + high)) | ((adv < 0) & (ratio < 1 - clip_low))


def clipped_value(values: Tensor, old_values: Tensor, returns: Tensor, clip: float | None = 0.2) -> Tensor:
    """½·max((V − R)², (V_old + clip(V − V_old, ±clip) − R)²), per token; ½·(V − R)² if `clip` is None.

    As in openai/baselines `ppo2/model.py`; the ½ is inside (Stable-Baselines3 has neither the ½ nor the clip).
    """
    returns = returns.detach()
    plain = (values - returns) ** 2
    if clip is None:
        return 0.5 * plain
    old = old_values.detach()
    near = old + torch.clamp(values - old, -clip, clip)
    return 0.5 * torch.maximum(plain, (near - returns) ** 2)
