"""RLOO: REINFORCE where each answer's baseline is the mean of the others to its prompt (2402.14740)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from tutelage.algorithms._ahead import Stale
from tutelage.algorithms._answers import Answers
from tutelage.algorithms._groups import Grouped, GroupedConfig
from tutelage.batches import Credited, Loss
from tutelage.ops.logprobs import kl
from tutelage.ops.losses import aggregate, answer_log_ratio, clipped_surrogate, was_clipped
from tutelage.ops.returns import group_advantages
from tutelage.ops.shaping import on_every


@dataclass(frozen=True, kw_only=True)
class RLOOConfig(GroupedConfig):
    """How RLOO learns."""

    stale: ClassVar[Stale] = "weighed"

    clip: float = 0.0
    """with several --updates: how far an answer's probability ratio may leave 1 before its gradient stops (TRL: 0.2);
    0 = no limit"""

    def sane(self) -> dict[str, bool]:
        return super().sane() | {"clip": self.clip >= 0}


class RLOO(Grouped[RLOOConfig, Credited]):
    """L = mean over answers of −min(ρA, clip(ρ)A), ρ = π/π_old of the whole answer, A = R − mean of the others' R,
    R = score − β·log(π/π_ref)(y). At ρ = 1 its gradient is exact (Ahmadian et al. 2024, eq. 8; Kool et al. 2019)."""

    Config = RLOOConfig

    def credit(self, answers: Answers) -> Credited:
        self.constant(answers)
        advantages = group_advantages(answers.rewards(self.kl.coef), answers.groups, "rloo")
        return Credited(answers.batch, answers.logprobs, on_every(advantages, answers.mask))

    def loss(self, batch: Credited) -> Loss:
        mask, clip = batch.mask.to(batch.logprobs.device), self.config.clip or math.inf
        now = self.parts.policy.logprobs(batch.batch, self.config.temperature).logprobs
        log_ratio = answer_log_ratio(now, batch.logprobs, mask, mean=False)
        asked = log_ratio, torch.zeros_like(log_ratio), batch.advantages[:, 0], clip
        total = clipped_surrogate(*asked).mean()
        metrics = {
            "loss/policy": total.detach(),
            "policy/approx_kl": aggregate(kl(batch.logprobs, now.detach(), "k3"), mask, "sequence-mean")[0],
            "policy/clipped": was_clipped(*asked).float().mean(),
        }
        return Loss(total, total.new_tensor(float(len(batch))), metrics)
