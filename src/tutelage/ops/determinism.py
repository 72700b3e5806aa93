"""The same bits from the same run: PyTorch's switch for sums in a fixed order, and what that switch refuses."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.deterministic
from torch import Tensor

_CUBLAS, _WORKSPACE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
_WHOLE = float(2**52)
_filling: Any = torch.utils.deterministic


@contextmanager
def deterministic(wanted: bool = True) -> Generator[None, None, None]:
    """While it lasts, PyTorch sums in a fixed order, and refuses (RuntimeError) what it cannot compute so.

    To be entered before the first product on a GPU: cuBLAS reads its setting once, which therefore stays. PyTorch's own
    are put back as they were.
    """
    if not wanted:
        yield
        return
    os.environ.setdefault(_CUBLAS, _WORKSPACE)
    before, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = _filling.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    # writing NaN into all new memory finds reads of what nobody wrote; it is no part of an order
    _filling.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
        _filling.fill_uninitialized_memory = filled


def running_sum(shares: Tensor) -> Tensor:
    """The cumulative sum over the last dimension of `[…, V]`, float32 shares of at most 1 in all.

    PyTorch has no float sum of this kind in a fixed order on CUDA: there, where one is wanted, shares are counted in
    whole 2⁻⁵² (a smaller one is 0), whose sum does not depend on any order.
    """
    if torch.are_deterministic_algorithms_enabled() and shares.device.type != "cpu":
        return counted_sum(shares)
    return shares.cumsum(-1)


def counted_sum(shares: Tensor) -> Tensor:
    """`running_sum` by whole numbers, on any device."""
    return ((shares.double() * _WHOLE).long().cumsum(-1).double() / _WHOLE).to(shares.dtype)
