"""The tensors that flow, one frozen type per stage.

TokenBatch (SFT, scoring) · PairBatch → ScoredPairs (reward model, DPO) · Rollouts → Scores → Experience (online) · Loss

Two layouts, and only two:
- *packed* `[T]`: the tokens of B sequences back to back, no padding; only attention knows where one ends;
- *answers* `[B, R]`: one number per learned token (mask = True) of each sequence, in order, right-padded with 0.
  Position r of row b is about that token itself: `logprobs[b, r] = log p(token | everything before it)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import NamedTuple, Protocol, Self, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from tutelage.types import Sample

B = TypeVar("B", bound="PairBatch | JudgedAnswers | Credited")


class Prompted(NamedTuple):
    """What comes before the answers of an element."""

    size: int
    """tokens"""
    key: bytes
    """which; another for each that has none"""
    answers: int = 1
    """sequences of the element that begin with it"""


class Batch(Protocol):
    """Anything that a loss is computed on: it can be counted and cut by sequence."""

    def __len__(self) -> int:
        """How many sequences, pairs or rollouts."""
        ...

    def sizes(self) -> list[int]:
        """Real tokens of each element, for splitting into parts that fit in memory."""
        ...

    def prompts(self) -> Sequence[Prompted]:
        """The prompt of each element: those that share one are computed with it once."""
        ...

    def select(self, rows: Sequence[int]) -> Self:
        """The elements `rows`, in that order."""
        ...


def onto(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; to a GPU through pinned memory, so that the host goes on before the copy has arrived."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@dataclass(frozen=True)
class TokenBatch:
    """B sequences, packed.

    Example:
        >>> batch = TokenBatch.of([([5, 6, 7, 1], [False, False, True, True]), ([5, 8, 1], [False, True, True])])
        >>> len(batch), batch.tokens.shape, batch.answer_mask.sum(1).tolist()
        (2, torch.Size([7]), [2, 2])
    """

    tokens: Tensor
    """int64 [T]"""
    lengths: Tensor
    """int64 [B], on the CPU; sums to T"""
    mask: Tensor
    """bool [T]: True = a learned (or sampled) token; never True for the first token of a sequence"""

    @classmethod
    def of(cls, rows: Sequence[tuple[Sequence[int], Sequence[bool]]]) -> TokenBatch:
        """Pack `(token ids, mask)` rows.

        Raises:
            ValueError: an empty row, a row whose mask has another length, or one that asks to learn its first token.
        """
        for index, (tokens, mask) in enumerate(rows):
            if not tokens or len(tokens) != len(mask):
                raise ValueError(f"row {index}: {len(tokens)} tokens and {len(mask)} mask values")
            if mask[0]:
                raise ValueError(f"row {index}: nothing precedes its first token, so it cannot be learned")
        return cls(
            torch.tensor([token for tokens, _ in rows for token in tokens], dtype=torch.int64),
            torch.tensor([len(tokens) for tokens, _ in rows], dtype=torch.int64),
            torch.tensor([value for _, mask in rows for value in mask], dtype=torch.bool),
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def sizes(self) -> list[int]:
        return self.lengths.tolist()

    @cached_property
    def starts(self) -> Tensor:
        """int64 [B]: where each sequence begins in `tokens`."""
        return torch.cumsum(self.lengths, 0) - self.lengths

    @cached_property
    def rows(self) -> Tensor:
        """int64 [T]: the sequence each token belongs to."""
        return torch.repeat_interleave(torch.arange(len(self)), self.lengths)

    @cached_property
    def positions(self) -> Tensor:
        """int64 [T]: 0, 1, 2 … within each sequence."""
        return torch.arange(int(self.lengths.sum())) - self.starts[self.rows]

    @cached_property
    def answer_lengths(self) -> Tensor:
        """int64 [B]: learned tokens of each sequence."""
        return torch.zeros(len(self), dtype=torch.int64).index_add_(0, self.rows, self.mask.cpu().long())

    @cached_property
    def answer_mask(self) -> Tensor:
        """bool [B, R], R = the largest number of learned tokens (at least 1)."""
        width = max(1, int(self.answer_lengths.max()))
        return (torch.arange(width)[None] < self.answer_lengths[:, None]).to(self.mask.device)

    def prompts(self) -> list[Prompted]:
        """What precedes the first learned token of each sequence."""
        return self._prompts

    @cached_property
    def _prompts(self) -> list[Prompted]:
        tokens, mask, found = self.tokens.cpu().numpy(), self.mask.cpu().numpy(), list[Prompted]()
        for row, (start, length) in enumerate(zip(self.starts.tolist(), self.sizes(), strict=True)):
            size = int(mask[start : start + length].argmax())
            found.append(Prompted(size, tokens[start : start + size].tobytes() if size else f"alone {row}".encode()))
        return found

    @property
    def answer_tokens(self) -> Tensor:
        """int64 [B, R]: the learned tokens themselves."""
        return self.answers(self.tokens[self.mask])

    def answers(self, values: Tensor) -> Tensor:
        """Lay one value per learned token, `[mask.sum()]`, out as `[B, R]`, right-padded with 0 (differentiable)."""
        out = values.new_zeros(self.answer_mask.shape)
        return out.masked_scatter(onto(self.answer_mask, values.device), values)

    def select(self, rows: Sequence[int]) -> TokenBatch:
        starts, lengths = self.starts.tolist(), self.lengths.tolist()
        take = torch.cat([torch.arange(starts[row], starts[row] + lengths[row]) for row in rows])
        return TokenBatch(self.tokens[take], self.lengths[list(rows)], self.mask[take])

    @classmethod
    def cat(cls, batches: Sequence[TokenBatch]) -> TokenBatch:
        """One batch after another."""
        return cls(
            torch.cat([batch.tokens for batch in batches]),
            torch.cat([batch.lengths for batch in batches]),
            torch.cat([batch.mask for batch in batches]),
        )


@dataclass(frozen=True)
class PairBatch:
    """P pairs of answers, better first."""

    chosen: TokenBatch
    rejected: TokenBatch
    margin: Tensor
    """float32 [P]"""
    weight: Tensor
    """float32 [P]"""

    def __len__(self) -> int:
        return len(self.chosen)

    def sizes(self) -> list[int]:
        return [left + right for left, right in zip(self.chosen.sizes(), self.rejected.sizes(), strict=True)]

    def prompts(self) -> list[Prompted]:
        return [each._replace(answers=2) for each in self.chosen.prompts()]

    def select(self, rows: Sequence[int]) -> Self:
        return _select(self, rows)


@dataclass(frozen=True)
class ScoredPairs(PairBatch):
    """Pairs with what the frozen reference says of them."""

    ref_chosen: Tensor
    """float32 [P]: summed log-probability of the chosen answer under the reference"""
    ref_rejected: Tensor
    """float32 [P]"""


class _Told:
    """What is told of each sequence of a batch is counted and cut as that is."""

    batch: TokenBatch

    def __len__(self) -> int:
        return len(self.batch)

    def sizes(self) -> list[int]:
        return self.batch.sizes()

    def prompts(self) -> list[Prompted]:
        return self.batch.prompts()


@dataclass(frozen=True)
class JudgedAnswers(_Told):
    """Single answers, good or bad, with what the frozen reference says of them (KTO)."""

    batch: TokenBatch
    good: Tensor
    """bool [B]"""
    weight: Tensor
    """float32 [B]"""
    reference: Tensor
    """float32 [B]: summed log-probability of the answer under the reference"""
    baseline: Tensor
    """float32 [B]: KL(policy ‖ reference), estimated over the whole step and so the same in all rows"""

    def select(self, rows: Sequence[int]) -> Self:
        return _select(self, rows)


@dataclass(frozen=True)
class Rollouts(_Told):
    """What the policy answered, as it was sampled."""

    batch: TokenBatch
    """prompts and answers; `mask` = the tokens that the policy wrote, its stop token included"""
    logprobs: Tensor
    """float32 [B, R]: as sampled, at the sampling temperature"""
    stopped: Tensor
    """bool [B]: ended by the stop token (False: cut off at the limit)"""
    samples: tuple[Sample, ...]

    def select(self, rows: Sequence[int]) -> Rollouts:
        """The answers `rows`, in that order; as wide as the longest of them."""
        batch, samples = self.batch.select(rows), tuple(self.samples[row] for row in rows)
        width = batch.answer_mask.shape[1]
        return Rollouts(batch, self.logprobs[rows][:, :width], self.stopped[rows], samples)


@dataclass(frozen=True)
class Scores:
    """One number per answer, and where it came from."""

    value: Tensor
    """float32 [B]"""
    parts: Mapping[str, Tensor]
    """name → float32 [B]"""


@dataclass(frozen=True)
class Credited(_Told):
    """Rollouts with their credit: what a policy gradient is computed on."""

    batch: TokenBatch
    logprobs: Tensor
    """float32 [B, R]: of the policy that collected, by the training forward"""
    advantages: Tensor
    """float32 [B, R]"""

    @property
    def mask(self) -> Tensor:
        """bool [B, R]"""
        return self.batch.answer_mask

    def select(self, rows: Sequence[int]) -> Self:
        cut = _select(self, rows)
        width = cut.batch.answer_mask.shape[1]
        narrow = {
            field.name: value[:, :width]
            for field in fields(cut)
            if isinstance(value := getattr(cut, field.name), Tensor)
        }
        return replace(cut, **narrow)

    @classmethod
    def cat(cls, pieces: Sequence[Self]) -> Self:
        """One batch after another, the narrower ones padded with 0."""
        width = max(piece.mask.shape[1] for piece in pieces)

        def join(name: str) -> Tensor | TokenBatch:
            values = [getattr(piece, name) for piece in pieces]
            if isinstance(values[0], TokenBatch):
                return TokenBatch.cat(values)
            return torch.cat([pad(value, (0, width - value.shape[1])) for value in values])

        return cls(**{field.name: join(field.name) for field in fields(cls)})  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class Experience(Credited):
    """What an actor-critic loss is computed on."""

    values: Tensor
    """float32 [B, R]: the critic's expectation *before* each token"""
    returns: Tensor
    """float32 [B, R]"""


