"""From scored answers to credit by a critic: what A2C, PPO and their kin share. Only the surrogate differs, one each.

rewards per token ─┐
critic's values ───┴► GAE ─► advantages, returns
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn

from tutelage.algorithms._answers import Answers
from tutelage.algorithms._base import Parts
from tutelage.algorithms._online import Online, OnlineConfig
from tutelage.batches import Experience, TokenBatch
from tutelage.ops.masked import explained_variance, whiten
from tutelage.ops.returns import gae


@dataclass(frozen=True, kw_only=True)
class ActorCriticConfig(OnlineConfig):
    """What every algorithm with a critic understands."""

    critic_learning_rate: float = 1e-5
    """peak learning rate of the critic"""
    critic_init: str = "reward"
    """`reward`: the critic starts as the reward model; `zero`: as the policy's body, expecting 0; or a folder"""
    gamma: float = 1.0
    """discount per token"""
    lam: float = 0.95
    """GAE's λ: 0 = one step, 1 = whole answer"""
    whiten_rewards: bool = False
    """scale the rewards of a step to unit variance"""
    value_coef: float = 0.1
    """weight of the critic's loss"""

    def sane(self) -> dict[str, bool]:
        return super().sane() | {
            "critic_learning_rate": self.critic_learning_rate > 0,
            "value_coef": self.value_coef >= 0,
            "gamma": 0 <= self.gamma <= 1,
            "lam": 0 <= self.lam <= 1,
        }


C = TypeVar("C", bound=ActorCriticConfig)


class ActorCritic(Online[C, Experience]):
    """Gives each token its credit against what the critic expected before it."""

    def __init__(self, config: C, parts: Parts) -> None:
        super().__init__(config, parts)
        self.value_center: float | None = None
        """taken from the values: the scores' centre where the critic began as the reward model, else 0"""

    def modules(self) -> dict[str, nn.Module]:
        return {"policy": self.parts.policy, "critic": self.parts.critic}

    def learning_rates(self) -> dict[str, float]:
        return {"policy": self.config.learning_rate, "critic": self.config.critic_learning_rate}

    def credit(self, answers: Answers) -> Experience:
        config, mask = self.config, answers.mask
        self._center_values(answers)
        values = self.values(answers.batch, keep=self.keeps(answers.step))
        rewards = answers.token_rewards(self.kl.coef)
        rewards = whiten(rewards, mask, shift_mean=False) if config.whiten_rewards else rewards
        advantages, returns = gae(rewards, values, mask, config.gamma, config.lam)
        self._metrics["value/explained_variance"] = float(explained_variance(values, returns, mask))
        return Experience(answers.batch, answers.logprobs, self.scaled(advantages, mask), values, returns)

    @abstractmethod
    def scaled(self, advantages: Tensor, mask: Tensor) -> Tensor:
        """The advantages [B, R] of a step as the surrogate wants them: whitened over all its answers, or raw."""

    def values(self, batch: TokenBatch, *, keep: bool = False) -> Tensor:
        """float32 [B, R]: the critic's expectation before each token, on the scale of the centred scores."""
        values = self.parts.critic.values(batch, keep=keep)
        center = self.value_center or 0.0
        return batch.answers((values - center)[batch.answer_mask.to(values.device)])

    def _center_values(self, answers: Answers) -> None:
        """Once: a critic that began as the reward model expects scores before centring, a new one 0 of everything."""
        if self.value_center is None:
            speaks = bool(self.parts.critic.values(answers.batch).any())
            self.value_center = self.center if speaks else 0.0

    def state(self) -> dict[str, Any]:
        return super().state() | {"value_center": self.value_center}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.value_center = state.get("value_center", 0.0)
