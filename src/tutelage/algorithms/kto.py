"""Kahneman-Tversky optimisation: learns from single answers that were called good or bad (Ethayarajh et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tutelage.algorithms._base import Algorithm, EncodedUnpaired, Parts, TrainConfig
from tutelage.algorithms._pairs import weighted_mean
from tutelage.batches import JudgedAnswers, Loss, TokenBatch
from tutelage.data.pack import pack
from tutelage.data.template import Encoded
from tutelage.errors import DataError, DivergedError
from tutelage.ops.preference_losses import kto

_AT_ONCE = 64
"""Answers in one forward pass that needs no gradient."""
_SHIFTS = 6
"""How many rows less one answers may move on, in search of other prompts."""
_START_LIMIT = 0.05
"""How far a first log-ratio may lie from 0, in nats."""


@dataclass(frozen=True, kw_only=True)
class KTOConfig(TrainConfig):
    """How Kahneman-Tversky optimisation learns."""

    learning_rate: float = 1e-6
    """peak learning rate; 1e-5 to 1e-4 for models below 5 million parameters"""
    batch_size: int = 32
    """answers per optimiser step, at least 2: each prompt is also read with another row's answer, to estimate the KL"""
    beta: float = 0.1
    """how dearly drifting from the reference is paid for"""
    desirable_weight: float = 1.0
    """weight of good answers; keep weight × number of the rarer kind at 1 to 4/3 of the other's (paper, eq. 9)"""
    undesirable_weight: float = 1.0
    """weight of bad answers"""

    def sane(self) -> dict[str, bool]:
        return super().sane() | {
            "batch_size": self.batch_size >= 2,
            "beta": self.beta > 0,
            "desirable_weight": self.desirable_weight >= 0,
            "undesirable_weight": self.undesirable_weight >= 0,
        }


