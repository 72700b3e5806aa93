"""Our own engine on stock models: prompts prefilled once, packed; answers decoded together, finished ones move out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tutelage.batches import Rollouts, TokenBatch
from tutelage.data.template import Renderer
from tutelage.models.attention import SlotCache
from tutelage.models.policy import Policy
from tutelage.sampling._base import Sampler, Sampling, uniforms
from tutelage.types import Prompt, Sample

_BELOW_ONE = 1 - 2**-24
"""The largest float32 below 1: a number that rounds to 1 would draw the vocabulary's last token, however unlikely."""


@dataclass
class _Drawn:
    """What has been drawn so far for N answers, in their own order."""

    tokens: Tensor
    """int64 [N, max_new_tokens]"""
    logprobs: Tensor
    """float32 [N, max_new_tokens]"""
    counts: Tensor
    """int64 [N]"""
    stopped: Tensor
    """bool [N]"""


class Local(Sampler):
    """Samples in this process, on the device of the policy."""

    def __init__(self, renderer: Renderer, sampling: Sampling, slots: int = 256) -> None:
        """
        Args:
            slots: how many answers are under way at once; memory grows with it, results do not depend on it.
        """
        self.renderer = renderer
        self.sampling = sampling
        self.slots = slots

    @torch.no_grad()
    def sample(self, policy: Policy, prompts: Sequence[Prompt], n: int, seed: int) -> Rollouts:
        encoded = [self.renderer.prompt(prompt.content) for prompt in prompts]
        names = _names(prompts, n)
        per_round = max(1, self.slots // n)
        rounds = [
            self._round(policy, names[start * n : (start + per_round) * n], encoded[start : start + per_round], n, seed)
            for start in range(0, len(prompts), per_round)
        ]
        drawn = _Drawn(*(torch.cat(parts) for parts in zip(*(vars(one).values() for one in rounds), strict=True)))
        return self._rollouts(policy, prompts, names, encoded, drawn, seed)

    def _round(
        self, policy: Policy, names: Sequence[tuple[str, int]], encoded: list[list[int]], n: int, seed: int
    ) -> _Drawn:
        limit = self._limit(policy, encoded)
        count = len(names)
        noise = np.stack([uniforms(seed, prompt, number, limit) for prompt, number in names])
        device = policy.device
        noise_on_device = torch.from_numpy(noise).to(device, torch.float32).clamp_(max=_BELOW_ONE)
        cache = SlotCache(count, max(map(len, encoded)) + limit)
        logits = self._prefill(policy, encoded, n, cache)
        lengths = torch.tensor([len(ids) for ids in encoded], device=device).repeat_interleave(n)
        drawn = _Drawn(
            torch.zeros(count, self.sampling.max_new_tokens, dtype=torch.int64, device=device),
            torch.zeros(count, self.sampling.max_new_tokens, device=device),
            torch.zeros(count, dtype=torch.int64, device=device),
            torch.zeros(count, dtype=torch.bool, device=device),
        )
        alive = torch.arange(count, device=device)
        stops = torch.tensor(self._stops(policy), device=device)
        for place in range(limit):
            tokens, logprobs = self._draw(logits, noise_on_device[alive, place])
            drawn.tokens[alive, place], drawn.logprobs[alive, place] = tokens, logprobs
            drawn.counts[alive] += 1
            ended = torch.isin(tokens, stops)
            drawn.stopped[alive] = ended
            going = (~ended).nonzero()[:, 0]
            if len(going) == 0 or place + 1 == limit:
                break
            if len(going) < len(alive):
                cache.keep(going)
                alive, tokens = alive[going], tokens[going]
            logits = self._decode(policy, tokens, lengths[alive] + place, cache)
        return drawn

    def _limit(self, policy: Policy, encoded: list[list[int]]) -> int:
        room = (policy.max_positions or 1 << 30) - max(map(len, encoded))
        return max(1, min(self.sampling.max_new_tokens, room))

    def _stops(self, policy: Policy) -> list[int]:
        return list(dict.fromkeys([*self.renderer.stop_ids, *policy.eos_ids]))

    def _prefill(self, policy: Policy, encoded: list[list[int]], n: int, cache: SlotCache) -> Tensor:
        """Run every prompt once, whatever `n`; logits after its last token, `[prompts · n, V]`."""
        batch = TokenBatch.of([(ids, [False] * len(ids)) for ids in encoded])
        cache.owners = torch.arange(len(encoded), device=policy.device).repeat_interleave(n)
        with policy.autocast():
            hidden = policy.hidden(batch, cache=cache)
            last = (batch.starts + batch.lengths - 1).to(hidden.device)
            return policy.head(hidden[last]).float().repeat_interleave(n, 0)

    def _decode(self, policy: Policy, tokens: Tensor, positions: Tensor, cache: SlotCache) -> Tensor:
        cache.begin(positions)
        with policy.autocast():
            return policy.head(policy.forward_body(tokens, positions, cache=cache)).float()

    def _draw(self, logits: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens `[N]` by inverse transform, and their log-probabilities before any truncation."""
        logprobs = torch.log_softmax(logits / self.sampling.temperature, -1)
        if self.sampling.greedy:
            tokens = logits.argmax(-1)
        else:
            cumulative = _truncated(logprobs.exp(), self.sampling).cumsum(-1)
            # Compared with the sum itself, so that rounding can never point beyond the last likely token.
            target = noise[:, None] * cumulative[:, -1:]
            tokens = (cumulative <= target).sum(-1).clamp(max=logits.shape[-1] - 1)
        return tokens, logprobs.gather(-1, tokens[:, None])[:, 0]

    def _rollouts(
        self,
        policy: Policy,
        prompts: Sequence[Prompt],
        names: Sequence[tuple[str, int]],
        encoded: list[list[int]],
        drawn: _Drawn,
        seed: int,
    ) -> Rollouts:
        tokens, counts, stopped = drawn.tokens.tolist(), drawn.counts.tolist(), drawn.stopped.tolist()
        rows, samples, n = [], [], len(names) // len(prompts)
        for index, (answer, count, ended) in enumerate(zip(tokens, counts, stopped, strict=True)):
            prompt, ids = prompts[index // n], encoded[index // n]
            answer = answer[:count]
            rows.append((ids + answer, [False] * len(ids) + [True] * count))
            text = policy.tokenizer.decode(answer[:-1] if ended else answer, skip_special_tokens=True)
            text = text.replace("\0", "\ufffd")  # databases and JSON readers refuse NUL; an untrained model writes it
            finish = "stop" if ended else "length"
            samples.append(Sample(f"{prompt.id}/{names[index][1]}", prompt, text, finish, policy.name, seed))
        width = max(counts)
        return Rollouts(TokenBatch.of(rows), drawn.logprobs[:, :width], drawn.stopped, tuple(samples))


def _names(prompts: Sequence[Prompt], n: int) -> list[tuple[str, int]]:
    """(prompt id, number) of each answer: a prompt that is asked again goes on counting, and gets other answers."""
    asked = Counter[str]()
    found: list[tuple[str, int]] = []
    for prompt in prompts:
        found += [(prompt.id, asked[prompt.id] + number) for number in range(n)]
        asked[prompt.id] += n
    return found


def _truncated(probabilities: Tensor, sampling: Sampling) -> Tensor:
    if sampling.top_k and sampling.top_k < probabilities.shape[-1]:
        least = probabilities.topk(sampling.top_k, -1).values[:, -1:]
        probabilities = probabilities.masked_fill(probabilities < least, 0)
    if sampling.top_p < 1:
        ordered, order = probabilities.sort(-1, descending=True)
        beyond = ordered.cumsum(-1) - ordered >= sampling.top_p * probabilities.sum(-1, keepdim=True)
        probabilities = probabilities.masked_fill(beyond.scatter(-1, order, beyond), 0)
    return probabilities
