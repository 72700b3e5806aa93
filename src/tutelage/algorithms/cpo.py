"""Contrastive preference optimisation: DPO without its reference, plus likelihood (Xu et al. 2024, 2401.08417)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from tutelage.algorithms._base import EncodedPair
from tutelage.algorithms._pairs import batch_of
from tutelage.algorithms._preference import Preference, PreferenceConfig, Sides, Terms
from tutelage.batches import PairBatch
from tutelage.ops.preference_losses import cpo, doubt


@dataclass(frozen=True, kw_only=True)
class CPOConfig(PreferenceConfig):
    """How CPO learns. Only the likelihood term holds it back: there is no reference."""

    beta: float = 0.1
    """scale of the implied reward, per nat of the whole answer"""
    cpo_alpha: float = 1.0
    """weight of the chosen answer's negative log-likelihood per token; 0 leaves nothing that holds the model back"""

    def sane(self) -> dict[str, bool]:
        return super().sane() | {"beta": self.beta > 0, "cpo_alpha": self.cpo_alpha >= 0}


class CPO(Preference[CPOConfig, PairBatch]):
    """L = Σ w·[−log σ(β(log π(c) − log π(r)) − margin) − α·log π(c)/|c|] / Σ w (eq. 3 and 4)."""

    Config = CPOConfig
    shown = "loss/cpo"

    def read(self, rows: Sequence[EncodedPair]) -> PairBatch:
        return batch_of(rows)

    def terms(self, batch: PairBatch, said: Sides, flipped: Tensor) -> Terms:
        config = self.config
        wrong = doubt(flipped, config.label_smoothing)
        margin = config.margin_scale * batch.margin.to(said.chosen)
        each = cpo(said.chosen, said.rejected, config.beta, margin, wrong)
        named = {"loss/cpo": each, "loss/nll": -said.chosen_mean}
        return Terms(each - config.cpo_alpha * said.chosen_mean, config.beta * (said.chosen - said.rejected), named)
