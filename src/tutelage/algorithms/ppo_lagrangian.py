"""Constrained PPO: the most reward whose mean cost stays at a limit, harm priced by a multiplier (2310.12773)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from tutelage.algorithms._actor_critic import ActorCritic
from tutelage.algorithms._ahead import Stale
from tutelage.algorithms._answers import Answers
from tutelage.algorithms._base import Parts
from tutelage.algorithms._reuse import Reuse
from tutelage.algorithms.ppo import PPOConfig
from tutelage.batches import Experience, Loss, Rollouts
from tutelage.ops.lagrange import Multiplier, constrained_advantages, violation_rate
from tutelage.ops.logprobs import kl
from tutelage.ops.losses import clipped_surrogate, clipped_value, was_clipped
from tutelage.ops.masked import explained_variance, masked_mean, whiten
from tutelage.ops.returns import gae
from tutelage.ops.shaping import at_last
from tutelage.rewards import RewardSource


@dataclass(frozen=True, kw_only=True)
class PPOLagrangianConfig(PPOConfig):
    """How constrained proximal policy optimisation learns."""

    stale: ClassVar[Stale] = "refused"

    cost: str = ""
    """what harm costs: a cost-model folder, any other name that --reward takes, or `lack:` before one of a score
    between 0 and 1 (`lack:people:DB#safe`, `lack:taste:NAME#ASPECT`): 1 less that score"""
    cost_limit: float = 0.0
    """what the mean cost may be at most, in units of the cost; changes the optimum"""
    unsafe_above: float = 0.0
    """an answer whose cost lies above counts as a violation (shown only); 0.5 for an aspect between 0 and 1"""
    cost_critic_init: str = "cost"
    """`cost`: the cost critic starts as the cost model; `zero`: as the policy's body, expecting 0; or a folder"""
    multiplier: float = 1.0
    """the first λ: how many units of reward a unit of cost takes away"""
    multiplier_rate: float = 0.05
    """learning rate of log λ; 0.05 to 0.1"""
    multiplier_max: float = 10.0
    """λ never rises above"""
    cost_memory: float = 0.9
    """share of the mean cost's moving average that stays at each step; λ follows that average"""

    def sane(self) -> dict[str, bool]:
        return super().sane() | {
            "multiplier": self.multiplier >= 0.001,
            "multiplier_rate": self.multiplier_rate > 0,
            "multiplier_max": self.multiplier_max >= max(self.multiplier, 0.001),
            "cost_memory": 0 <= self.cost_memory < 1,
        }


@dataclass(frozen=True)
class ConstrainedExperience(Experience):
    """Answers with credit from both streams mixed, and what each critic should have expected."""

    cost_values: Tensor
    """float32 [B, R]: the cost critic's expectation before each token"""
    cost_returns: Tensor
    """float32 [B, R]"""


class PPOLagrangian(ActorCritic[PPOLagrangianConfig], Reuse[PPOLagrangianConfig, Experience]):
    """PPO on A = (A_reward − λ·A_cost)/(1 + λ), λ driven by mean cost − limit; see `ops/lagrange.py` for the optimum.

    The drift's price is taken from the reward alone. Costs are neither centred nor clipped: the limit is in their unit.
    """

    Config = PPOLagrangianConfig

    def __init__(self, config: PPOLagrangianConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        self.price = Multiplier(
            config.cost_limit,
            start=config.multiplier,
            rate=config.multiplier_rate,
            highest=config.multiplier_max,
            memory=config.cost_memory,
        )

    def modules(self) -> dict[str, nn.Module]:
        return super().modules() | {"cost_critic": self.parts.cost_critic}

    def learning_rates(self) -> dict[str, float]:
        return super().learning_rates() | {"cost_critic": self.config.critic_learning_rate}

    def judges(self) -> list[RewardSource]:
        return [*super().judges(), self.parts.cost]

    def scaled(self, advantages: Tensor, mask: Tensor) -> Tensor:
        """Raw: both streams are mixed first, and whitened together."""
        return advantages

    def credit(self, answers: Answers) -> Experience:
        config, mask = self.config, answers.mask
        reward = super().credit(answers)
        values = self.parts.cost_critic.values(answers.batch, keep=self.keeps(answers.step))
        cost = self.parts.cost.score(answers.rollouts.samples).value.to(values)
        self.parts.cost.settle()
        advantages, returns = gae(at_last(cost, mask), values, mask, config.gamma, config.lam)
        self.price.update(float(cost.mean()))
        mixed = constrained_advantages(reward.advantages, advantages, self.price.value)
        varies = bool((cost != cost[0]).any())  # where all cost the same, returns vary by rounding alone
        explained = float(explained_variance(values, returns, mask)) if varies else 0.0
        self._metrics |= self._told(cost) | {"value/cost_explained_variance": explained}
        return ConstrainedExperience(
            answers.batch, answers.logprobs, whiten(mixed, mask), reward.values, reward.returns, values, returns
        )

    def _told(self, cost: Tensor) -> dict[str, float]:
        return {
            "cost/mean": float(cost.mean()),
            "cost/average": self.price.average,
            "cost/excess": self.price.average - self.config.cost_limit,
            "cost/violations": float(violation_rate(cost, self.config.unsafe_above)),
            "cost/multiplier": self.price.value,
            "cost/multiplier_share": self.price.value / self.config.multiplier_max,
            "cost/swings": float(self.price.swings()),
        }

    def loss(self, batch: Experience) -> Loss:
        assert isinstance(batch, ConstrainedExperience)
        config, mask = self.config, batch.mask.to(batch.logprobs.device)
        now = self.parts.policy.logprobs(batch.batch, config.temperature).logprobs
        asked, value_clip = (now, batch.logprobs, batch.advantages, config.clip, config.clip), config.value_clip or None
        policy = clipped_surrogate(*asked, config.dual_clip)
        value = clipped_value(self.values(batch.batch), batch.values, batch.returns, value_clip)
        cost_values = self.parts.cost_critic.values(batch.batch)
        cost = clipped_value(cost_values, batch.cost_values, batch.cost_returns, value_clip)
        metrics = {
            "loss/policy": masked_mean(policy.detach(), mask),
            "loss/value": masked_mean(value.detach(), mask),
            "loss/cost_value": masked_mean(cost.detach(), mask),
            "policy/approx_kl": masked_mean(kl(batch.logprobs, now.detach(), "k3"), mask),
            "policy/clipped": masked_mean(was_clipped(*asked).float(), mask),
        }
        total = masked_mean(policy + config.value_coef * (value + cost), mask)
        return Loss(total, mask.sum().float(), metrics)

    def measured(self, rollouts: Rollouts) -> dict[str, float]:
        if self.parts.cost.live:
            return super().measured(rollouts)
        cost = self.parts.cost.score(rollouts.samples).value
        violations = float(violation_rate(cost, self.config.unsafe_above))
        return super().measured(rollouts) | {"eval/cost": float(cost.mean()), "eval/violations": violations}

    def state(self) -> dict[str, Any]:
        return super().state() | {"price": self.price.state(), "cost": self.parts.cost.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.price.restore(state["price"])
        self.parts.cost.restore(state["cost"])
