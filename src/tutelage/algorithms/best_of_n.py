"""Best of n: sample n answers, keep the best by the reward, learn it by likelihood (rejection sampling, RAFT)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tutelage.algorithms._answers import Answers
from tutelage.algorithms._likelihood import token_loss
from tutelage.algorithms._online import Online, OnlineConfig
from tutelage.batches import Loss, TokenBatch
from tutelage.errors import UsageError
from tutelage.ops.best_of import expected_best, kl_bound, pick
from tutelage.ops.returns import constant_groups
from tutelage.ops.seeds import derive


@dataclass(frozen=True, kw_only=True)
class BestOfNConfig(OnlineConfig):
    """How rejection sampling learns. Nothing pulls it back to the reference: use --stop-at-kl."""

    answers: int = 8
    """answers sampled for each prompt, at least 2; the best one is learned"""
    kl: float = 0.0
    """price of a nat of drift, taken from the score before answers are compared"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.answers < 2:
            raise UsageError(f"answers = {self.answers}: the best of one is any", fix="--answers 2 or more")


class BestOfN(Online[BestOfNConfig, TokenBatch]):
    """L = −Σ log π(y_t) / tokens, y the best of n answers to each prompt (RAFT, Dong et al. 2023, 2304.06767)."""

    Config = BestOfNConfig

    def credit(self, answers: Answers) -> TokenBatch:
        """The best answer to each prompt; among equals the lot decides."""
        value = answers.rewards(self.kl.coef).view(-1, answers.n)
        draw = torch.Generator().manual_seed(derive(self.config.seed, answers.step, "ties"))
        best = pick(value, torch.rand(value.shape, generator=draw).to(value)).cpu()
        rows = (torch.arange(len(value)) * answers.n + best).tolist()
        scores = answers.scores.value.view(-1, answers.n)
        self._metrics |= {
            "reward/best": float(scores.view(-1)[rows].mean()),
            "groups/zero_variance": float(constant_groups(answers.score, answers.groups).float().mean()),
        }
        for n in _sizes(answers.n):
            self._metrics |= {
                f"best_of/{n}": float(expected_best(scores, n).mean()),
                f"best_of/{n}_kl": kl_bound(n),
            }
        return answers.batch.select(rows)

    def loss(self, batch: TokenBatch) -> Loss:
        return token_loss(self.parts.policy, batch, self.config.temperature)


def _sizes(n: int) -> list[int]:
    """1, 2, 4 … up to n, and n itself."""
    return sorted({2**power for power in range(n.bit_length()) if 2**power <= n} | {n})
