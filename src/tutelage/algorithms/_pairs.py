"""Pairs of answers: what reward modelling and direct preference learning share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tutelage.algorithms._base import EncodedPair
from tutelage.batches import PairBatch
from tutelage.data.pack import pair_batch


def batch_of(pairs: Sequence[EncodedPair]) -> PairBatch:
    """Tokenised preferences as a batch, with their margins and weights."""
    return pair_batch(
        [pair.chosen for pair in pairs],
        [pair.rejected for pair in pairs],
        [pair.row.margin for pair in pairs],
        [pair.row.weight for pair in pairs],
    )


def weighted_mean(each: Tensor, weight: Tensor) -> Tensor:
    """Σ w·x / Σ w over pairs, both [P]; 0 where all weights are 0, as in a part of a batch that holds only such."""
    whole = weight.sum()
    return (each * weight).sum() / torch.where(whole > 0, whole, torch.ones_like(whole))