@dataclass(frozen=True)
class Referenced(Credited):
    """What a loss that holds the policy near the reference is computed on."""

    reference: Tensor
    """float32 [B, R]: log-probabilities under the frozen reference"""


@dataclass(frozen=True)
class Loss:
    """What an algorithm answers for a batch.

    `total` is a mean over `weight` tokens or pairs, so that the parts of a batch join exactly:
    whole = Σ totalᵢ·weightᵢ / Σ weightᵢ.
    """

    total: Tensor
    """float32 []"""
    weight: Tensor
    """float32 []"""
    metrics: Mapping[str, Tensor | float]
    """detached numbers; joined across parts by the same weighted mean"""


def _select(batch: B, rows: Sequence[int]) -> B:
    index = list(rows)
    changed = {}
    for field in fields(batch):
        value = getattr(batch, field.name)
        changed[field.name] = value.select(index) if isinstance(value, TokenBatch) else value[index]
    return replace(batch, **changed)


def load(batch: Batch, *, shared: bool = False) -> int:
    """Tokens of the elements, or those that are computed where a `shared` prompt is computed once."""
    families = {each.key: each.size for each in batch.prompts()} if shared else {}
    return sum(_own_tokens(batch, shared=shared)) + sum(families.values())


def largest(batch: Batch, *, shared: bool = False) -> int:
    """`load` of the element that has most."""
    own = _own_tokens(batch, shared=shared)
    return max(tokens + each.size * shared for tokens, each in zip(own, batch.prompts(), strict=True))


