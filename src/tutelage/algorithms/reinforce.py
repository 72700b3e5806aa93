"""REINFORCE: the policy gradient itself, of whole answers, against a plain baseline (Williams 1992)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from tutelage.algorithms._ahead import Stale
from tutelage.algorithms._answers import Answers
from tutelage.algorithms._base import Parts
from tutelage.algorithms._online import Online, OnlineConfig
from tutelage.batches import Credited, Loss
from tutelage.errors import UsageError
from tutelage.ops.losses import aggregate, policy_gradient
from tutelage.ops.returns import group_advantages
from tutelage.ops.shaping import on_every

Baseline = Literal["none", "mean", "moving"]


@dataclass(frozen=True, kw_only=True)
class ReinforceConfig(OnlineConfig):
    """How REINFORCE learns."""

    stale: ClassVar[Stale] = "weighed"

    baseline: Baseline = "mean"
    """what an answer's reward is held against: the mean of the step's *other* answers, a moving mean of the steps
    before, or nothing; none of them biases the gradient"""
    baseline_decay: float = 0.9
    """how much of the moving mean stays at each step"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.baseline == "mean" and self.batch_size * self.answers < 2:
            raise UsageError(
                "the mean of the step's other answers needs at least two answers in a step",
                fix="raise --batch-size or --answers, or choose --baseline moving",
            )

    def sane(self) -> dict[str, bool]:
        return super().sane() | {"baseline_decay": 0 <= self.baseline_decay < 1}


class Reinforce(Online[ReinforceConfig, Credited]):
    """L = mean over answers of −A·Σ_t log π(y_t), A = score − β·log(π/π_ref)(y) − baseline: the exact gradient."""

    Config = ReinforceConfig

    def __init__(self, config: ReinforceConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        self.moving: float | None = None
        """mean reward of the steps before"""

    def learns_whole(self) -> bool:
        return True

    def credit(self, answers: Answers) -> Credited:
        advantages = self._against(answers.rewards(self.kl.coef))
        return Credited(answers.batch, answers.logprobs, on_every(advantages, answers.mask))

    def _against(self, rewards: Tensor) -> Tensor:
        """[B]: rewards less their baseline, which never contains the answer itself."""
        if self.config.baseline == "mean":
            return group_advantages(rewards, torch.zeros_like(rewards, dtype=torch.int64), "rloo")
        if self.config.baseline == "none":
            return rewards
        before, mean, decay = self.moving, float(rewards.mean()), self.config.baseline_decay
        self.moving = mean if before is None else decay * before + (1 - decay) * mean
        return rewards - (before or 0.0)

    def loss(self, batch: Credited) -> Loss:
        mask = batch.mask.to(batch.logprobs.device)
        now = self.parts.policy.logprobs(batch.batch, self.config.temperature)
        policy, weight = aggregate(policy_gradient(now.logprobs, batch.advantages), mask, "constant")
        return Loss(policy, weight, {"loss/policy": policy.detach()})

    def state(self) -> dict[str, Any]:
        return super().state() | {"moving": self.moving}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.moving = state["moving"]
