"""What a model thinks of answers: the log-probability of every token of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tutelage.batches import TokenBatch
from tutelage.models.policy import Policy

Row = tuple[Sequence[int], Sequence[bool]]


@torch.no_grad()
def answer_logprobs(
    policy: Policy, rows: Sequence[Row], *, temperature: float = 1.0, tokens_per_part: int = 8192
) -> list[list[float]]:
    """log p of every learned token of every `(token ids, mask)` row, in the rows' order.

    Rows of like length are computed together, at most `tokens_per_part` tokens at once.
    """
    order = sorted(range(len(rows)), key=lambda index: len(rows[index][0]))
    out: list[list[float]] = [[] for _ in rows]
    for part in _parts(order, [len(tokens) for tokens, _ in rows], tokens_per_part):
        batch = TokenBatch.of([rows[index] for index in part])
        scores = policy.logprobs(batch, temperature=temperature).logprobs.float().cpu()
        for index, line, count in zip(part, scores, batch.answer_lengths.tolist(), strict=True):
            out[index] = line[:count].tolist()
    return out


def _parts(order: Sequence[int], sizes: Sequence[int], limit: int) -> list[list[int]]:
    parts: list[list[int]] = []
    total = limit + 1
    for index in order:
        if total + sizes[index] > limit:
            parts.append([])
            total = 0
        parts[-1].append(index)
        total += sizes[index]
    return parts
