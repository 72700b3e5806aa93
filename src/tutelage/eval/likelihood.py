"""What a model thinks of answers: the log-probability of every token of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tutelage.batches import TokenBatch
from tutelage.models.policy import Policy

Row = tuple[Sequence[int], Sequence[bool]]


@torch.no_grad()
def answer_logprobs(policy: Policy, rows: Sequence[Row], *, temperature: float = 1.0) -> list[list[float]]:
    """log p of every learned token of every `(token ids, mask)` row, in the rows' order."""
    if not rows:
        return []
    batch = TokenBatch.of(rows)
    scores = policy.logprobs(batch, temperature=temperature).logprobs.float().cpu()
    return [line[:count].tolist() for line, count in zip(scores, batch.answer_lengths.tolist(), strict=True)]
