"""What stands between the matrix products of a Llama-like block, in C++, forward and backward (ops/native/body.cpp).

Plain functions without a graph: `models/body.py` strings them together and holds the gradient of the whole.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tutelage.ops import native
from tutelage.ops.native import pointer, real, sizes


@dataclass(frozen=True)
class Turn:
    """How queries and keys are normed and rotated (Su et al. 2021, 2104.09864)."""

    heads: int
    shared: int
    """key-value heads"""
    depth: int
    """numbers per head"""
    cosine: Tensor
    """float32 [T, depth]"""
    sine: Tensor
    """float32 [T, depth]"""
    query_norm: Tensor | None
    """float32 [depth]"""
    key_norm: Tensor | None
    eps: float


class _Turn(ctypes.Structure):
    _fields_ = [  # noqa: RUF012
        *((name, ctypes.c_int64) for name in ("rows", "heads", "shared", "depth")),
        *((name, ctypes.c_void_p) for name in ("cosine", "sine", "query_norm", "key_norm")),
        ("eps", ctypes.c_float),
    ]


def _library() -> Any:
    library = native.library("body")
    if library is None:
        raise ValueError(f"ask `native.available` first: {native.why_not('body')}")
    return library


def _half(dtype: torch.dtype) -> int:
    return int(dtype == torch.bfloat16)


def norm(
    stream: Tensor, more: Tensor | None, weight: Tensor, eps: float, kind: torch.dtype, out: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """The residual stream with `more` added, its root-mean-square norm (1910.07467), and the scales of that.

    Args:
        stream: float32 [T, W]
        more: [T, W] of `kind`, or None
        weight: float32 [W]
        out: of the normed rows: `kind` or float32

    Returns:
        float32 [T, W] (`stream` itself without `more`), `out` [T, W], float32 [T]
    """
    summed = stream if more is None else torch.empty_like(stream)
    normed, scale = stream.new_empty(stream.shape, dtype=out), stream.new_empty(len(stream))
    written = pointer(summed), pointer(normed), pointer(scale)
    how = *sizes(*stream.shape), real(eps), int(out == kind), _half(kind), native.threads()
    _library().body_norm_forward(pointer(stream), pointer(more), pointer(weight), *written, *how)
    return summed, normed, scale


def norm_backward(
    stream: Tensor, weight: Tensor, scale: Tensor, back: Tensor, through: Tensor | None, kind: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the stream, float32 and of `kind`, and of the weight.

    Args:
        back: [T, W], of what was normed
        through: float32 [T, W], of the stream itself, or None; it is overwritten
    """
    d_stream = torch.empty_like(stream) if through is None else through
    d_kind, d_weight = stream.new_empty(stream.shape, dtype=kind), torch.empty_like(weight)
    given = pointer(stream), pointer(weight), pointer(scale), pointer(back), pointer(through)
    how = *sizes(*stream.shape), int(back.dtype == kind), _half(kind), native.threads()
    _library().body_norm_backward(*given, pointer(d_stream), pointer(d_kind), pointer(d_weight), *how)
    return d_stream, d_kind, d_weight


def _job(turn: Turn, rows: int) -> _Turn:
    kept = turn.cosine, turn.sine, turn.query_norm, turn.key_norm
    places = (None if tensor is None else tensor.data_ptr() for tensor in kept)
    return _Turn(rows, turn.heads, turn.shared, turn.depth, *places, turn.eps)


def turned(turn: Turn, raw: Tensor) -> Tensor:
    """Queries and keys [T, heads + shared, depth], normed and rotated, of `raw` [T, heads + 2·shared, depth]."""
    out = raw.new_empty(len(raw), turn.heads + turn.shared, turn.depth)
    job = _job(turn, len(raw))
    _library().body_turn_forward(ctypes.byref(job), pointer(raw), pointer(out), _half(raw.dtype), native.threads())
    return out


def turned_backward(turn: Turn, raw: Tensor, d_raw: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Turns the gradients of `turned` in `d_raw` [T, heads + 2·shared, depth] into those of `raw`; those of the norms.

    The values' part of `d_raw` stays as it is.
    """
    norms = [None if weight is None else torch.empty_like(weight) for weight in (turn.query_norm, turn.key_norm)]
    job = _job(turn, len(raw))
    given = pointer(raw), pointer(d_raw), pointer(norms[0]), pointer(norms[1])
    _library().body_turn_backward(ctypes.byref(job), *given, _half(raw.dtype), native.threads())
    return norms[0], norms[1]


def gated(both: Tensor) -> Tensor:
    """silu(gate)·up [T, W] of `both` [T, 2W], the gate first (Shazeer 2020, 2002.05202)."""
    rows, width = both.shape[0], both.shape[1] // 2
    out = both.new_empty(rows, width)
    how = *sizes(rows, width), _half(both.dtype), native.threads()
    _library().body_gate_forward(pointer(both), pointer(out), *how)
    return out


def gated_backward(both: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    """`gated(both)` again, and the gradient of `both`."""
    out, d_both = torch.empty_like(back), torch.empty_like(both)
    how = *sizes(*back.shape), _half(both.dtype), native.threads()
    _library().body_gate_backward(pointer(both), pointer(back), pointer(out), pointer(d_both), *how)
    return out, d_both
