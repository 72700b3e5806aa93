"""What models think of answers: perplexity under a base model, sequence KL to a reference."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import torch

from tutelage.batches import TokenBatch
from tutelage.eval._base import Measure, bootstrap_mean, standard_error
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


def perplexity(logprobs: Sequence[Sequence[float]], clusters: Sequence[Hashable] | None = None) -> Measure:
    """exp(mean negative log-probability per token), ≥ 1; the interval is a bootstrap over `clusters`.

    Raises:
        ValueError: no answer holds a token.
    """
    keep = [index for index, line in enumerate(logprobs) if line]
    if not keep:
        raise ValueError("no tokens to be surprised by")
    groups = None if clusters is None else [clusters[index] for index in keep]
    weights = [float(len(logprobs[index])) for index in keep]
    mean = bootstrap_mean([-sum(logprobs[i]) / len(logprobs[i]) for i in keep], groups, weights)
    how = "exp of the mean surprise per token; bootstrap by prompt"
    low, high = (None if end is None else math.exp(end) for end in (mean.low, mean.high))
    return Measure(math.exp(mean.value), low, high, mean.n, how)


def sequence_kl(own: Sequence[float], reference: Sequence[float]) -> Measure:
    """KL(model ‖ reference) per answer in nats: mean of Σ log π - Σ log π_ref over answers that π sampled (k1).

    The estimate is unbiased but may come out below 0 by noise; below -3 standard errors something is wrong with the
    sampler or the mask. The interval is mean ± 1.96 standard errors.

    Raises:
        ValueError: no answers, or not as many of both.
    """
    if not own or len(own) != len(reference):
        raise ValueError(f"{len(own)} answers of the model, {len(reference)} of the reference")
    gaps = [mine - theirs for mine, theirs in zip(own, reference, strict=True)]
    mean, error = sum(gaps) / len(gaps), standard_error(gaps)
    how = f"mean of log π - log π_ref per sampled answer, nats; s.e. {error:.3g}"
    return Measure(mean, mean - 1.96 * error, mean + 1.96 * error, len(gaps), how)


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
