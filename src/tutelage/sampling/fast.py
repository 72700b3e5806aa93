"""The fast engine. On CPUs: decoding in C++ (models/decode.py) over slots that are refilled as answers stop.

Each pass runs one new token of every answer under way together with the prompts that take the slots just freed. A row's
numbers depend on its own sequence alone, bit for bit, so no answer depends on slots, order or company.
On GPUs: sampling/graphs.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.batches import Rollouts
from tutelage.errors import UsageError
from tutelage.models.decode import PAGE, ROWS, Answers, Decoder, Pages, UnfitError
from tutelage.models.policy import Policy
from tutelage.sampling._answers import Drawn, draw, limits, names, noise, rollouts, stops
from tutelage.sampling._base import Engine, Sampling
from tutelage.sampling._slots import Slots, Whole
from tutelage.sampling.graphs import Graphs
from tutelage.sampling.local import Local
from tutelage.types import Prompt

_PREFILL = 512
"""Prompt tokens that one pass takes in beside the answers under way, if more than one prompt waits."""
_PASSES = 16
"""Tokens of each answer that one call into C++ draws at most: between them Python hears of an interrupt."""
_CACHE_BYTES = 2 << 30
"""Keys and values take at most this much memory: with long sequences fewer answers are under way at once."""


@dataclass(eq=False)
class Fast(Engine):
    """Samples by our own decoder where it can run the model, else by the plain engine (`policy.engine` may choose)."""

    _made_for: tuple[Policy, str, torch.dtype] | None = field(init=False, default=None)
    _decoder: Decoder | None = field(init=False, default=None)
    _pages: Pages | None = field(init=False, default=None)

    @cached_property
    def _on_gpu(self) -> Graphs:
        return Graphs(self.renderer, self.sampling, self.slots, self.say)

    @torch.no_grad()
    def sample(self, policy: Policy, prompts: Sequence[Prompt], n: int, seed: int) -> Rollouts:
        """
        Raises:
            UsageError: `policy.engine` is `fast`, and our decoder cannot run the model.
        """
        if policy.device.type == "cuda" and policy.engine != "plain":
            return self._on_gpu.sample(policy, prompts, n, seed)
        decoder = self._decoder_of(policy)
        if decoder is None:
            return Local(self.renderer, self.sampling).sample(policy, prompts, n, seed)
        decoder.sync()
        encoded = [self.renderer.prompt(prompt.content) for prompt in prompts]
        named = names(prompts, n)
        limit = limits(policy, encoded, self.sampling)
        longest = max(len(ids) + more for ids, more in zip(encoded, limit, strict=True))
        count, pages = self._room(decoder, longest, len(named))
        width = -(-longest // PAGE)
        run = _Run(decoder, pages, self.sampling, encoded, n, limit, noise(seed, named, max(limit)))
        run.ends = np.array(stops(policy, self.renderer), np.int64)
        run.go(Slots([len(ids) for ids in encoded], n, count, width, list(range(pages.count - 1, -1, -1))))
        return rollouts(policy, prompts, named, encoded, run.drawn(), seed)

    def _decoder_of(self, policy: Policy) -> Decoder | None:
        asked = policy, policy.engine, policy.compute_dtype
        if asked != self._made_for:
            self._made_for, self._decoder, self._pages = asked, None, None
            if policy.engine == "plain":
                return None
            try:
                self._decoder = Decoder(policy)
            except UnfitError as error:
                if policy.engine == "fast":
                    raise UsageError(
                        f"the fast engine cannot sample: {error}", where=policy.name, fix="--engine auto"
                    ) from error
                if policy.device.type == "cpu":
                    self.say(f"{policy.name} is sampled by PyTorch, which is slower than our own decoder: {error}")
        return self._decoder

    def _room(self, decoder: Decoder, longest: int, answers: int) -> tuple[int, Pages]:
        """How many slots, and pages for them; those of the last call where they are enough."""
        each = -(-longest // PAGE) + 2  # its prompt's, its own, a copy of the page where one becomes the other
        affordable = _CACHE_BYTES // (each * decoder.page_bytes * len(decoder.plan.layers))
        count = max(1, min(self.slots, answers, affordable))
        if self._pages is None or self._pages.count < count * each:
            self._pages = None  # given back before more is taken
            self._pages = Pages(decoder, count * each)
        return count, self._pages


class _Run:
    """One sampling call."""

    def __init__(
        self,
        decoder: Decoder,
        pages: Pages,
        sampling: Sampling,
        encoded: Sequence[Sequence[int]],
        n: int,
        limit: Sequence[int],
        numbers: NDArray[np.float32],
    ) -> None:
        self.decoder, self.pages, self.sampling, self.n = decoder, pages, sampling, n
        self.prompts = [np.array(ids, np.int32) for ids in encoded]
        self.ends = np.zeros(0, np.int64)
        self.answers = Answers.nothing(np.repeat(np.array(limit, np.int64), n), numbers)

    def drawn(self) -> Drawn:
        """What came of it."""
        found = self.answers
        return Drawn(*(torch.from_numpy(part) for part in (found.tokens, found.logprobs, found.counts, found.stopped)))

    @property
    def _whole(self) -> bool:
        """Whether tokens are drawn from the whole vocabulary, which C++ does."""
        return self.sampling.greedy or (self.sampling.top_p == 1 and self.sampling.top_k == 0)

    def go(self, slots: Slots) -> None:
        """Until every answer has ended."""
        while slots.busy():
            sources, targets = slots.fill()
            if sources:
                self.pages.copy(sources, targets)
            prompts = slots.take_prompts(_PREFILL)
            if prompts or not self._whole:
                self._pass(slots, prompts)
            else:
                self._several_passes(slots)

    def _several_passes(self, slots: Slots) -> None:
        """Tokens of the live slots alone, until a slot is free that somebody waits for."""
        answers, live = self.answers, slots.answers[slots.live]
        before = answers.counts[live]
        slots.grow(np.minimum(answers.limits[live] - before, _PASSES))
        under_way = slots.live.astype(np.int32), slots.tokens[slots.live], slots.positions[slots.live], live
        sampling, crowded = self.sampling, slots.crowded()
        self.decoder.go_on(
            self.pages, slots.table, under_way, answers, _PASSES, crowded, self.ends, sampling.temperature,
            sampling.greedy,
        )  # fmt: skip
        counts = answers.counts[live]
        slots.advance(under_way[1], answers.stopped[live] | (counts >= answers.limits[live]), counts - before)

    def _pass(self, slots: Slots, prompts: list[int]) -> None:
        """One token of each live slot, and the first tokens of the answers to `prompts`."""
        one = np.ones(len(slots.live), np.int64)
        slots.grow(one)
        hidden = self._forward(slots, prompts)
        live = slots.answers[slots.live]
        fresh = np.array([p * self.n + j for p in prompts for j in range(self.n)], np.int64)
        rows = np.concatenate([np.arange(len(live)), len(live) + np.repeat(np.arange(len(prompts)), self.n)])
        tokens, done = self._draw(hidden, rows.astype(np.int32), np.concatenate([live, fresh]))
        slots.advance(tokens[: len(live)], done[: len(live)], one)
        for answer in fresh[done[len(live) :]].tolist():
            slots.end_at_once(answer)
        going = ~done[len(live) :]
        slots.begin(fresh[going].tolist(), tokens[len(live) :][going].tolist())

    def _forward(self, slots: Slots, prompts: list[int]) -> Tensor:
        """Hidden states: of every live slot, then of the last token of each of `prompts`."""
        live, parts = slots.live, [self.prompts[prompt] for prompt in prompts]
        lengths = np.array([len(part) for part in parts], np.int64)
        rows = np.concatenate([live, len(slots.positions) + np.repeat(np.arange(len(parts)), lengths)])
        tokens = np.concatenate([slots.tokens[live], *parts])
        positions = np.concatenate([slots.positions[live], *(np.arange(len(part)) for part in parts)])
        asked = np.concatenate([np.arange(len(live)), len(live) + np.cumsum(lengths) - 1])
        return self.decoder.forward(
            self.pages,
            slots.table,
            *(array.astype(np.int32) for array in (rows, tokens, positions, asked)),
        )

    def _draw(self, hidden: Tensor, rows: Whole, answers: NDArray[np.int64]) -> tuple[Whole, NDArray[np.bool_]]:
        """The next token of each of `answers`, from row rows[i] (ascending) of `hidden`; notes them; who is done."""
        found = self.answers
        places = found.counts[answers]
        numbers = found.noise[answers, places]
        tokens, logprobs = np.empty(len(rows), np.int32), np.empty(len(rows), np.float32)
        for start in range(0, len(hidden), ROWS):
            part = slice(*np.searchsorted(rows, [start, start + ROWS]))
            logits = self.decoder.logits(hidden[start : start + ROWS])
            tokens[part], logprobs[part] = self._draw_from(logits, rows[part] - start, numbers[part])
        found.tokens[answers, places], found.logprobs[answers, places] = tokens, logprobs
        found.counts[answers] = places + 1
        found.stopped[answers] = ended = np.isin(tokens, self.ends)
        return tokens, ended | (places + 1 >= found.limits[answers])

    def _draw_from(
        self, logits: Tensor, rows: Whole, numbers: NDArray[np.float32]
    ) -> tuple[Whole, NDArray[np.float32]]:
        sampling = self.sampling
        if self._whole:
            return self.decoder.draw(logits, rows, numbers, sampling.temperature, sampling.greedy)
        tokens, logprobs = draw(logits[torch.from_numpy(rows)], torch.from_numpy(numbers), sampling)
        return tokens.numpy().astype(np.int32), logprobs.numpy()
