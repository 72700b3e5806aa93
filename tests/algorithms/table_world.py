"""A world small enough to enumerate, as the parts of a real algorithm: table policy, table critic, exact reward."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from tutelage.algorithms._answers import Answers
from tutelage.batches import Rollouts, Scores, TokenBatch
from tutelage.models.policy import TokenScores
from tutelage.rewards import RewardSource
from tutelage.types import Prompt, Sample

V, T, STOP, START = 5, 3, 4, 5


def every_sequence() -> list[tuple[int, ...]]:
    """All answers, lexicographic."""
    found = set()
    for tokens in itertools.product(range(V), repeat=T):
        ends = [place for place, token in enumerate(tokens) if token == STOP]
        found.add(tokens[: ends[0] + 1] if ends else tokens)
    return sorted(found)


SEQUENCES = every_sequence()


def row_of(prefix: tuple[int, ...]) -> int:
    """A prefix's row of the table: by length, then lexicographic."""
    return sum(V**size for size in range(len(prefix))) + sum(
        token * V**place for place, token in enumerate(reversed(prefix))
    )


def packed(sequences: Sequence[tuple[int, ...]]) -> TokenBatch:
    """Each answer after one start token."""
    return TokenBatch.of([((START, *sequence), (False, *[True] * len(sequence))) for sequence in sequences])


def rows(batch: TokenBatch) -> Tensor:
    """int64 [tokens learned]: the table row that each learned token was drawn from (`row_of`, for all at once)."""
    before = torch.nn.functional.pad(batch.tokens, (2, 0))[:-2]
    one_before = torch.nn.functional.pad(batch.tokens, (1, 0))[:-1]
    found = torch.where(batch.positions == 2, 1 + one_before, 0)
    found = torch.where(batch.positions == 3, 1 + V + V * before + one_before, found)
    return found[batch.mask]


class TablePolicy(nn.Module):
    compute_dtype = torch.float32
    name = "table"

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(logits.clone())

    def logprobs(self, batch: TokenBatch, temperature: float = 1.0, *, keep: bool = False) -> TokenScores:
        every = torch.log_softmax(self.table / temperature, -1)[rows(batch)]
        chosen = every.gather(1, batch.tokens[batch.mask][:, None])[:, 0]
        return TokenScores(batch.answers(chosen), batch.answers(-(every.exp() * every).sum(1).detach()))

    def probability(self) -> Tensor:
        return self.logprobs(packed(SEQUENCES)).logprobs.sum(1).exp().detach()


class TableCritic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(31))

    def values(self, batch: TokenBatch, *, keep: bool = False) -> Tensor:
        return batch.answers(self.table[rows(batch)])


class Frozen:
    def __init__(self, logits: Tensor) -> None:
        self.policy = TablePolicy(logits)

    @torch.no_grad()
    def logprobs(self, batch: TokenBatch, temperature: float = 1.0, *, keep: bool = False) -> TokenScores:
        return self.policy.logprobs(batch, temperature)


class TableSampler:
    def sample(self, policy: TablePolicy, prompts: Sequence[Prompt], n: int, seed: int) -> Rollouts:
        probability = policy.probability()
        drawn = torch.multinomial(probability, len(prompts) * n, True, generator=torch.Generator().manual_seed(seed))
        answers = [SEQUENCES[index] for index in drawn.tolist()]
        batch = packed(answers)
        stopped = torch.tensor([answer[-1] == STOP for answer in answers])
        samples = tuple(Sample(str(i), prompts[i // n], "".join(map(str, answer))) for i, answer in enumerate(answers))
        return Rollouts(batch, policy.logprobs(batch).logprobs.detach(), stopped, samples)


@dataclass
class TableReward(RewardSource):
    reward: Tensor

    @cached_property
    def by_text(self) -> dict[str, float]:
        return {"".join(map(str, s)): float(r) for s, r in zip(SEQUENCES, self.reward, strict=True)}

    def score(self, samples: Sequence[Sample]) -> Scores:
        value = torch.tensor([self.by_text[sample.text] for sample in samples])
        return Scores(value, {"table": value})


class Prompts:
    held_out: tuple[Prompt, ...] = ()

    def __init__(self, size: int) -> None:
        self.size = size

    def batch(self, step: int) -> list[Prompt]:
        return [Prompt(str(i), "") for i in range(self.size)]


class World:
    """The parts that `ActorCritic` and `DPO` ask for."""

    watch = None

    def __init__(self, logits: Tensor, reward: Tensor, batch_size: int) -> None:
        self.policy = TablePolicy(logits)
        self.reference = Frozen(logits)
        self.critic = TableCritic()
        self.reward = TableReward(reward)
        self.sampler = TableSampler()
        self.prompts = Prompts(batch_size)
        self.logits, self.rewards = logits, reward

    def optimum(self, beta: float) -> Tensor:
        """[S]: ref · exp(reward/β)/Z."""
        return torch.softmax(TablePolicy(self.logits).probability().log() + self.rewards / beta, 0)

    def distance(self, beta: float) -> float:
        """Total variation between the policy and the optimum."""
        return 0.5 * float((self.policy.probability() - self.optimum(beta)).abs().sum())


def golden_or_own(shared_case: dict | None) -> tuple[Tensor, Tensor]:
    """Reference logits [31, 5] and rewards [85]: the golden ones, or numbers of our own where those are absent."""
    if shared_case is not None:
        return torch.tensor(shared_case["logits_table"]), torch.tensor(shared_case["reward"])
    rng = torch.Generator().manual_seed(3)
    return 0.8 * torch.randn(31, V, generator=rng), torch.randn(len(SEQUENCES), generator=rng)


def answered(parts: World, sequences: Sequence[tuple[int, ...]], n: int = 1, score: Tensor | None = None) -> Answers:
    """`n` answers to each prompt, taken as given instead of drawn; their scores are the world's unless told."""
    batch = packed(sequences)
    index = {sequence: place for place, sequence in enumerate(SEQUENCES)}
    found = parts.rewards[[index[sequence] for sequence in sequences]] if score is None else score
    with torch.no_grad():
        now, reference = parts.policy.logprobs(batch), parts.reference.logprobs(batch).logprobs
    stopped = torch.tensor([sequence[-1] == STOP for sequence in sequences])
    samples = tuple(Sample(str(i), Prompt(str(i // n), ""), "".join(map(str, s))) for i, s in enumerate(sequences))
    rollouts = Rollouts(batch, now.logprobs, stopped, samples)
    found = found.to(now.logprobs)
    return Answers(rollouts, Scores(found, {}), found, now.logprobs, reference, now.entropy, n, step=0)
