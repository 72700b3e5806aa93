"""Direct preference optimisation: learns from pairs without a reward model (Rafailov et al. 2023, 2305.18290)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.algorithms._base import EncodedPair, Parts
from tutelage.algorithms._pairs import batch_of
from tutelage.algorithms._preference import (
    Preference,
    PreferenceConfig,
    ReferencedConfig,
    Sides,
    Terms,
    check_start,
    labels,
    referenced,
    scored,
    sides,
)
from tutelage.batches import ScoredPairs


@dataclass(frozen=True, kw_only=True)
class DPOConfig(PreferenceConfig, ReferencedConfig):
    """How direct preference optimisation learns."""


class DPO(Preference[DPOConfig, ScoredPairs]):
    """L = Σ w·[−(1−ε) log σ(βh) − ε log σ(−βh)] / Σ w, h = (log π/π_ref)(chosen) − (log π/π_ref)(rejected) (eq. 7).

    Or another loss of h, by its name.
    """

    Config = DPOConfig
    shown = "loss/dpo"

    def __init__(self, config: DPOConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        # taken now: it copies the policy, whose weights a checkpoint may soon replace
        self.reference = parts.reference

    def read(self, rows: Sequence[EncodedPair]) -> ScoredPairs:
        return scored(self.reference, batch_of(rows))

    def terms(self, batch: ScoredPairs, said: Sides, flipped: Tensor) -> Terms:
        return referenced(batch, said, flipped, self.config, self.config.margin_scale)

    @torch.no_grad()
    def preflight(self, batch: ScoredPairs) -> dict[str, float]:
        """The policy is the reference, so h = 0 and the DPO loss is ln 2."""
        said = sides(self.parts.policy, batch)
        return check_start(batch, said, *labels(batch, self.config, said.chosen), self.config)
