"""Simple preference optimisation: the mean log-probability per token is the reward, no reference (Meng et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from tutelage.algorithms._base import EncodedPair
from tutelage.algorithms._pairs import batch_of
from tutelage.algorithms._preference import Preference, PreferenceConfig, Sides, Terms
from tutelage.batches import PairBatch
from tutelage.ops.preference_losses import doubt, simpo


@dataclass(frozen=True, kw_only=True)
class SimPOConfig(PreferenceConfig):
    """How SimPO learns. Nothing holds it to a reference: watch the answers, and stop early."""

    beta: float = 2.0
    """scale of the implied reward, per token; the paper uses 2 to 10"""
    gamma: float = 0.5
    """how far the chosen answer's implied reward must be ahead; the paper uses 0.2 to 0.5 of beta"""
    rpo_alpha: float = 0.0
    """weight of the chosen answer's likelihood per token, which keeps it from falling; 0 = off"""

    def sane(self) -> dict[str, bool]:
        return super().sane() | {"beta": self.beta > 0, "gamma": self.gamma >= 0, "rpo_alpha": self.rpo_alpha >= 0}


class SimPO(Preference[SimPOConfig, PairBatch]):
    """L = Σ w·[−log σ(β(log π(c)/|c| − log π(r)/|r|) − γ − margin)] / Σ w (2405.14734, eq. 6)."""

    Config = SimPOConfig
    shown = "loss/simpo"

    def read(self, rows: Sequence[EncodedPair]) -> PairBatch:
        return batch_of(rows)

    def terms(self, batch: PairBatch, said: Sides, flipped: Tensor) -> Terms:
        config = self.config
        wrong = doubt(flipped, config.label_smoothing)
        ahead = config.gamma + config.margin_scale * batch.margin.to(said.chosen)
        each = simpo(said.chosen_mean, said.rejected_mean, config.beta, ahead, wrong)
        named = {"loss/simpo": each, "loss/nll": -said.chosen_mean}
        if config.rpo_alpha:
            each = each - config.rpo_alpha * said.chosen_mean
        return Terms(each, config.beta * (said.chosen_mean - said.rejected_mean), named)
