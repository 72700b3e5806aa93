"""Golden values and a language model small enough to enumerate, in float64."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tutelage.ops.losses import clipped_surrogate
from tutelage.ops.masked import keep
from tutelage.ops.returns import gae
from tutelage.ops.shaping import at_last, kl_penalty


@pytest.fixture(scope="session")
def golden(shared: Path) -> Callable[[str], Any]:
    """`golden("gae")` → what other people's implementations answered, floats as float64 tensors."""
    return lambda name: _tensors(json.loads((shared / "oracles" / f"{name}.json").read_text(encoding="utf-8")))


def _tensors(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tensors(entry) for key, entry in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [_tensors(entry) for entry in value]
    if isinstance(value, list):
        tensor = torch.tensor(value)
        return tensor.double() if tensor.is_floating_point() else tensor
    return value


@dataclass(frozen=True)
class EnumerableLM:
    """A table of logits, one row per prefix: every sequence, probability and gradient can be written out.

    Vocabulary V with its last token as the stop token; a sequence ends at the stop token or at T tokens.
    """

    vocabulary: int
    length: int
    reference: Tensor
    """[prefixes, V] logits of the reference policy"""
    reward: Tensor
    """[S]"""
    cost: Tensor
    """[S]"""
    sequences: tuple[tuple[int, ...], ...]
    """all of them, lexicographic"""

    @classmethod
    def of(cls, reference: Tensor, reward: Tensor, cost: Tensor, vocabulary: int = 5, length: int = 3) -> EnumerableLM:
        stop, found = vocabulary - 1, []
        for tokens in itertools.product(range(vocabulary), repeat=length):
            ends = [index for index, token in enumerate(tokens) if token == stop]
            found.append(tokens[: ends[0] + 1] if ends else tokens)
        return cls(vocabulary, length, reference, reward, cost, tuple(sorted(set(found))))

    def prefix_row(self, prefix: tuple[int, ...]) -> int:
        """The table's row: prefixes stand by length, then lexicographically."""
        before = sum(self.vocabulary**size for size in range(len(prefix)))
        return before + sum(token * self.vocabulary**place for place, token in enumerate(reversed(prefix)))

    @cached_property
    def mask(self) -> Tensor:
        """bool [S, T]"""
        lengths = torch.tensor([len(sequence) for sequence in self.sequences])
        return torch.arange(self.length)[None] < lengths[:, None]

    @cached_property
    def tokens(self) -> Tensor:
        """int64 [S, T], padded with the stop token: a mask read off the ids would be wrong."""
        stop = self.vocabulary - 1
        return torch.tensor([[*sequence, *[stop] * (self.length - len(sequence))] for sequence in self.sequences])

    @cached_property
    def rows(self) -> Tensor:
        """int64 [S, T]: the table row that each token was drawn from."""
        out = torch.zeros(len(self.sequences), self.length, dtype=torch.int64)
        for index, sequence in enumerate(self.sequences):
            for place in range(len(sequence)):
                out[index, place] = self.prefix_row(sequence[:place])
        return out

    def logp(self, table: Tensor) -> Tensor:
        """[S, T] per token, 0 where padded."""
        every = torch.log_softmax(table, -1)[self.rows, self.tokens]
        return torch.where(self.mask, every, torch.zeros_like(every))

    def probability(self, table: Tensor) -> Tensor:
        """[S], sums to 1."""
        return self.logp(table).sum(1).exp()

    def kl(self, table: Tensor) -> Tensor:
        """KL(policy ‖ reference) between sequences, []."""
        gap = (self.logp(table) - self.logp(self.reference)).sum(1)
        return (self.probability(table) * gap).sum()

    def objective(self, table: Tensor, beta: float) -> Tensor:
        """E[reward] − β·KL, []."""
        return (self.probability(table) * self.reward).sum() - beta * self.kl(table)

    def gradient(self, table: Tensor, beta: float) -> Tensor:
        """Of `objective`, exact, the shape of `table`."""
        leaf = table.detach().clone().requires_grad_()
        return torch.autograd.grad(self.objective(leaf, beta), leaf)[0]

    def optimum(self, beta: float) -> Tensor:
        """[S]: ref · exp(reward/β) / Z, where `objective` is largest."""
        return torch.softmax(self.logp(self.reference).sum(1) + self.reward / beta, 0)

    def distance(self, table: Tensor, target: Tensor) -> float:
        """Total variation between the policy and `target` [S], in [0, 1]."""
        return 0.5 * float((self.probability(table.detach()) - target).abs().sum())

    def token_rewards(self, logp: Tensor, beta: float) -> Tensor:
        """[S, T]: the score on the last token, minus β·k1 on each."""
        return at_last(self.reward, self.mask) + kl_penalty(logp, self.logp(self.reference), self.mask, beta)

    def values(self, table: Tensor, beta: float) -> Tensor:
        """[S, T]: the expected return from the prefix before each token on, by enumeration."""
        table = table.detach()
        to_go = self.token_rewards(self.logp(table), beta).flip(1).cumsum(1).flip(1)
        weight = torch.where(self.mask, self.probability(table)[:, None], 0.0)
        total = torch.zeros(len(table), dtype=torch.float64)
        total.index_add_(0, self.rows.flatten(), (weight * to_go).flatten())
        mass = torch.zeros_like(total).index_add_(0, self.rows.flatten(), weight.flatten())
        return keep((total / mass)[self.rows], self.mask)

    def surrogate(self, table: Tensor, beta: float, lam: float = 1.0, values: Tensor | None = None) -> Tensor:
        """[S]: PPO's loss of each sequence on policy, summed over its tokens, built from `tutelage.ops` alone."""
        logp = self.logp(table)
        critic = torch.zeros_like(logp) if values is None else values
        advantages, _ = gae(self.token_rewards(logp, beta), critic, self.mask, 1.0, lam)
        return keep(clipped_surrogate(logp, logp, advantages), self.mask).sum(1)


@pytest.fixture(scope="session")
def enumerable() -> EnumerableLM:
    """The same kind of model as the golden one, with numbers of our own: needs no shared data."""
    rng = torch.Generator().manual_seed(3)
    prefixes, sequences = 31, 85
    return EnumerableLM.of(
        reference=0.8 * torch.randn(prefixes, 5, dtype=torch.float64, generator=rng),
        reward=torch.randn(sequences, dtype=torch.float64, generator=rng),
        cost=torch.randn(sequences, dtype=torch.float64, generator=rng),
    )


@pytest.fixture(scope="session")
def golden_lm(golden: Callable[[str], Any]) -> EnumerableLM:
    """The model of the golden values, which the limits on the total variation were set for."""
    case = golden("enumerable_lm")
    return EnumerableLM.of(case["logits_table"], case["reward"], case["cost"], case["vocab"], case["max_len"])


@pytest.fixture
def policy_table(enumerable: EnumerableLM) -> Tensor:
    """Logits of a policy away from the reference and from the optimum."""
    rng = torch.Generator().manual_seed(11)
    return enumerable.reference + 0.7 * torch.randn(enumerable.reference.shape, dtype=torch.float64, generator=rng)
