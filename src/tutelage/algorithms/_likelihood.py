"""The likelihood of learned tokens: what pretraining and fine-tuning share."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from tutelage.batches import Loss, TokenBatch
from tutelage.data.pack import pack
from tutelage.data.template import Encoded
from tutelage.models.policy import Policy
from tutelage.ops.losses import nll
from tutelage.ops.masked import masked_mean

_EVAL_ROWS = 64


def token_loss(policy: Policy, batch: TokenBatch, temperature: float = 1.0) -> Loss:
    """L = −Σ log p(learned token) / number of learned tokens of the whole optimiser step."""
    scores = policy.logprobs(batch, temperature)
    mask = batch.answer_mask
    total = masked_mean(nll(scores.logprobs), mask)
    metrics = {"loss/nll": total.detach(), "loss/entropy": masked_mean(scores.entropy, mask)}
    return Loss(total, mask.sum().float(), metrics)


@torch.no_grad()
def held_out_loss(policy: Policy, rows: Iterable[Encoded]) -> dict[str, float]:
    """Mean loss per learned token and perplexity over all of `rows`; nothing if there are none."""
    listed = list(rows)
    total = weight = 0.0
    for start in range(0, len(listed), _EVAL_ROWS):
        loss = token_loss(policy, pack(listed[start : start + _EVAL_ROWS]))
        total += float(loss.total) * float(loss.weight)
        weight += float(loss.weight)
    return {"eval/nll": total / weight, "eval/perplexity": math.exp(min(total / weight, 50.0))} if weight else {}
