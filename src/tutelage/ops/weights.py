"""Gradients of weights: a sum over tokens of outer products, in float32, on the matrix unit (native/weights.cpp)."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from tutelage.ops import native
from tutelage.ops.native import pointer, sizes


@functools.cache
def _library() -> Any:
    """The loop, where there are compiler and matrix unit; else None."""
    library: Any = native.library("weights")
    return library if library is not None and library.weights_usable() else None


def outer_sum(left: Tensor, right: Tensor, into: Tensor | None = None) -> Tensor:
    """`leftᵀ · right`, float32 [M, N]: what a weight [M, N] is to learn from what it was read with and sent back.

    bfloat16 on a processor with a matrix unit is summed in float32 throughout, in an order that depends on nothing;
    all else is PyTorch's product (which rounds the sum of bfloat16 to bfloat16).

    Args:
        left: [T, M], bfloat16 or float32
        right: [T, N], of the same kind
        into: float32 [M, N] to which the sum is added, and which is then the answer
    """
    half = left.dtype == torch.bfloat16 and left.device.type == "cpu"
    if not half or _library() is None:
        product = torch.mm(left.T, right).float()
        return product if into is None else into.add_(product)
    left, right = left.contiguous(), right.contiguous()
    out = left.new_empty(left.shape[1], right.shape[1], dtype=torch.float32) if into is None else into
    shape = sizes(len(left), left.shape[1], right.shape[1])
    _library().weights_product(
        pointer(left), pointer(right), pointer(out), *shape, int(into is not None), native.threads()
    )
    return out
