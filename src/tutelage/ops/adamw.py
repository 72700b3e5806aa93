"""AdamW in one pass over memory (ops/native/adamw.cpp): gradients scaled, weights and moments renewed, copies made.

PyTorch's way to the same numbers is a pass for the division by the batch's weight, one for the clipping, one for its
fused AdamW, and one for each copy of the weights in another type.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from tutelage.ops import native
from tutelage.ops.native import pointer


class _Job(ctypes.Structure):
    _fields_ = [  # noqa: RUF012
        *((name, ctypes.c_void_p) for name in ("weight", "gradient", "mean", "square", "narrow")),
        ("count", ctypes.c_int64),
        *((name, ctypes.c_float) for name in ("share", "keep", "stride", "root", "eps", "fresh", "old", "young")),
    ]


def why_not(parameters: Iterable[Tensor]) -> str:
    """Why these cannot be renewed by the loop, in words; empty where they can."""
    for parameter in parameters:
        if parameter.device.type != "cpu" or parameter.dtype != torch.float32 or not parameter.is_contiguous():
            return f"weights are {parameter.dtype} on {parameter.device}"
    return native.why_not("adamw")


def total_norm(tensors: Sequence[Tensor]) -> float:
    """√Σx² of all numbers of float32 CPU tensors; the same bits with any number of threads."""
    flat = [_plain(tensor) for tensor in tensors]
    pointers = (ctypes.c_void_p * len(flat))(*(tensor.data_ptr() for tensor in flat))
    counts = (ctypes.c_int64 * len(flat))(*(tensor.numel() for tensor in flat))
    squares = _library().adamw_squares(pointers, counts, ctypes.c_int64(len(flat)), native.threads())
    return math.sqrt(squares) if math.isfinite(squares) else squares


class AdamW(torch.optim.AdamW):
    """PyTorch's fused AdamW by our own loop: same state, same numbers to rounding, no bits that depend on threads.

    Two things more, both done on the way: gradients are multiplied by their group's `share` (default 1; they stay as
    they are in memory), and `copies` are written.
    """

    copies: Mapping[Tensor, Tensor] = {}
    """of parameters (by identity): contiguous bfloat16 tensors of as many numbers, which the next step writes"""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Renew every parameter that has a gradient.

        Raises:
            ValueError: a closure is given, or a way of PyTorch's AdamW that the loop does not know.
        """
        if closure is not None:
            raise ValueError("no closure: gradients are there before the step")
        held = list[Tensor]()  # gradients that had to be laid out anew live until the loop is through
        jobs = list[_Job]()
        for group in self.param_groups:
            if group["amsgrad"] or group["maximize"]:
                raise ValueError("neither amsgrad nor maximize")
            for parameter in group["params"]:
                if parameter.grad is not None:
                    held.append(_plain(parameter.grad))
                    jobs.append(self._job(group, parameter, held[-1]))
        _library().adamw_step((_Job * len(jobs))(*jobs), ctypes.c_int64(len(jobs)), native.threads())

    def _job(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor) -> _Job:
        state = cast(dict[str, Tensor], self.state[parameter])
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        done, rate, (first, second) = float(state["step"]), float(group["lr"]), group["betas"]
        tensors = parameter, gradient, state["exp_avg"], state["exp_avg_sq"], self.copies.get(parameter)
        stride, root = rate / (1 - first**done), math.sqrt(1 - second**done)
        numbers = group.get("share", 1.0), 1 - rate * group["weight_decay"], stride, root
        return _Job(*map(pointer, tensors), parameter.numel(), *numbers, group["eps"], 1 - first, second, 1 - second)


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().float().contiguous()


def _library() -> Any:
    library: Any = native.library("adamw")
    if library is None:
        raise ValueError(f"ask `why_not` first: {native.why_not('adamw')}")
    library.adamw_squares.restype = ctypes.c_double
    return library
