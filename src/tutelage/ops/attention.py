"""Causal attention over packed tokens in C++, with its gradient: sequences of any length, or trees that share a prompt.

tokens  [a a a | b b | p p p x x y y y]    three trees; x and y see p whole and themselves causally
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from tutelage.ops import native
from tutelage.ops.native import pointer

_ALL = 2**31 - 2**20
"""A window that no sequence fills."""


@dataclass(frozen=True)
class Segments:
    """Which tokens belong together. The tokens of a tree lie side by side, each prefix before what it is the prefix of.

    Example:
        >>> Segments.of([3, 2]).length.tolist()
        [3, 2]
    """

    trees: Tensor
    """int64 [N + 1]: tree i consists of segments trees[i] … trees[i + 1] − 1"""
    start: Tensor
    """int64 [S]: first token of each segment"""
    length: Tensor
    """int64 [S]"""
    prefix: Tensor
    """int64 [S]: first token of the prefix that the segment sees"""
    before: Tensor
    """int64 [S]: length of that prefix; 0 = none"""

    @classmethod
    def of(cls, lengths: Sequence[int]) -> Segments:
        """Sequences of these lengths, side by side."""
        length = torch.tensor(list(lengths), dtype=torch.int64)
        start = torch.cumsum(length, 0) - length
        return cls(torch.arange(len(length) + 1), start, length, start, torch.zeros_like(length))

    @cached_property
    def tokens(self) -> int:
        """How many there are in all."""
        return int(self.length.sum())


class _Layout(ctypes.Structure):
    _fields_ = [("token", ctypes.c_int64), ("head", ctypes.c_int64)]  # noqa: RUF012


class _Job(ctypes.Structure):
    _fields_ = [  # noqa: RUF012
        *((name, ctypes.c_void_p) for name in ("trees", "start", "length", "prefix", "before")),
        *((name, ctypes.c_int64) for name in ("count", "heads", "shared", "depth", "window")),
        ("scale", ctypes.c_float),
    ]


def usable(*tensors: Tensor) -> bool:
    """Whether `attend` takes these: on the CPU, float32 or bfloat16, of one kind and width; and the C++ is there."""
    kinds = {(tensor.dtype, tensor.shape[-1]) for tensor in tensors}
    fit = len(kinds) == 1 and tensors[0].dtype in (torch.float32, torch.bfloat16)
    return fit and all(tensor.device.type == "cpu" for tensor in tensors) and native.available("attention")


def attend(
    query: Tensor, key: Tensor, value: Tensor, segments: Segments, scale: float, window: int | None = None
) -> Tensor:
    """softmax(q·k·scale) v, each token over itself and what precedes it in its own sequence (at most `window` tokens).

    Gradients reach query, key and value (once). The result has the same bits however many threads there are and
    whatever else is in the row.

    Args:
        query: [T, H, D], float32 or bfloat16; the numbers of one head side by side, else any strides
        key: [T, Hk, D], H a multiple of Hk: query heads share key heads in runs of H/Hk
        value: [T, Hk, D], any strides
    """
    return cast(Any, _Attend).apply(query, key, value, segments, scale, window)


def _placed(tensor: Tensor) -> tuple[ctypes.c_void_p, _Layout]:
    return pointer(tensor), _layout(tensor)


def _layout(tensor: Tensor) -> _Layout:
    return _Layout(tensor.stride(0), tensor.stride(1))


def _plain(tensor: Tensor) -> Tensor:
    return tensor if tensor.stride(2) == 1 else tensor.contiguous()


def forward(
    query: Tensor, key: Tensor, value: Tensor, segments: Segments, scale: float, window: int | None
) -> tuple[Tensor, Tensor]:
    """What `attend` answers, [T, H, D], and the logarithms of its normalisers, float32 [T, H]. Builds no graph."""
    query, key, value = _fit(query, key, value)
    out = query.new_empty(query.shape)
    total = torch.empty(query.shape[:2], dtype=torch.float32)
    given = *_placed(query), *_placed(key), *_placed(value)
    job = _job(query, key, segments, scale, window)
    _library().attention_forward(ctypes.byref(job), *given, *_placed(out), pointer(total), *_how(query))
    return out, total


def backward(
    back: Tensor,
    said: tuple[Tensor, Tensor],
    inputs: tuple[Tensor, Tensor, Tensor],
    segments: Segments,
    scale: float,
    window: int | None,
    into: tuple[Tensor, Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value; `said` is what `forward` answered for `inputs`.

    Args:
        into: where they are to be written, those of key and value with the same strides
    """
    (out, total), (query, key, value) = said, _fit(*inputs)
    back = back.contiguous()
    d_query, d_key, d_value = into or (torch.empty(x.shape, dtype=x.dtype) for x in (query, key, value))
    job = _job(query, key, segments, scale, window)
    given = *_placed(query), *_placed(key), *_placed(value), pointer(out), pointer(back)
    made = pointer(d_query), _layout(d_query), pointer(d_key), pointer(d_value), _layout(d_key)
    _library().attention_backward(ctypes.byref(job), *given, _layout(out), pointer(total), *made, *_how(query))
    return d_query, d_key, d_value


def _fit(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if key.shape != value.shape:
        raise ValueError(f"key {tuple(key.shape)} and value {tuple(value.shape)} must have one shape")
    return _plain(query), _plain(key), _plain(value)


def _how(query: Tensor) -> tuple[int, int]:
    return int(query.dtype == torch.bfloat16), native.threads()


def _job(query: Tensor, key: Tensor, segments: Segments, scale: float, window: int | None) -> _Job:
    fit = len(key) == segments.tokens == len(query) and query.shape[1] % key.shape[1] == 0
    if not fit or query.shape[2] != key.shape[2]:
        raise ValueError(f"{segments.tokens} tokens in segments, query {tuple(query.shape)}, key {tuple(key.shape)}")
    places = (segments.trees, segments.start, segments.length, segments.prefix, segments.before)
    sizes = len(segments.trees) - 1, query.shape[1], key.shape[1], query.shape[2], min(window or _ALL, _ALL)
    return _Job(*(place.data_ptr() for place in places), *sizes, scale)


def _library() -> Any:
    library = native.library("attention")
    if library is None:
        raise ValueError(f"ask `usable` first: {native.why_not('attention')}")
    return library


class _Attend(Function):
    """Keeps queries, keys, values, the answer and its normalisers; the weights are computed again."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, segments: Segments, scale: float, window: int | None
    ) -> Tensor:
        out, total = forward(query, key, value, segments, scale, window)
        ctx.save_for_backward(query, key, value, out, total)
        ctx.how = segments, scale, window
        return out

    @staticmethod
    @once_differentiable  # which hides the parameters' names from the type checker
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        query, key, value, out, total = ctx.saved_tensors
        return *backward(grad_outputs[0], (out, total), (query, key, value), *ctx.how), None, None, None
