"""Our own forward for decoding, in C++ (ops/native/decoder.cpp): the weights of a stock model, laid out once.

decoder = Decoder(policy)        refused (UnfitError) unless it gives the stock forward's logits on a probe
decoder.sync()                   before each sampling call: lays out again what training has changed since
decoder.forward(…) ─► hidden     new tokens of many sequences, each row computed by itself in one fixed order
decoder.logits(hidden) ─► draw(…)
decoder.go_on(pages, under_way, …)   all of that, for several tokens of each answer
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.batches import TokenBatch
from tutelage.models._blueprint import UnfitError, blueprint
from tutelage.models._tiles import Weights
from tutelage.models.policy import Policy
from tutelage.ops import large, native

__all__ = ["PAGE", "ROWS", "Answers", "Decoder", "Pages", "UnfitError"]

PAGE = 16
"""Tokens whose keys and values lie together."""
ROWS = 128
"""Hidden states whose logits are computed at a time."""
_PROBE = (5, 18, 33)
_SLACK = 1e-4
"""Root-mean-square error of the probe's logits, in their standard deviations, that float32 may show."""
_TIMES = 3.0
"""In bfloat16: beyond that, this many times the error that the stock forward itself has under autocast."""
_WHOLE, _POINTER = ctypes.c_int64, ctypes.c_void_p

Whole = NDArray[np.int32]


class _Step(ctypes.Structure):
    _fields_ = [
        ("count", _WHOLE),
        *((name, _POINTER) for name in ("tokens", "positions", "rows", "table")),
        ("table_width", _WHOLE),
        ("asked", _WHOLE),
        ("which", _POINTER),
        ("hidden", _POINTER),
    ]


class _Answers(ctypes.Structure):
    _fields_ = [
        *((name, _WHOLE) for name in ("count", "width")),
        *((name, _POINTER) for name in ("rows", "tokens", "positions", "numbers", "table")),
        ("table_width", _WHOLE),
        *((name, _POINTER) for name in ("noise", "drawn", "logprobs", "counts", "limits", "stopped", "ends")),
        ("ends_count", _WHOLE),
        ("temperature", ctypes.c_float),
        ("greedy", ctypes.c_int32),
        ("hidden", _POINTER),
        ("logits", _POINTER),
        ("at_once", _WHOLE),
        ("logits_stride", _WHOLE),
    ]


@dataclass
class Answers:
    """What is drawn of N answers, each at most `width` tokens; `Decoder.go_on` writes into all but the last two."""

    tokens: NDArray[np.int64]
    """[N, width]"""
    logprobs: NDArray[np.float32]
    """[N, width]"""
    counts: NDArray[np.int64]
    """[N] tokens drawn so far"""
    stopped: NDArray[np.bool_]
    """[N] whether the last of them ends an answer"""
    limits: NDArray[np.int64]
    """[N] how many tokens each may have"""
    noise: NDArray[np.float32]
    """[N, width] in [0, 1): what each token is drawn with"""

    @classmethod
    def nothing(cls, limits: NDArray[np.int64], noise: NDArray[np.float32]) -> Answers:
        """Before the first token."""
        tokens, logprobs = np.zeros(noise.shape, np.int64), np.zeros(noise.shape, np.float32)
        return cls(tokens, logprobs, np.zeros(len(noise), np.int64), np.zeros(len(noise), np.bool_), limits, noise)


