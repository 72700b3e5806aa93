"""Which answers are under way, and in which pages their keys and values lie. Plain bookkeeping, without a model.

waiting prompts ─► prefilled once ─► first tokens drawn ─► ready answers ─► slots ─► done
                        └ pages of the prompt, full ones shared by its answers, the last one copied for each
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.models.decode import PAGE

Whole = NDArray[np.int32]


@dataclass
class _Asked:
    """A prompt whose answers are under way."""

    length: int
    full: list[int]
    """pages that its answers share"""
    partial: int | None
    """the page that holds its last tokens, and room for an answer's first"""
    waiting: int
    """answers that have no slot yet"""
    unfinished: int


class Slots:
    """Slots of answers; a freed one is taken by the next answer that is ready, so that the batch stays full."""

    def __init__(self, lengths: Sequence[int], n: int, count: int, width: int, free: list[int]) -> None:
        """
        Args:
            lengths: tokens of each prompt.
            n: answers to each.
            count: how many answers are under way at once.
            width: most pages that a sequence may need.
            free: pages nobody uses; taken from its end, put back there.
        """
        self._lengths, self._n, self._free = lengths, n, free
        self.table = np.zeros((2 * count, width), np.int32)
        """int32 [2·count, width]: pages in order, of each slot, and of the prompts that are prefilled now"""
        self.tokens, self.positions = np.zeros(count, np.int32), np.zeros(count, np.int32)
        self.answers = np.zeros(count, np.int64)
        self._paged = np.zeros(count, np.int64)
        """pages that each slot's sequence has"""
        self.live = np.zeros(0, np.int64)
        """slots under way, ascending by answer"""
        self.waiting = deque(range(len(lengths)))
        """prompts not yet prefilled"""
        self._ready = deque[tuple[int, int]]()
        self._empty = list(range(count - 1, -1, -1))
        self._own: list[list[int]] = [[] for _ in range(count)]
        self._asked: dict[int, _Asked] = {}

    def busy(self) -> bool:
        """Whether any answer is unfinished."""
        return bool(self.waiting or self._ready or len(self.live))

    def take_prompts(self, budget: int) -> list[int]:
        """Prompts to prefill now: as many as have slots to go to, and `budget` tokens at most (but one at least)."""
        room, taken = len(self._empty) - len(self._ready), list[int]()
        while self.waiting and room > 0:
            prompt = self.waiting[0]
            if taken and self._lengths[prompt] > budget:
                break
            pages = [self._free.pop() for _ in range(-(-self._lengths[prompt] // PAGE))]
            self.table[len(self.positions) + len(taken), : len(pages)] = pages
            partial = pages.pop() if self._lengths[prompt] % PAGE else None
            self._asked[prompt] = _Asked(self._lengths[prompt], pages, partial, self._n, self._n)
            taken.append(self.waiting.popleft())
            budget, room = budget - self._lengths[prompt], room - self._n
        return taken

    def begin(self, answers: Iterable[int], tokens: Iterable[int]) -> None:
        """These answers go on after their first token, as soon as there are slots."""
        self._ready.extend(zip(answers, tokens, strict=True))

    def fill(self) -> tuple[list[int], list[int]]:
        """Give empty slots to ready answers; returns which pages must be copied, and where to, before they go on."""
        sources, targets = list[int](), list[int]()
        entered = list[int]()
        while self._empty and self._ready:
            answer, token = self._ready.popleft()
            asked, slot = self._asked[answer // self._n], self._empty.pop()
            own, row = self._own[slot], self.table[slot]
            row[: len(asked.full)] = asked.full
            asked.waiting -= 1
            if asked.partial is not None:
                page = asked.partial if asked.waiting == 0 else self._free.pop()
                if page == asked.partial:
                    asked.partial = None
                else:
                    sources.append(asked.partial)
                    targets.append(page)
                row[len(asked.full)] = page
                own.append(page)
            self._paged[slot] = -(-asked.length // PAGE)
            self.tokens[slot], self.positions[slot], self.answers[slot] = token, asked.length, answer
            entered.append(slot)
        if entered:
            live = np.concatenate([self.live, np.array(entered, np.int64)])
            self.live = live[np.argsort(self.answers[live], kind="stable")]
        return sources, targets

    def crowded(self) -> bool:
        """Whether somebody waits for a slot."""
        return bool(self.waiting or self._ready)

    def grow(self, tokens: NDArray[np.int64]) -> None:
        """Pages for that many more `tokens` [live] of each sequence under way, one or more."""
        needed = (self.positions[self.live] + tokens - 1) // PAGE + 1
        short = needed > self._paged[self.live]
        for slot, pages in zip(self.live[short].tolist(), needed[short].tolist(), strict=True):
            for place in range(self._paged[slot], pages):
                page = self._free.pop()
                self._own[slot].append(page)
                self.table[slot, place] = page
            self._paged[slot] = pages

    def advance(self, tokens: Whole, done: NDArray[np.bool_], count: NDArray[np.int64]) -> None:
        """The live slots, in order, have drawn `count` tokens, the last of them `tokens`; the `done` are free again."""
        going = self.live[~done]
        self.tokens[going] = tokens[~done]
        self.positions[going] += count[~done]
        for slot in self.live[done].tolist():
            self._free += self._own[slot]
            self._own[slot] = []
            self._empty.append(slot)
            self._finish(self._asked[int(self.answers[slot]) // self._n], int(self.answers[slot]) // self._n)
        self.live = going

    def end_at_once(self, answer: int) -> None:
        """An answer ended with its first token and never needs a slot."""
        prompt = answer // self._n
        self._asked[prompt].waiting -= 1
        self._finish(self._asked[prompt], prompt)

    def _finish(self, asked: _Asked, prompt: int) -> None:
        asked.unfinished -= 1
        if asked.unfinished == 0:
            self._free += asked.full
            if asked.partial is not None:
                self._free.append(asked.partial)
            del self._asked[prompt]
