"""What every engine shares: the numbers of answers, their limits, their randomness, and their way into `Rollouts`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.batches import Rollouts, TokenBatch
from tutelage.data.template import Renderer
from tutelage.errors import DataError
from tutelage.models.policy import Policy
from tutelage.ops.determinism import running_sum
from tutelage.sampling._base import Sampling, uniforms
from tutelage.types import Prompt, Sample

_BELOW_ONE = 1 - 2**-24
"""The largest float32 below 1: a number that rounds to 1 would draw the vocabulary's last token, however unlikely."""

Name = tuple[str, int]
"""(prompt id, number) of an answer"""


@dataclass
class Drawn:
    """What has been drawn so far for N answers, in their own order."""

    tokens: Tensor
    """int64 [N, max_new_tokens]"""
    logprobs: Tensor
    """float32 [N, max_new_tokens]"""
    counts: Tensor
    """int64 [N]"""
    stopped: Tensor
    """bool [N]"""

    @classmethod
    def nothing(cls, count: int, width: int, device: torch.device) -> Drawn:
        """Room for `count` answers of at most `width` tokens."""
        return cls(
            torch.zeros(count, width, dtype=torch.int64, device=device),
            torch.zeros(count, width, device=device),
            torch.zeros(count, dtype=torch.int64, device=device),
            torch.zeros(count, dtype=torch.bool, device=device),
        )


def names(prompts: Sequence[Prompt], n: int) -> list[Name]:
    """Of each answer, n to a prompt: a prompt that is asked again goes on counting, and gets other answers."""
    asked = Counter[str]()
    found: list[Name] = []
    for prompt in prompts:
        found += [(prompt.id, asked[prompt.id] + number) for number in range(n)]
        asked[prompt.id] += n
    return found


def limits(policy: Policy, encoded: Sequence[Sequence[int]], sampling: Sampling) -> list[int]:
    """How many tokens each prompt's answers may have: what was asked for, or what the model's positions leave.

    Raises:
        DataError: a prompt leaves no room for an answer.
    """
    room = policy.max_positions or 1 << 30
    longest = max(map(len, encoded))
    if longest >= room:
        raise DataError(
            f"a prompt of {longest} tokens leaves no room for an answer: the model has {room} positions",
            where=policy.name,
            fix="shorten the prompt, or take a model that reads more",
        )
    return [min(sampling.max_new_tokens, room - len(ids)) for ids in encoded]


def noise(seed: int, named: Sequence[Name], count: int) -> NDArray[np.float32]:
    """float32 [N, count] below 1: each answer's own random numbers."""
    found = np.stack([uniforms(seed, prompt, number, count) for prompt, number in named])
    return np.minimum(found.astype(np.float32), np.float32(_BELOW_ONE))


def stops(policy: Policy, renderer: Renderer) -> list[int]:
    """Every token that ends an answer."""
    return list(dict.fromkeys([*renderer.stop_ids, *policy.eos_ids]))


def draw(logits: Tensor, numbers: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Tokens `[N]` by inverse transform, and their log-probabilities before any truncation."""
    logprobs = torch.log_softmax(logits / sampling.temperature, -1)
    if sampling.greedy:
        tokens = logits.argmax(-1)
    else:
        cumulative = running_sum(_truncated(logprobs.exp(), sampling))
        # Compared with the sum itself, so that rounding can never point beyond the last likely token.
        target = numbers[:, None] * cumulative[:, -1:]
        tokens = (cumulative <= target).sum(-1).clamp(max=logits.shape[-1] - 1)
    return tokens, logprobs.gather(-1, tokens[:, None])[:, 0]


def _truncated(probabilities: Tensor, sampling: Sampling) -> Tensor:
    if sampling.top_k and sampling.top_k < probabilities.shape[-1]:
        least = probabilities.topk(sampling.top_k, -1).values[:, -1:]
        probabilities = probabilities.masked_fill(probabilities < least, 0)
    if sampling.top_p < 1:
        ordered, order = probabilities.sort(-1, descending=True)
        beyond = running_sum(ordered) - ordered >= sampling.top_p * probabilities.sum(-1, keepdim=True)
        probabilities = probabilities.masked_fill(beyond.scatter(-1, order, beyond), 0)
    return probabilities


def rollouts(
    policy: Policy,
    prompts: Sequence[Prompt],
    named: Sequence[Name],
    encoded: Sequence[list[int]],
    drawn: Drawn,
    seed: int,
) -> Rollouts:
    """What was drawn, as everything downstream wants it."""
    tokens, counts, stopped = drawn.tokens.tolist(), drawn.counts.tolist(), drawn.stopped.tolist()
    rows, samples, n = [], [], len(named) // len(prompts)
    for index, (answer, count, ended) in enumerate(zip(tokens, counts, stopped, strict=True)):
        prompt, ids = prompts[index // n], encoded[index // n]
        answer = answer[:count]
        rows.append((ids + answer, [False] * len(ids) + [True] * count))
        text = policy.tokenizer.decode(answer[:-1] if ended else answer, skip_special_tokens=True)
        text = text.replace("\0", "\ufffd")  # databases and JSON readers refuse NUL; an untrained model writes it
        finish = "stop" if ended else "length"
        samples.append(Sample(f"{prompt.id}/{named[index][1]}", prompt, text, finish, policy.name, seed))
    width = max(counts)
    return Rollouts(TokenBatch.of(rows), drawn.logprobs[:, :width], drawn.stopped, tuple(samples))
