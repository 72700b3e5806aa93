"""Direct preference optimisation: learns from pairs without a reward model (Rafailov et al. 2023, 2305.18290)."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from tutelage.algorithms._base import Algorithm, Parts, TrainConfig
from tutelage.algorithms._pairs import batch_of, weighted_mean
from tutelage.batches import Loss, PairBatch, ScoredPairs, TokenBatch
from tutelage.errors import DivergedError
from tutelage.ops.losses import nll
from tutelage.ops.preference_losses import dpo


@dataclass(frozen=True, kw_only=True)
class DPOConfig(TrainConfig):
    """How direct preference optimisation learns."""

    learning_rate: float = 1e-6
    """peak learning rate; 1e-5 to 1e-4 for models below 5 million parameters"""
    beta: float = 0.1
    """how dearly drifting from the reference is paid for"""
    label_smoothing: float = 0.0
    """probability that a label is flipped (conservative DPO)"""
    rpo_alpha: float = 0.0
    """weight of the chosen answer's likelihood per token, which keeps it from falling (RPO); 0 = off"""

    def sane(self) -> dict[str, bool]:
        smooth = 0 <= self.label_smoothing < 0.5
        return super().sane() | {"beta": self.beta > 0, "label_smoothing": smooth, "rpo_alpha": self.rpo_alpha >= 0}


class DPO(Algorithm[DPOConfig, ScoredPairs]):
    """L = Σ w·[−(1−ε) log σ(βh) − ε log σ(−βh)] / Σ w, h = (log π/π_ref)(chosen) − (log π/π_ref)(rejected) (eq. 7)."""

    Config = DPOConfig
    kind = "preference"

    def __init__(self, config: DPOConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        # taken now: it copies the policy, whose weights a checkpoint may soon replace
        self.reference = parts.reference

    def modules(self) -> dict[str, nn.Module]:
        return {"policy": self.parts.policy}

    def collect(self, step: int) -> ScoredPairs:
        return self._scored(batch_of(self.parts.preferences.batch(step)))

    @torch.no_grad()
    def _scored(self, batch: PairBatch) -> ScoredPairs:
        """Ask the frozen reference once; both sides in one pass."""
        summed = self.reference.logprobs(TokenBatch.cat([batch.chosen, batch.rejected])).logprobs.sum(1)
        known = {field.name: getattr(batch, field.name) for field in fields(PairBatch)}
        return ScoredPairs(**known, ref_chosen=summed[: len(batch)], ref_rejected=summed[len(batch) :])

    def _policy(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        summed = self.parts.policy.logprobs(TokenBatch.cat([batch.chosen, batch.rejected])).logprobs.sum(1)
        return summed[: len(batch)], summed[len(batch) :]

    def loss(self, batch: ScoredPairs) -> Loss:
        config = self.config
        chosen, rejected = self._policy(batch)
        weight = batch.weight.to(chosen.device)
        each = dpo(chosen, rejected, batch.ref_chosen, batch.ref_rejected, config.beta, config.label_smoothing)
        metrics = {"loss/dpo": weighted_mean(each, weight).detach()}
        if config.rpo_alpha:
            each = each + config.rpo_alpha * nll(chosen) / batch.chosen.answer_lengths.to(chosen.device)
        gap = (chosen - batch.ref_chosen - rejected + batch.ref_rejected).detach()
        metrics |= {
            "reward/accuracy": weighted_mean((gap > 0).float() + 0.5 * (gap == 0).float(), weight),
            "reward/margin": config.beta * weighted_mean(gap, weight),
            "policy/logp_chosen": weighted_mean(chosen.detach() - batch.ref_chosen, weight),
            "policy/logp_rejected": weighted_mean(rejected.detach() - batch.ref_rejected, weight),
        }
        return Loss(weighted_mean(each, weight), weight.sum(), metrics)

    @torch.no_grad()
    def preflight(self, batch: ScoredPairs) -> dict[str, float]:
        """The policy is the reference, so h = 0 and the DPO loss is ln 2."""
        loss = float(self.loss(batch).metrics["loss/dpo"])
        if abs(loss - math.log(2)) > 1e-3:
            raise DivergedError(
                f"the first DPO loss is {loss:.5f}, not ln 2 = 0.69315: the reference is not the starting model",
                fix="this is a bug of tutelage or of the model's adapter; report it with the model's config.json",
            )
        return {"preflight/dpo_loss": loss}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        rows, size = self.parts.preferences.held_out, self.config.batch_size
        losses = [self.loss(self._scored(batch_of(rows[start : start + size]))) for start in range(0, len(rows), size)]
        whole = sum(float(loss.weight) for loss in losses)
        if not whole:
            return {}
        return {
            f"eval/{name.rpartition('/')[2]}": sum(float(loss.metrics[name]) * float(loss.weight) for loss in losses)
            / whole
            for name in ("loss/dpo", "reward/accuracy", "reward/margin")
        }
