"""Direct preference optimisation: learns from pairs without a reward model (Rafailov et al. 2023, 2305.18290)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.algorithms._base import EncodedPair, Parts
from tutelage.algorithms._known_reference import KnownReference
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

    precompute_reference: bool = False
    """ask the reference about all pairs before training and keep its answers in the run folder: no copy of the model is
    held then, and no pair is scored by it twice; the same loss but for rounding"""


class DPO(Preference[DPOConfig, ScoredPairs]):
    """L = Σ w·[−(1−ε) log σ(βh) − ε log σ(−βh)] / Σ w, h = (log π/π_ref)(chosen) − (log π/π_ref)(rejected) (eq. 7).

    Or another loss of h, by its name.
    """

    Config = DPOConfig
    shown = "loss/dpo"

    def __init__(self, config: DPOConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        # asked now: a checkpoint may soon replace the policy's weights
        self.reference = parts.known_reference if config.precompute_reference else parts.reference

    def read(self, rows: Sequence[EncodedPair]) -> ScoredPairs:
        pairs = batch_of(rows)
        if isinstance(self.reference, KnownReference):
            return self.reference.scored(rows, pairs)
        return scored(self.reference, pairs)

    def terms(self, batch: ScoredPairs, said: Sides, flipped: Tensor) -> Terms:
        return referenced(batch, said, flipped, self.config, self.config.margin_scale)

    @torch.no_grad()
    def preflight(self, batch: ScoredPairs) -> dict[str, float]:
        """The policy is the reference, so h = 0 and the DPO loss is ln 2."""
        said = sides(self.parts.policy, batch)
        return check_start(batch, said, *labels(batch, self.config, said.chosen), self.config)
