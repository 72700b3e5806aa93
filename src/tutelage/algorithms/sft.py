"""Supervised fine-tuning: learn the answers that people wrote (mean negative log-likelihood per answer token)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from tutelage.algorithms._base import Algorithm, Schedule, TrainConfig
from tutelage.algorithms._likelihood import held_out_loss, token_loss
from tutelage.batches import Loss, TokenBatch
from tutelage.data.pack import pack


@dataclass(frozen=True, kw_only=True)
class SFTConfig(TrainConfig):
    """How fine-tuning learns."""

    learning_rate: float = 2e-5
    """peak learning rate; 1e-4 to 1e-3 for models below 5 million parameters"""
    schedule: Schedule = "cosine"
    """how the learning rate falls after the warm-up"""


class SFT(Algorithm[SFTConfig, TokenBatch]):
    """Every answer token counts the same, the stop token included; prompts are read, not learned."""

    Config = SFTConfig
    kind = "demonstration"

    def modules(self) -> dict[str, nn.Module]:
        return {"policy": self.parts.policy}

    def collect(self, step: int) -> TokenBatch:
        return pack(self.parts.demonstrations.batch(step))

    def loss(self, batch: TokenBatch) -> Loss:
        return token_loss(self.parts.policy, batch)

    def evaluate(self) -> dict[str, float]:
        return held_out_loss(self.parts.policy, self.parts.demonstrations.held_out)
