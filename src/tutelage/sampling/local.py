"""The plain engine on stock models: prompts prefilled once, packed; answers decoded together, the finished move out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.batches import Rollouts, TokenBatch
from tutelage.models.attention import SlotCache
from tutelage.models.policy import Policy
from tutelage.sampling._answers import Drawn, Name, draw, limits, names, noise, rollouts, stops
from tutelage.sampling._base import Engine
from tutelage.types import Prompt


@dataclass(eq=False)
class Local(Engine):
    """Samples by the stock model alone, on any device."""

    @torch.no_grad()
    def sample(self, policy: Policy, prompts: Sequence[Prompt], n: int, seed: int) -> Rollouts:
        encoded = [self.renderer.prompt(prompt.content) for prompt in prompts]
        named = names(prompts, n)
        per_round = max(1, self.slots // n)
        rounds = [
            self._round(policy, named[start * n : (start + per_round) * n], encoded[start : start + per_round], n, seed)
            for start in range(0, len(prompts), per_round)
        ]
        drawn = Drawn(*(torch.cat(parts) for parts in zip(*(vars(one).values() for one in rounds), strict=True)))
        return rollouts(policy, prompts, named, encoded, drawn, seed)

    def _round(self, policy: Policy, named: Sequence[Name], encoded: list[list[int]], n: int, seed: int) -> Drawn:
        device, count = policy.device, len(named)
        limit = torch.tensor(limits(policy, encoded, self.sampling), device=device).repeat_interleave(n)
        widest = int(limit.max())
        numbers = torch.from_numpy(noise(seed, named, widest)).to(device)
        cache = SlotCache(count, max(map(len, encoded)) + widest)
        logits = self._prefill(policy, encoded, n, cache)
        lengths = torch.tensor([len(ids) for ids in encoded], device=device).repeat_interleave(n)
        drawn = Drawn.nothing(count, self.sampling.max_new_tokens, device)
        alive = torch.arange(count, device=device)
        ends = torch.tensor(stops(policy, self.renderer), device=device)
        for place in range(widest):
            tokens, logprobs = draw(logits, numbers[alive, place], self.sampling)
            drawn.tokens[alive, place], drawn.logprobs[alive, place] = tokens, logprobs
            drawn.counts[alive] += 1
            ended = torch.isin(tokens, ends)
            drawn.stopped[alive] = ended
            going = (~ended & (place + 1 < limit[alive])).nonzero()[:, 0]
            if len(going) == 0:
                break
            if len(going) < len(alive):
                cache.keep(going)
                alive, tokens = alive[going], tokens[going]
            logits = self._decode(policy, tokens, lengths[alive] + place, cache)
        return drawn

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
