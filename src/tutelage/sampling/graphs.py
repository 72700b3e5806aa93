"""The engine for GPUs: slots that are refilled as answers stop, and a step that a CUDA graph replays for every token.

waiting ─► prompts prefilled packed, once for all their answers ─► slots ─step─step─step─► looked at ─► done, refilled

The step reads and writes buffers that stay where they are: it feeds each slot its last token, draws the next one, notes
it and finds out whether the answer has ended. The host looks only every few steps. On a CPU the same step runs eagerly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tutelage.batches import Rollouts, onto
from tutelage.errors import UsageError
from tutelage.models.attention import packing_for
from tutelage.models.forward import Forward, UnfitError, packed
from tutelage.models.policy import Policy
from tutelage.ops import varlen
from tutelage.sampling._answers import Drawn, draw, limits, names, noise, rollouts, stops
from tutelage.sampling._base import Engine, Sampling
from tutelage.sampling.local import Local
from tutelage.types import Prompt

_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256)
"""How many slots a step may run; each has a graph of its own."""
_STRIDE = 4
"""Steps between two looks of the host: an answer that has ended idles for half as many on average."""
_PREFILL = 16_384
"""Prompt tokens that are prefilled together, if more than one prompt waits."""
_ROUND = 64
"""The cache of a slot has room for a multiple of this many tokens, so that few calls need another one."""
_CACHE_BYTES = 2 << 30
"""Keys and values take at most this much memory, and on a GPU this share of what is free: else fewer slots."""
_CACHE_SHARE = 0.3


@dataclass(eq=False)
class Graphs(Engine):
    """Samples by our own forward over static buffers where it can run the model, else by the plain engine."""

    _made_for: tuple[Policy, str, torch.dtype] | None = field(init=False, default=None)
    _forward: Forward | None = field(init=False, default=None)
    _table: Table | None = field(init=False, default=None)

    @torch.no_grad()
    def sample(self, policy: Policy, prompts: Sequence[Prompt], n: int, seed: int) -> Rollouts:
        """
        Raises:
            UsageError: `policy.engine` is `fast`, and our forward cannot run the model.
        """
        forward = self._forward_of(policy)
        if forward is None:
            return Local(self.renderer, self.sampling).sample(policy, prompts, n, seed)
        forward.sync()
        encoded = [self.renderer.prompt(prompt.content) for prompt in prompts]
        named = names(prompts, n)
        limit = limits(policy, encoded, self.sampling)
        table = self._table_of(forward, policy, len(named), max(map(sum, zip(map(len, encoded), limit, strict=True))))
        run = _Run(table, encoded, n, limit)
        run.numbers = onto(torch.from_numpy(noise(seed, named, max(limit))), forward.device)
        run.go()
        drawn = Drawn(*(part.cpu() for part in vars(run.drawn).values()))
        return rollouts(policy, prompts, named, encoded, drawn, seed)

    def _forward_of(self, policy: Policy) -> Forward | None:
        asked = policy, policy.engine, policy.compute_dtype
        if asked != self._made_for:
            self._made_for, self._forward, self._table = asked, None, None
            try:
                self._forward = Forward(policy)
            except UnfitError as error:
                if policy.engine == "fast":
                    raise UsageError(
                        f"the fast engine cannot sample: {error}", where=policy.name, fix="--engine auto"
                    ) from error
                self.say(f"{policy.name} is sampled without CUDA graphs, which is slower: {error}")
            else:
                if self._forward.note:
                    self.say(f"{policy.name}: {self._forward.note}")
        return self._forward

    def _table_of(self, forward: Forward, policy: Policy, answers: int, longest: int) -> Table:
        """The buffers and graphs of the last call, where they are large enough."""
        capacity = -(-longest // _ROUND) * _ROUND
        each = capacity * cache_bytes(forward)
        count = max(1, min(bucket(answers, self.slots), _cache_room(forward.device) // each))
        table = self._table
        if table is None or len(table.tokens) < count or table.keys.shape[2] < longest or table.moved():
            self._table = table = None  # given back before more is taken
            ends = torch.tensor(stops(policy, self.renderer), device=forward.device)
            self._table = table = Table(forward, self.sampling, ends, count, capacity)
        return table


def bucket(count: int, most: int = _BUCKETS[-1]) -> int:
    """The fewest slots, of those that have a graph, that hold `count`; `most` if none does.

    Example:
        >>> bucket(3), bucket(100), bucket(5, 6)
        (4, 128, 6)
    """
    return next((size for size in _BUCKETS if count <= size < most), most)


def cache_bytes(forward: Forward) -> int:
    """What the keys and values of one token take."""
    plan = forward.plan
    return 2 * len(plan.layers) * plan.key_value_heads * plan.size * forward.dtype.itemsize


def _cache_room(device: torch.device) -> int:
    return int(torch.cuda.mem_get_info(device)[0] * _CACHE_SHARE) if device.type == "cuda" else _CACHE_BYTES


class Table:
    """The slots: their tokens, their keys and values, what they have drawn; and the step over the first few of them.

    S slots of W places, M tokens an answer at most.
    """

    def __init__(self, forward: Forward, sampling: Sampling, ends: Tensor, slots: int, capacity: int) -> None:
        self.forward, self.sampling, self.ends, self.device = forward, sampling, ends, forward.device
        plan, width = forward.plan, sampling.max_new_tokens
        shape = (len(plan.layers), slots, capacity, plan.key_value_heads, plan.size)
        self.keys, self.values = (torch.zeros(shape, dtype=forward.dtype, device=self.device) for _ in range(2))
        none = torch.zeros(slots, dtype=torch.int64, device=self.device)
        self.tokens, self.positions = none.clone(), none.clone()
        """int64 [S]: what each slot reads next, and at which place"""
        self.counts, self.limits = none.clone(), none + 1
        self.stopped = torch.zeros(slots, dtype=torch.bool, device=self.device)
        self.done = torch.ones(slots, dtype=torch.bool, device=self.device)
        self.numbers = torch.zeros(slots, width, device=self.device)
        """float32 [S, M]: each answer's random numbers"""
        self.drawn = torch.zeros(slots, width, dtype=torch.int64, device=self.device)
        self.logprobs = torch.zeros(slots, width, device=self.device)
        self.rows = torch.arange(slots, device=self.device)
        self._graphs: dict[int, torch.cuda.CUDAGraph | None] = {}
        self._where = forward.plan.embedding.weight.data_ptr()

    def moved(self) -> bool:
        """Whether the model's weights lie elsewhere by now, so that no graph may be replayed."""
        return self._where != self.forward.plan.embedding.weight.data_ptr()

    def advance(self, count: int) -> None:
        """One token more for the first `count` slots.

        The first such step of a size runs eagerly, on a stream of its own as capturing wants; the second is captured.
        """
        if self.device.type != "cuda":
            self.step(count)
        elif count not in self._graphs:
            self._graphs[count] = None
            side, here = torch.cuda.Stream(self.device), torch.cuda.current_stream(self.device)
            side.wait_stream(here)
            with torch.cuda.stream(side):
                self.step(count)
            here.wait_stream(side)
        else:
            graph = self._graphs[count] or self._capture(count)
            graph.replay()

    def _capture(self, count: int) -> torch.cuda.CUDAGraph:
        # One pool for all: a graph's own memory holds nothing once it has run, for results go to the buffers above.
        others = [graph for graph in self._graphs.values() if graph is not None]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=others[0].pool() if others else None):
            self.step(count)
        self._graphs[count] = graph
        return graph

    def step(self, count: int) -> None:
        """Read one token in each of the first `count` slots and draw the next. Nothing here waits for the device.

        A slot that is done goes on as it is: it writes the same place of its own cache again, and notes nothing.
        """
        rows, tokens, positions = self.rows[:count], self.tokens[:count], self.positions[:count]
        used = (positions + 1).int()

        def attend(index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys, values, layer = self.keys[index, :count], self.values[index, :count], self.forward.plan.layers[index]
            keys[rows, positions], values[rows, positions] = key, value
            return varlen.look_back(query, keys, values, used, layer.scale, layer.window or None)

        logits = self.forward.logits(self.forward(tokens, positions, attend))
        live, counts = ~self.done[:count], self.counts[:count]
        place = counts.clamp(max=self.drawn.shape[1] - 1)
        found, logprobs = draw(logits, self.numbers[rows, place], self.sampling)
        self.drawn[rows, place] = torch.where(live, found, self.drawn[rows, place])
        self.logprobs[rows, place] = torch.where(live, logprobs, self.logprobs[rows, place])
        counts += live
        ended = live & (found[:, None] == self.ends).any(1)
        self.stopped[:count] |= ended
        self.done[:count] |= ended | (counts >= self.limits[:count])
        going = ~self.done[:count]
        tokens.copy_(torch.where(going, found, tokens))
        positions += going

    def move(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Slot sources[i] becomes slot targets[i], which was free; the other way round it is free."""
        here, there = (onto(torch.tensor(slots), self.device) for slots in (sources, targets))
        self.keys[:, there], self.values[:, there] = self.keys[:, here], self.values[:, here]
        for part in self._parts():
            part[there] = part[here]
        self.done[here] = True

    def _parts(self) -> tuple[Tensor, ...]:
        state = (self.tokens, self.positions, self.counts, self.limits, self.stopped, self.done)
        return *state, self.numbers, self.drawn, self.logprobs


@dataclass(frozen=True)
class _Group:
    """Answers to one prompt that enter their slots together."""

    prompt: int
    answers: range


class _Run:
    """One sampling call: which answer sits in which slot."""

    def __init__(self, table: Table, encoded: Sequence[Sequence[int]], n: int, limit: Sequence[int]) -> None:
        self.table, self.encoded, self.limit = table, encoded, limit
        self.numbers = torch.zeros(0)
        self.drawn = Drawn.nothing(len(encoded) * n, table.sampling.max_new_tokens, table.device)
        self.owners: dict[int, int] = {}
        """slot → answer"""
        slots = len(table.tokens)
        self.waiting = deque(
            _Group(prompt, range(first, min(first + slots, (prompt + 1) * n)))
            for prompt in range(len(encoded))
            for first in range(prompt * n, (prompt + 1) * n, slots)
        )

    def go(self) -> None:
        """Until every answer has ended."""
        self.table.done.fill_(True)
        while self._enter():
            count = bucket(max(self.owners) + 1, len(self.table.tokens))
            for _ in range(_STRIDE):
                self.table.advance(count)
            self._leave(self.table.done[:count].tolist())
            if not self.waiting:
                self._gather()

    def _enter(self) -> bool:
        """Waiting answers take free slots; whether any answer is under way."""
        free = [slot for slot in range(len(self.table.tokens)) if slot not in self.owners]
        while self.waiting and len(self.waiting[0].answers) <= len(free):
            entering: list[tuple[_Group, list[int]]] = []
            budget = _PREFILL
            while self.waiting and len(self.waiting[0].answers) <= len(free):
                size = len(self.encoded[self.waiting[0].prompt])
                if entering and size > budget:
                    break
                group, budget = self.waiting.popleft(), budget - size
                slots, free = free[: len(group.answers)], free[len(group.answers) :]
                entering.append((group, slots))
                self.owners |= dict(zip(slots, group.answers, strict=True))
            self._prefill(entering)
        return bool(self.owners)

    def _prefill(self, entering: list[tuple[_Group, list[int]]]) -> None:
        """All tokens of each prompt but the last, once; the first step reads that one, in each of its slots."""
        table, device = self.table, self.table.device
        prompts = [self.encoded[group.prompt] for group, _ in entering]
        slots = [slot for _, some in entering for slot in some]
        owners = [place for place, (_, some) in enumerate(entering) for _ in some]
        here = onto(torch.tensor(slots), device)
        for part, values in (
            (table.tokens, [prompts[place][-1] for place in owners]),
            (table.positions, [len(prompts[place]) - 1 for place in owners]),
            (table.limits, [self.limit[entering[place][0].prompt] for place in owners]),
        ):
            part[here] = onto(torch.tensor(values), device)
        table.counts[here] = table.drawn[here] = 0
        table.logprobs[here] = 0.0
        table.done[here] = table.stopped[here] = False
        answers = onto(torch.tensor([self.owners[slot] for slot in slots]), device)
        table.numbers[here, : self.numbers.shape[1]] = self.numbers[answers]
        self._fill([prompt[:-1] for prompt in prompts], [some for _, some in entering])

    def _fill(self, heads: list[Sequence[int]], slots: list[list[int]]) -> None:
        """Compute the keys and values of `heads` and copy them into `slots` of each."""
        chosen = [(head, some) for head, some in zip(heads, slots, strict=True) if head]
        if not chosen:
            return
        table, device = self.table, self.table.device
        lengths = [len(head) for head, _ in chosen]
        starts = [sum(lengths[:place]) for place in range(len(lengths))]
        runs = zip(chosen, starts, lengths, strict=True)
        copies = [(slot, start, length) for (_, some), start, length in runs for slot in some]
        positions = torch.cat([torch.arange(length) for length in lengths])
        token = torch.cat([torch.arange(start, start + length) for _, start, length in copies])
        place = positions[token]
        slot = torch.repeat_interleave(torch.tensor([c[0] for c in copies]), torch.tensor([c[2] for c in copies]))
        token, place, slot, positions = (onto(part, device) for part in (token, place, slot, positions))
        whole = packed(table.forward.plan, packing_for(lengths, device, bounds=True))

        def attend(index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            table.keys[index, slot, place], table.values[index, slot, place] = key[token], value[token]
            return whole(index, query, key, value)

        table.forward(onto(torch.tensor([t for head, _ in chosen for t in head]), device), positions, attend)

    def _leave(self, done: list[bool]) -> None:
        """Keep what the answers that have ended drew; their slots are free."""
        slots = [slot for slot in self.owners if done[slot]]
        if not slots:
            return
        table, into = self.table, self.drawn
        answers = onto(torch.tensor([self.owners.pop(slot) for slot in slots]), table.device)
        here = onto(torch.tensor(slots), table.device)
        into.tokens[answers], into.logprobs[answers] = table.drawn[here], table.logprobs[here]
        into.counts[answers], into.stopped[answers] = table.counts[here], table.stopped[here]

    def _gather(self) -> None:
        """Nothing waits: where a smaller step holds all that is left, the rear slots move to the front."""
        fewer = bucket(len(self.owners), len(self.table.tokens)) if self.owners else 0
        sources = [slot for slot in self.owners if slot >= fewer]
        if not sources or bucket(max(sources) + 1, len(self.table.tokens)) == fewer:
            return
        targets = [slot for slot in range(fewer) if slot not in self.owners][: len(sources)]
        self.table.move(sources, targets)
        for source, target in zip(sources, targets, strict=True):
            self.owners[target] = self.owners.pop(source)
