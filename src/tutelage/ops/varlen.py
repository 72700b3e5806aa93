"""Attention on CUDA by PyTorch's own flash kernels: packed tokens with their gradient, and one token against a cache.

What the kernels do not take (other devices, float32, odd heads) is for the caller to compute otherwise.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

_DEEPEST = 256
_AMPERE = (8, 0)


@dataclass(frozen=True)
class Bounds:
    """Where the sequences of a packed row begin, on the device; made once per batch.

    Example:
        >>> Bounds.of([3, 2], torch.device("cpu")).starts.tolist()
        [0, 3, 5]
    """

    starts: Tensor
    """int32 [B + 1], the end of the last one included"""
    longest: int

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Bounds:
        """Sequences of these lengths, side by side."""
        sizes = torch.tensor([0, *lengths], dtype=torch.int32)
        return cls(torch.cumsum(sizes, 0, dtype=torch.int32).to(device), max(lengths))


def why_not(device: torch.device, dtype: torch.dtype, depth: int) -> str:
    """Why the kernels cannot compute attention there, on numbers of this kind, with heads of this size; "" if they can.

    Example:
        >>> why_not(torch.device("cpu"), torch.bfloat16, 64)
        'it is made for CUDA, and this is cpu'
    """
    if device.type != "cuda":
        return f"it is made for CUDA, and this is {device.type}"
    if dtype not in (torch.bfloat16, torch.float16):
        return f"it is made for bfloat16 and float16, and this is {str(dtype).removeprefix('torch.')}"
    if depth % 8 or depth > _DEEPEST:
        return f"it takes heads of a multiple of 8 up to {_DEEPEST}, and these are {depth} wide"
    return _lacking(device)


@cache
def _lacking(device: torch.device) -> str:
    if torch.cuda.get_device_capability(device) < _AMPERE:
        return f"it wants a GPU of compute capability 8.0 or more, and this is {torch.cuda.get_device_name(device)}"
    return "" if torch.backends.cuda.is_flash_attention_available() else "this PyTorch was built without it"


def usable(*tensors: Tensor) -> bool:
    """Whether `attend` and `look_back` can hand `[…, D]` tensors, all of one kind and width, to the kernels."""
    first = tensors[0]
    one_kind = all(tensor.dtype == first.dtype and tensor.shape[-1] == first.shape[-1] for tensor in tensors)
    return one_kind and not why_not(first.device, first.dtype, first.shape[-1])


def attend(
    query: Tensor, key: Tensor, value: Tensor, bounds: Bounds, scale: float, window: int | None = None
) -> Tensor:
    """softmax(q·k·scale) v, each token over itself and what precedes it in its own sequence (at most `window` tokens).

    The gradient of a key that several tokens see is summed in no fixed order, unless
    `torch.use_deterministic_algorithms(True)` was called.

    Args:
        query: [T, H, D], bfloat16 or float16 on CUDA
        key: [T, Hk, D], H a multiple of Hk: query heads share key heads in runs of H/Hk, without copies
        value: [T, Hk, D]

    Returns:
        [T, H, D]
    """
    kernel, options = _kernel()
    # the kernel counts what it sees to the left of a token, which sees itself besides
    left = -1 if window is None or window >= bounds.longest else window - 1
    starts, longest = bounds.starts, bounds.longest
    return kernel(query, key, value, starts, starts, longest, longest, scale=scale, window_size=(left, 0), **options)


def look_back(query: Tensor, keys: Tensor, values: Tensor, used: Tensor, scale: float, window: int | None) -> Tensor:
    """One new token of each of N sequences over the first `used` (at most the last `window` of these) of its cache.

    No shape and no branch depends on what `used` holds, so that a CUDA graph can replay it. Without gradient. Where the
    flash kernel is not usable, one masked attention looks at the whole cache.

    Args:
        query: [N, H, D]
        keys: [N, W, Hk, D], contiguous: W places, the new token's among them
        values: as `keys`
        used: int32 [N]

    Returns:
        [N, H, D]
    """
    if not usable(query, keys, values):
        return _masked(query, keys, values, used, scale, window)
    count, width = keys.shape[:2]
    step = torch.arange(count + 1, dtype=torch.int32, device=query.device)
    rows = [cached.reshape(count * width, *cached.shape[2:]) for cached in (keys, values)]
    # the aten operator, for only later versions of `varlen_attn` know how many places are in use
    return torch.ops.aten._flash_attention_forward(
        query, *rows, step, step * width, 1, width, 0.0, False, False,
        scale=scale, window_size_left=-1 if window is None else window - 1,
        window_size_right=-1 if window is None else 0, seqused_k=used,
    )[0]  # fmt: skip


def _masked(query: Tensor, keys: Tensor, values: Tensor, used: Tensor, scale: float, window: int | None) -> Tensor:
    count, width, shared, depth = keys.shape
    place = torch.arange(width, device=query.device)[None]
    mask = place < used[:, None]
    if window is not None:
        mask = mask & (place >= used[:, None] - window)
    # The query heads that share a key head stand as that many queries: nothing is repeated.
    grouped = query.reshape(count, shared, -1, depth)
    out = scaled_dot_product_attention(
        grouped, keys.transpose(1, 2), values.transpose(1, 2), attn_mask=mask[:, None, None], scale=scale
    )
    return out.reshape(query.shape)


@cache
def _kernel() -> tuple[Any, dict[str, bool]]:
    """`varlen_attn`, and what must be said to it so that query heads may share key heads (2.11 takes that unsaid)."""
    from torch.nn.attention.varlen import varlen_attn

    said = "enable_gqa" in inspect.signature(varlen_attn).parameters
    return varlen_attn, {"enable_gqa": True} if said else {}