class KTO(Algorithm[KTOConfig, JudgedAnswers]):
    """L = Σ w·λ·[1 − σ(±β(log π/π_ref − z))] / Σ w, + and λ_D for good answers, − and λ_U for bad ones (eq. 8).

    z = max(0, mean of log π/π_ref over prompts with another row's answer) over the whole step; it has no gradient.
    """

    Config = KTOConfig
    kind = "unpaired"

    def __init__(self, config: KTOConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        # taken now: it copies the policy, whose weights a checkpoint may soon replace
        self.reference = parts.reference

    def modules(self) -> dict[str, nn.Module]:
        return {"policy": self.parts.policy}

    def collect(self, step: int) -> JudgedAnswers:
        rows = self.parts.unpaired.batch(step)
        return self._judged(rows, self.baseline(rows))

    @torch.no_grad()
    def _judged(self, rows: Sequence[EncodedUnpaired], baseline: Tensor) -> JudgedAnswers:
        batch = pack([row.answer for row in rows])
        return JudgedAnswers(
            batch,
            torch.tensor([row.row.label for row in rows]),
            torch.tensor([row.row.weight for row in rows]),
            self.reference.logprobs(batch).logprobs.sum(1),
            baseline.expand(len(rows)),
        )

    @torch.no_grad()
    def baseline(self, rows: Sequence[EncodedUnpaired]) -> Tensor:
        """z, []: how far the policy has drifted on answers that do not belong to their prompts; at least 0.

        Raises:
            DataError: all rows are one and the same, so none has another's answer.
        """
        pairs = mismatched(rows)
        if not pairs:
            raise DataError(
                "all answers of a step are the same row: nothing is left to estimate the KL from",
                fix="give more rows, or raise --batch-size",
            )
        limit = self.parts.renderer.max_length or self.config.max_length
        swapped = [other_answer(rows[i].answer, rows[j].answer, limit) for i, j in pairs]
        parts = [pack(swapped[start : start + _AT_ONCE]) for start in range(0, len(swapped), _AT_ONCE)]
        return torch.cat([self._gap(part) for part in parts]).mean().clamp(min=0)

    def _gap(self, batch: TokenBatch) -> Tensor:
        policy, reference = self.parts.policy.logprobs(batch), self.reference.logprobs(batch)
        return policy.logprobs.sum(1) - reference.logprobs.sum(1)

    def loss(self, batch: JudgedAnswers) -> Loss:
        config = self.config
        logp = self.parts.policy.logprobs(batch.batch).logprobs.sum(1)
        gap, good, weight = logp - batch.reference.to(logp), batch.good.to(logp.device), batch.weight.to(logp)
        each = kto(gap, good, batch.baseline.to(logp), config.beta)
        each = each * torch.where(good, config.desirable_weight, config.undesirable_weight)
        ahead = config.beta * (torch.where(good, 1.0, -1.0) * (gap - batch.baseline.to(logp))).detach()
        right = (ahead > 0).float() + 0.5 * (ahead == 0).float()
        metrics = {
            "loss/kto": weighted_mean(each, weight).detach(),
            "reward/accuracy": weighted_mean(right, weight),
            "reward/margin": weighted_mean(ahead, weight),
            "policy/kl_estimate": weighted_mean(batch.baseline.to(logp), weight),
            "data/good": weighted_mean(good.float(), weight),
        }
        return Loss(weighted_mean(each, weight), weight.sum(), metrics)

    @torch.no_grad()
    def preflight(self, batch: JudgedAnswers) -> dict[str, float]:
        """The policy is the reference, so every log-ratio and z are 0 and an answer costs half its weight."""
        ratio = float(self._gap(batch.batch).abs().max())
        drift = float(batch.baseline.max())
        if not max(ratio, drift) <= _START_LIMIT:
            raise DivergedError(
                f"before the first update a log-ratio is {ratio:.3g} and the KL {drift:.3g}, not 0: "
                "the reference is not the starting model",
                fix="this is a bug of tutelage or of the model's adapter; report it with the model's config.json",
            )
        return {"preflight/log_ratio": ratio, "preflight/kl": drift}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        rows, size = self.parts.unpaired.held_out, self.config.batch_size
        if not mismatched(rows):
            return {}
        baseline = self.baseline(rows)
        losses = [self.loss(self._judged(rows[at : at + size], baseline)) for at in range(0, len(rows), size)]
        whole = sum(float(loss.weight) for loss in losses)
        names = ("loss/kto", "reward/accuracy", "reward/margin") if whole else ()
        return {
            f"eval/{name.rpartition('/')[2]}": sum(float(loss.metrics[name]) * float(loss.weight) for loss in losses)
            / whole
            for name in names
        }


def mismatched(rows: Sequence[EncodedUnpaired]) -> list[tuple[int, int]]:
    """(i, j): whose prompt is read with whose answer; every i once, and never with a j that is the same row.

    The answers move on by one row; by more where that pairs fewer rows with another answer to their own prompt. A row
    that stands in the batch twice (where one pass over the data ends and the next begins) is left out where it meets
    itself.
    """
    prompts = [row.answer.tokens[: _start(row.answer)] for row in rows]

    def meets_own(shift: int) -> int:
        return sum(prompts[i] == prompts[(i + shift) % len(rows)] for i in range(len(rows)))

    if len(rows) < 2:
        return []
    shift = min(range(1, min(len(rows), _SHIFTS)), key=meets_own)
    pairs = [(i, (i + shift) % len(rows)) for i in range(len(rows))]
    return [(i, j) for i, j in pairs if rows[i] is not rows[j]]


def other_answer(row: Encoded, other: Encoded, limit: int) -> Encoded:
    """The prompt of `row` with the answer of `other`; the prompt loses its beginning where both are over `limit`."""
    prompt, at = row.tokens[: _start(row)], _start(other)
    answer, mask = other.tokens[at:], other.mask[at:]
    prompt = prompt[max(0, min(len(prompt) - 1, len(prompt) + len(answer) - limit)) :]
    return Encoded(prompt + answer, [False] * len(prompt) + mask)


def _start(row: Encoded) -> int:
    """Where the answer begins: all before it is the prompt."""
    return row.mask.index(True)
