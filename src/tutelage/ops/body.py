"""What stands between the matrix products of a block, in C++, forward and backward (ops/native/body.cpp).

Plain functions without a graph: `models/body.py` strings them together and holds the gradient of the whole.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tutelage.ops import native
from tutelage.ops.native import pointer, sizes


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


@dataclass(frozen=True)
class Norm:
    """Of the root mean square (Zhang & Sennrich 2019, 1910.07467), or of what is left without the mean (1607.06450)."""

    weight: Tensor
    """float32 [W]"""
    bias: Tensor | None
    """float32 [W]"""
    eps: float
    centred: bool

    @property
    def tensors(self) -> list[Tensor]:
        """In the order in which `norm_backward` answers their gradients."""
        return [self.weight] if self.bias is None else [self.weight, self.bias]


class _Turn(ctypes.Structure):
    _fields_ = [  # noqa: RUF012
        *((name, ctypes.c_int64) for name in ("rows", "heads", "shared", "depth")),
        *((name, ctypes.c_void_p) for name in ("cosine", "sine", "query_norm", "key_norm")),
        ("eps", ctypes.c_float),
    ]


class _Norm(ctypes.Structure):
    _fields_ = [  # noqa: RUF012
        *((name, ctypes.c_int64) for name in ("rows", "width")),
        *((name, ctypes.c_void_p) for name in ("weight", "bias")),
        ("centred", ctypes.c_int32),
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
    stream: Tensor, more: Tensor | None, how: Norm, kind: torch.dtype, out: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """The residual stream with `more` added, its norm, and the scales and means of that.

    Args:
        stream: float32 [T, W]
        more: [T, W] of `kind`, or None
        out: of the normed rows: `kind` or float32

    Returns:
        float32 [T, W] (`stream` itself without `more`), `out` [T, W], float32 [2, T]
    """
    summed = stream if more is None else torch.empty_like(stream)
    normed, marks = stream.new_empty(stream.shape, dtype=out), stream.new_empty(2, len(stream))
    given = ctypes.byref(_norm_job(how, stream)), pointer(stream), pointer(more)
    written = pointer(summed), pointer(normed), pointer(marks)
    _library().body_norm_forward(*given, *written, int(out == kind), _half(kind), native.threads())
    return summed, normed, marks


def norm_backward(
    stream: Tensor, how: Norm, marks: Tensor, back: Tensor, through: Tensor | None, kind: torch.dtype
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Gradients of the stream, float32 and of `kind`, and of the norm's weight and bias.

    Args:
        back: [T, W], of what was normed
        through: float32 [T, W], of the stream itself, or None; it is overwritten
    """
    d_stream = torch.empty_like(stream) if through is None else through
    d_kind = stream.new_empty(stream.shape, dtype=kind)
    own = [torch.empty_like(tensor) for tensor in how.tensors]
    given = ctypes.byref(_norm_job(how, stream)), pointer(stream), pointer(marks), pointer(back), pointer(through)
    made = pointer(d_stream), pointer(d_kind), pointer(own[0]), pointer(own[1] if len(own) > 1 else None)
    _library().body_norm_backward(*given, *made, int(back.dtype == kind), _half(kind), native.threads())
    return d_stream, d_kind, own


def _norm_job(how: Norm, stream: Tensor) -> _Norm:
    bias = None if how.bias is None else how.bias.data_ptr()
    return _Norm(*stream.shape, how.weight.data_ptr(), bias, how.centred, how.eps)


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


def gelu(x: Tensor) -> Tensor:
    """x·Φ(x) by its tanh formula (Hendrycks & Gimpel 2016, 1606.08415); [T, W]."""
    out = torch.empty_like(x)
    _library().body_gelu_forward(pointer(x), pointer(out), *sizes(x.numel()), _half(x.dtype), native.threads())
    return out


def gelu_backward(x: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    """`gelu(x)` again, and the gradient of `x`."""
    out, d_x = torch.empty_like(x), torch.empty_like(x)
    given = pointer(x), pointer(back), pointer(out), pointer(d_x)
    _library().body_gelu_backward(*given, *sizes(x.numel()), _half(x.dtype), native.threads())
    return out, d_x


def columns(rows: Tensor) -> Tensor:
    """float32 [W]: the sum of each column of `rows` [T, W]."""
    out = rows.new_empty(rows.shape[1], dtype=torch.float32)
    _library().body_columns(pointer(rows), pointer(out), *sizes(*rows.shape), _half(rows.dtype), native.threads())
    return out
