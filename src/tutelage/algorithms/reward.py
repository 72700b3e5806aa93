"""Reward modelling: one number per answer, learned from which of two answers people preferred (Bradley–Terry)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tutelage.algorithms._base import Algorithm, TrainConfig
from tutelage.algorithms._pairs import batch_of, weighted_mean
from tutelage.batches import Loss, PairBatch, TokenBatch
from tutelage.ops.reward_losses import bradley_terry, centering


@dataclass(frozen=True, kw_only=True)
class RewardModelConfig(TrainConfig):
    """How a reward model learns."""

    learning_rate: float = 1e-5
    """peak learning rate of the body; 1e-4 to 1e-3 for models below 5 million parameters"""
    batch_size: int = 64
    """pairs per optimiser step"""
    centering: float = 0.01
    """pulls scores towards 0 (Eisenstein et al. 2023, 2312.09244); 0 = off"""

    def sane(self) -> dict[str, bool]:
        return super().sane() | {"centering": self.centering >= 0}


class RewardModel(Algorithm[RewardModelConfig, PairBatch]):
    """L = Σ w·[−log σ(r_chosen − r_rejected − margin) + c·(r_chosen + r_rejected)²] / Σ w."""

    Config = RewardModelConfig
    kind = "preference"

    def modules(self) -> dict[str, nn.Module]:
        return {"scorer": self.parts.scorer}

    def collect(self, step: int) -> PairBatch:
        return batch_of(self.parts.preferences.batch(step))

    def loss(self, batch: PairBatch) -> Loss:
        chosen, rejected = self._scores(batch)
        weight = batch.weight.to(chosen.device)
        each = bradley_terry(chosen, rejected, batch.margin.to(chosen.device))
        each = each + self.config.centering * centering(chosen, rejected)
        right = (chosen > rejected).float() + 0.5 * (chosen == rejected).float()
        metrics = {
            "loss/preference": weighted_mean(each, weight).detach(),
            "reward/accuracy": weighted_mean(right, weight),
            "reward/margin": weighted_mean(chosen - rejected, weight).detach(),
            "reward/mean": weighted_mean((chosen + rejected) / 2, weight).detach(),
        }
        return Loss(weighted_mean(each, weight), weight.sum(), metrics)

    def _scores(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Both sides in one pass, so that neither sees other rounding than its rival."""
        both = self.parts.scorer.scores(TokenBatch.cat([batch.chosen, batch.rejected]))
        return both[: len(batch)], both[len(batch) :]

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        rows = self.parts.preferences.held_out
        gaps = [
            left - right
            for start in range(0, len(rows), self.config.batch_size)
            for left, right in [self._scores(batch_of(rows[start : start + self.config.batch_size]))]
        ]
        if not gaps:
            return {}
        gap = torch.cat(gaps)
        accuracy = ((gap > 0).float() + 0.5 * (gap == 0).float()).mean()
        return {
            "eval/accuracy": float(accuracy),
            "eval/loss": float(nn.functional.softplus(-gap).mean()),
            "eval/pairs": len(gap),
        }
