"""The scored answers of one step, and what their tokens are paid: where the score lands, what drifting costs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from tutelage.batches import Rollouts, Scores, TokenBatch
from tutelage.ops.masked import masked_sum
from tutelage.ops.shaping import at_last, kl_penalty
from tutelage.types import Prompt


@dataclass(frozen=True)
class Answers:
    """The answers to the prompts of one step: row i·n + j is answer j of prompt i.

    Credit is given here, where groups are whole; what is cut into minibatches and parts afterwards is credit, so no
    cut can tear a group apart.
    """

    rollouts: Rollouts
    scores: Scores
    """as the reward source gave them"""
    score: Tensor
    """float32 [B]: centred, clipped, less the penalty of an answer that was cut off"""
    logprobs: Tensor
    """float32 [B, R]: of the policy, by the training forward"""
    reference: Tensor
    """float32 [B, R]: of the frozen reference"""
    entropy: Tensor
    """float32 [B, R]"""
    n: int
    """answers per prompt"""
    step: int

    @property
    def prompts(self) -> list[Prompt]:
        """Of each group, in order."""
        return [sample.prompt for sample in self.rollouts.samples[:: self.n]]

    @property
    def batch(self) -> TokenBatch:
        """Prompts and answers, packed."""
        return self.rollouts.batch

    @cached_property
    def mask(self) -> Tensor:
        """bool [B, R], on the device of the log-probabilities"""
        return self.batch.answer_mask.to(self.logprobs.device)

    @cached_property
    def groups(self) -> Tensor:
        """int64 [B]: which prompt of the step each answer belongs to, by its place (a prompt may stand there twice)"""
        return torch.arange(len(self), device=self.score.device) // self.n

    @cached_property
    def kl(self) -> Tensor:
        """float32 [B]: log π − log π_ref of each answer, in nats; its mean estimates the KL to the reference"""
        return masked_sum(self.logprobs - self.reference, self.mask, dim=1)

    def token_rewards(self, price: float) -> Tensor:
        """float32 [B, R]: the drift's price on every token (k1), the score on the last one."""
        return at_last(self.score, self.mask) + kl_penalty(self.logprobs, self.reference, self.mask, price)

    def rewards(self, price: float) -> Tensor:
        """float32 [B]: score − price·(log π − log π_ref) of each answer."""
        return self.token_rewards(price).sum(1)

    def __len__(self) -> int:
        return len(self.rollouts)
