"""Encoded rows → packed tensors, without padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tutelage.batches import PairBatch, TokenBatch
from tutelage.data.template import Encoded


def pack(rows: Sequence[Encoded]) -> TokenBatch:
    """The rows back to back: int64 tokens `[T]`, bool mask `[T]`, lengths `[B]`.

    Raises:
        ValueError: no rows, or an empty one.
    """
    if not rows:
        raise ValueError("a batch needs at least one row")
    return TokenBatch.of([(row.tokens, row.mask) for row in rows])


def pair_batch(
    chosen: Sequence[Encoded],
    rejected: Sequence[Encoded],
    margin: Sequence[float] | None = None,
    weight: Sequence[float] | None = None,
) -> PairBatch:
    """P pairs, better first; `margin` [P] defaults to 0 and `weight` [P] to 1 (both float32).

    Raises:
        ValueError: lists of different lengths.
    """
    count = len(chosen)
    margin = [0.0] * count if margin is None else margin
    weight = [1.0] * count if weight is None else weight
    if not len(rejected) == len(margin) == len(weight) == count:
        raise ValueError(f"{count} chosen, {len(rejected)} rejected, {len(margin)} margins, {len(weight)} weights")
    return PairBatch(
        pack(chosen),
        pack(rejected),
        torch.tensor(margin, dtype=torch.float32),
        torch.tensor(weight, dtype=torch.float32),
    )