class Pages:
    """Room for the keys and values of many sequences: `count` pages of PAGE tokens, in all layers."""

    def __init__(self, decoder: Decoder, count: int) -> None:
        self.count = count
        self.layers = len(decoder.plan.layers)
        self.page_bytes = decoder.page_bytes
        self.memory = large.room(count * self.layers * self.page_bytes // 4)
        self._library = decoder.library

    def copy(self, sources: list[int], targets: list[int]) -> None:
        """Page sources[i] to page targets[i]."""
        pairs = np.array([sources, targets], dtype=np.int32)
        self._library.decoder_copy(
            native.pointer(self.memory),
            *native.sizes(self.layers, self.count, self.page_bytes, len(sources)),
            _address(pairs[0]),
            _address(pairs[1]),
            native.threads(),
        )


class Decoder:
    """A policy's forward over new tokens of many sequences, in the policy's compute dtype.

    Raises:
        UnfitError: no compiler, no CPU, another family, or logits that are not those of the stock forward.
    """

    def __init__(self, policy: Policy) -> None:
        library = native.library("decoder")
        if library is None:
            raise UnfitError(native.why_not("decoder"))
        if policy.device.type != "cpu":
            raise UnfitError(f"it is made for CPUs, and the model is on {policy.device}")
        self.library: Any = library
        self.library.decoder_room.restype = self.library.decoder_tiles.restype = _WHOLE
        self.library.decoder_digest.restype = ctypes.c_uint64
        self.plan = plan = blueprint(policy.core)
        self.half = policy.compute_dtype == torch.bfloat16
        self.page_bytes = plan.key_value_heads * 2 * PAGE * plan.size * (2 if self.half else 4)
        self._weights = Weights(self.library, plan, self.half)
        self.vocabulary = int(self._weights.model.vocabulary)
        self._model = ctypes.byref(self._weights.model)
        self._room = large.room(self.library.decoder_room(self._model) // 4)
        self._logits = torch.empty(ROWS, -(-self.vocabulary // 32) * 32)
        self._verify(policy)

    def sync(self) -> int:
        """Take over what training has changed; returns how many products were laid out anew."""
        return self._weights.sync()

    def forward(self, pages: Pages, table: Whole, rows: Whole, tokens: Whole, positions: Whole, asked: Whole) -> Tensor:
        """Run new tokens, each at its place of its sequence; what precedes it there is in its pages, or comes with it.

        Args:
            table: int32 [S, W], the pages of each sequence in order.
            rows, tokens, positions: int32 [T]: which sequence, which token, where; one sequence's tokens in order.
            asked: int32 [R], ascending: the tokens whose hidden states are wanted.

        Returns:
            float32 [R, hidden], normalised: what the head reads.
        """
        hidden = torch.empty(len(asked), self.plan.hidden)
        step = _Step(
            len(tokens), _address(tokens), _address(positions), _address(rows), _address(table), table.shape[1],
            len(asked), _address(asked), hidden.data_ptr(),
        )  # fmt: skip
        self.library.decoder_forward(
            self._model,
            ctypes.byref(step),
            native.pointer(pages.memory),
            *native.sizes(pages.count),
            native.pointer(self._room),
            native.threads(),
        )
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """float32 [R, vocabulary] of at most ROWS hidden states; overwritten by the next call."""
        self.library.decoder_logits(
            self._model,
            native.pointer(hidden),
            *native.sizes(len(hidden)),
            native.pointer(self._logits),
            *native.sizes(self._logits.shape[1]),
            native.threads(),
        )
        return self._logits[: len(hidden), : self.vocabulary]

    def draw(
        self, logits: Tensor, rows: Whole, noise: NDArray[np.float32], temperature: float, greedy: bool
    ) -> tuple[Whole, NDArray[np.float32]]:
        """Tokens by inverse transform over the whole vocabulary, and their log-probabilities at `temperature`.

        Args:
            logits: as `logits` gives them.
            rows: int32 [N], which of them each draw is made from.
            noise: float32 [N] in [0, 1).
        """
        tokens, logprobs = np.empty(len(rows), np.int32), np.empty(len(rows), np.float32)
        self.library.decoder_draw(
            native.pointer(logits),
            *native.sizes(logits.stride(0), self.vocabulary, len(rows)),
            _address(rows),
            _address(noise),
            native.real(temperature),
            int(greedy),
            _address(tokens),
            _address(logprobs),
            native.threads(),
        )
        return tokens, logprobs

    def go_on(
        self,
        pages: Pages,
        table: Whole,
        under_way: tuple[Whole, Whole, Whole, NDArray[np.int64]],
        answers: Answers,
        passes: int,
        until_one_ends: bool,
        ends: NDArray[np.int64],
        temperature: float,
        greedy: bool,
    ) -> None:
        """At most `passes` more tokens of each answer under way; ends early when all have ended, or one if so asked.

        Args:
            under_way: int32 [L] rows of `table`, last tokens and their positions, int64 [L] which answers they are;
                tokens and positions are advanced. Their pages reach as far as they may come.
            ends: int64, the tokens that end an answer.
        """
        rows, tokens, positions, numbers = under_way
        hidden = torch.empty(len(rows), self.plan.hidden)
        struct = _Answers(
            len(rows), answers.noise.shape[1], *map(_address, (rows, tokens, positions, numbers, table)),
            table.shape[1], *map(_address, (answers.noise, answers.tokens, answers.logprobs, answers.counts)),
            *map(_address, (answers.limits, answers.stopped, ends)), len(ends), temperature, int(greedy),
            hidden.data_ptr(), self._logits.data_ptr(), ROWS, self._logits.shape[1],
        )  # fmt: skip
        self.library.decoder_continue(
            self._model,
            ctypes.byref(struct),
            *native.sizes(passes),
            int(until_one_ends),
            native.pointer(pages.memory),
            *native.sizes(pages.count),
            native.pointer(self._room),
            native.threads(),
        )

    @torch.no_grad()
    def _verify(self, policy: Policy) -> None:
        """
        Raises:
            UnfitError: the logits of a few short sequences differ from those of the stock forward.
        """
        draw = np.random.default_rng(0)
        lengths = [min(length, self.plan.positions) for length in _PROBE]
        ids = [draw.integers(0, self.vocabulary, length).tolist() for length in lengths]
        batch = TokenBatch.of([(row, [False] * len(row)) for row in ids])
        rows = [torch.tensor([row]) for row in ids]
        wanted = torch.cat([policy.core(input_ids=row, use_cache=False).logits[0] for row in rows]).float()
        with policy.autocast():
            rounded = torch.cat([policy.core(input_ids=row, use_cache=False).logits[0] for row in rows]).float()
        found = torch.empty_like(wanted)
        pages = Pages(self, 4 * len(ids))
        table = np.arange(4 * len(ids), dtype=np.int32).reshape(len(ids), 4)
        every = [array.numpy().astype(np.int32) for array in (batch.rows, batch.tokens, batch.positions)]
        late = np.minimum(every[2], 3) == 3  # the first three tokens prefilled together, the others one by one
        for place in range(2, max(lengths)):
            chosen = ~late if place == 2 else late & (every[2] == place)
            slots, tokens, places = (np.ascontiguousarray(array[chosen]) for array in every)
            hidden = self.forward(pages, table, slots, tokens, places, np.arange(len(slots), dtype=np.int32))
            found[torch.from_numpy(chosen)] = self.logits(hidden)
        error, theirs = (float((logits - wanted).square().mean().sqrt() / wanted.std()) for logits in (found, rounded))
        if not error <= _SLACK + _TIMES * theirs:
            raise UnfitError(f"its logits differ from the stock forward's by {error:.2g} standard deviations")


def _address(array: NDArray[Any]) -> ctypes.c_void_p:
    assert array.flags.c_contiguous, "C++ reads it as it lies"
    return ctypes.c_void_p(array.ctypes.data)