def _own_tokens(batch: Batch, *, shared: bool) -> list[int]:
    """Of each element; without its prompt, if that is counted by itself."""
    if not shared:
        return batch.sizes()
    return [size - each.size * each.answers for size, each in zip(batch.sizes(), batch.prompts(), strict=True)]


def parts(batch: Batch, limit: int, *, shared: bool = False) -> Iterator[list[int]]:
    """Cut a batch into runs of at most `limit` tokens as `load` counts them (an element that is larger stands alone).

    Elements that share a prompt stay together where they fit. Largest first, so that like lengths share a part and the
    largest part shows at once whether memory suffices.
    """
    own, families = _own_tokens(batch, shared=shared), dict[tuple[int, bytes], list[int]]()
    if load(batch, shared=shared) <= limit:
        yield list(range(len(own)))
        return
    for row, prompt in enumerate(batch.prompts()):
        families.setdefault((prompt.size if shared else 0, prompt.key), []).append(row)
    totals = {each: each[0] + sum(own[row] for row in family) for each, family in families.items()}
    rows: list[int] = []
    total = 0
    for each, family in sorted(families.items(), key=lambda item: (-totals[item[0]], item[1])):
        prompt = each[0]  # until it is in this part
        for place, row in enumerate(family):
            if rows and total + (own[row] if place else totals[each]) > limit:
                yield rows
                rows, total, prompt = [], 0, each[0]
            rows.append(row)
            total += prompt + own[row]
            prompt = 0
    yield rows
