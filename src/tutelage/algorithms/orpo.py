"""Odds-ratio preference optimisation: likelihood and preference in one step, no reference (Hong et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from tutelage.algorithms._base import EncodedPair
from tutelage.algorithms._pairs import batch_of
from tutelage.algorithms._preference import Preference, PreferenceConfig, Sides, Terms
from tutelage.batches import PairBatch
from tutelage.ops.preference_losses import doubt, log_odds_ratio, orpo


@dataclass(frozen=True, kw_only=True)
class ORPOConfig(PreferenceConfig):
    """How ORPO learns: from the base model, in the place of fine-tuning and preference learning."""

    learning_rate: float = 8e-6
    """peak learning rate; 1e-5 to 1e-4 for models below 5 million parameters"""
    beta: float = 0.1
    """weight of the odds-ratio term beside the chosen answer's likelihood (the paper's lambda)"""

    def sane(self) -> dict[str, bool]:
        return super().sane() | {"beta": self.beta >= 0}


class ORPO(Preference[ORPOConfig, PairBatch]):
    """L = Σ w·[−log π(c)/|c| − β·log σ(log odds(c)/odds(r) − margin)] / Σ w (2403.07691, eq. 6 and 7)."""

    Config = ORPOConfig
    shown = "loss/orpo"

    def read(self, rows: Sequence[EncodedPair]) -> PairBatch:
        return batch_of(rows)

    def terms(self, batch: PairBatch, said: Sides, flipped: Tensor) -> Terms:
        config = self.config
        wrong = doubt(flipped, config.label_smoothing)
        margin = config.margin_scale * batch.margin.to(said.chosen)
        odds = orpo(said.chosen_mean, said.rejected_mean, margin, wrong)
        named = {"loss/orpo": odds, "loss/nll": -said.chosen_mean}
        ahead = log_odds_ratio(said.chosen_mean.detach(), said.rejected_mean.detach())
        return Terms(config.beta * odds - said.chosen_mean, ahead, named)
