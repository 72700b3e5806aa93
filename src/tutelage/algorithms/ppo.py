"""Proximal policy optimisation: small, clipped steps on each batch of answers (Schulman et al. 2017, 1707.06347)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from tutelage.algorithms._actor_critic import ActorCritic, ActorCriticConfig
from tutelage.algorithms._ahead import Stale
from tutelage.algorithms._reuse import Reuse, ReuseConfig
from tutelage.batches import Experience, Loss
from tutelage.ops.logprobs import kl
from tutelage.ops.losses import clipped_surrogate, clipped_value, was_clipped
from tutelage.ops.masked import masked_mean, whiten


@dataclass(frozen=True, kw_only=True)
class PPOConfig(ActorCriticConfig, ReuseConfig):
    """How proximal policy optimisation learns."""

    stale: ClassVar[Stale] = "weighed"

    updates: int = 4
    """passes over each step's answers"""
    clip: float = 0.2
    """how far the probability ratio may leave 1 before its gradient stops"""
    dual_clip: float = 0.0
    """hold the loss of a bad token that has risen beyond this ratio (Ye et al. 2020: 3); 0 = off"""
    value_clip: float = 0.2
    """how far a value may move in one step before its loss stops pulling; 0 = off"""

    def sane(self) -> dict[str, bool]:
        return super().sane() | {
            "clip": self.clip > 0,
            "dual_clip": self.dual_clip == 0 or self.dual_clip > 1,
            "value_clip": self.value_clip >= 0,
        }


class PPO(ActorCritic[PPOConfig], Reuse[PPOConfig, Experience]):
    """L = mean over answer tokens of −min(ρA, clip(ρ, 1±ε)A) + c·½·max((V−R)², (clip(V)−R)²) (eq. 7 and 9)."""

    Config = PPOConfig

    def scaled(self, advantages: Tensor, mask: Tensor) -> Tensor:
        return whiten(advantages, mask)

    def loss(self, batch: Experience) -> Loss:
        config, mask = self.config, batch.mask.to(batch.logprobs.device)
        now = self.parts.policy.logprobs(batch.batch, config.temperature).logprobs
        asked = now, batch.logprobs, batch.advantages, config.clip, config.clip
        policy = clipped_surrogate(*asked, config.dual_clip)
        value = clipped_value(self.values(batch.batch), batch.values, batch.returns, config.value_clip or None)
        total = masked_mean(policy + config.value_coef * value, mask)
        metrics = {
            "loss/policy": masked_mean(policy.detach(), mask),
            "loss/value": masked_mean(value.detach(), mask),
            "policy/approx_kl": masked_mean(kl(batch.logprobs, now.detach(), "k3"), mask),
            "policy/clipped": masked_mean(was_clipped(*asked).float(), mask),
        }
        return Loss(total, mask.sum().float(), metrics)
