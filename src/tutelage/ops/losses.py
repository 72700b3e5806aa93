"""Losses per token, each with its equation and paper; the caller masks and averages.

Legend: `logp` log π(token | before); `old` the same under the policy that sampled. What policies learn from preferences
stands in `preference_losses`, what reward models learn in `reward_losses`. All work in the dtype that they are given
(float32 or float64) and never form log(sigmoid(·)), which is −inf at −1000.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from tutelage.ops.masked import masked_mean, masked_sum

Aggregation = Literal["token-mean", "sequence-mean", "constant"]

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
    logp: Tensor, old: Tensor, adv: Tensor, clip_low: float = 0.2, clip_high: float | None = None, dual: float = 0.0
) -> Tensor:
    """−min(ρA, clip(ρ, 1 − clip_low, 1 + clip_high)·A), per token (PPO, Schulman et al. 2017, 1707.06347, eq. 7).

    `clip_high` (= `clip_low` if absent) may be larger, to let rare tokens rise (DAPO, Yu et al. 2025, 2503.14476).
    `dual` > 1 holds the loss of a bad token that has risen at −dual·A (Ye et al. 2020, 1912.09729, eq. 5); 0 = off.
    """
    adv, ratio = adv.detach(), probability_ratio(logp, old)
    high = clip_low if clip_high is None else clip_high
    loss = torch.maximum(-adv * ratio, -adv * torch.clamp(ratio, 1 - clip_low, 1 + high))
    return torch.where(adv < 0, torch.minimum(loss, -adv * dual), loss) if dual else loss


def clipped_weight(logp: Tensor, old: Tensor, adv: Tensor, clip_high: float = 0.2) -> Tensor:
    """−min(ρ, 1 + clip_high)·A·log π with ρ held fixed, per token (CISPO, MiniMax 2025, 2506.13585, eq. 4).

    Unlike the clipped surrogate every token keeps its gradient; on policy both are the policy gradient.
    """
    weight = probability_ratio(logp.detach(), old).clamp(max=1 + clip_high)
    return -weight * adv.detach() * logp


def answer_log_ratio(logp: Tensor, old: Tensor, mask: Tensor, mean: bool) -> Tensor:
    """log ρ of whole answers from tokens [B, R]: their sum, or with `mean` their mean (GSPO, 2507.18071, eq. 7); [B].

    Pass it to the surrogates as `logp`, with zeros as `old`.
    """
    gap = logp - old.detach()
    return masked_mean(gap, mask, dim=1) if mean else masked_sum(gap, mask, dim=1)


def aggregate(x: Tensor, mask: Tensor, how: Aggregation, constant: float = 1.0) -> tuple[Tensor, Tensor]:
    """One number from numbers per token [B, R], and over how much it is a mean: parts join by that weight exactly.

    - `token-mean`: over all kept tokens, each alike (DAPO, 2503.14476, eq. 8); weight = tokens;
    - `sequence-mean`: over answers of the means over their tokens (GRPO, Shao et al. 2024, 2402.03300, eq. 3), so that
      a token of a long answer counts less; weight = answers;
    - `constant`: over answers of the *sums* over their tokens, divided by `constant` (Dr. GRPO, 2503.20783; with 1,
      REINFORCE's sum); weight = answers.

    Returns:
        total [] and weight [].
    """
    count = torch.tensor(float(len(x)), dtype=x.dtype, device=x.device)
    if how == "token-mean":
        return masked_mean(x, mask), mask.sum().to(x)
    if how == "sequence-mean":
        return masked_mean(x, mask, dim=1).mean(), count
    if how == "constant":
        return masked_sum(x, mask, dim=1).mean() / constant, count
    raise ValueError(f"'{how}' is not one of token-mean, sequence-mean, constant")


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
