"""Advantage actor-critic: one plain policy-gradient step on each batch of answers (Mnih et al. 2016, 1602.01783)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from tutelage.algorithms._actor_critic import ActorCritic, ActorCriticConfig
from tutelage.algorithms._ahead import Stale
from tutelage.batches import Experience, Loss
from tutelage.ops.losses import clipped_value, policy_gradient
from tutelage.ops.masked import masked_mean


@dataclass(frozen=True, kw_only=True)
class A2CConfig(ActorCriticConfig):
    """How advantage actor-critic learns."""

    stale: ClassVar[Stale] = "weighed"


class A2C(ActorCritic[A2CConfig]):
    """L = mean over answer tokens of −A·log π + c·½(V − R)²; one step per batch of answers, so no ratio and no clip.

    Departures from Stable-Baselines3's A2C: λ 0.95 (1 there), γ 1 (0.99), the ½ stands inside the value's loss (so its
    `vf_coef` is half of `--value-coef`), no entropy bonus, AdamW with one rate each (RMSprop, one rate for both), and
    the drift's price in the reward. Raw advantages in both.
    """

    Config = A2CConfig

    def learns_whole(self) -> bool:
        return True

    def scaled(self, advantages: Tensor, mask: Tensor) -> Tensor:
        return advantages

    def loss(self, batch: Experience) -> Loss:
        config, mask = self.config, batch.mask.to(batch.logprobs.device)
        now = self.parts.policy.logprobs(batch.batch, config.temperature)
        policy = policy_gradient(now.logprobs, batch.advantages)
        value = clipped_value(self.values(batch.batch), batch.values, batch.returns, clip=None)
        total = masked_mean(policy + config.value_coef * value, mask)
        metrics = {
            "loss/policy": masked_mean(policy.detach(), mask),
            "loss/value": masked_mean(value.detach(), mask),
        }
        return Loss(total, mask.sum().float(), metrics)
