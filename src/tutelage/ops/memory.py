"""How much memory is free, and how many tokens one forward and backward pass may take in it (no torch)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST = {"cpu": 8192}
"""Tokens of a part where memory abounds: more are not faster."""
MOST_ON_ACCELERATOR = 32768
_LEAST = 256
_SHARE = 0.5
"""of what is free; the rest is for what the estimate does not know: fragments, buffers, other programs"""
_ON_TRAINING = 12
"""bytes that each trained parameter still needs: float32 gradient and two moments"""
_COPIED = 2
"""bytes that each parameter needs in bfloat16"""
_TORCHS_WORDS = ("out of memory", "can't allocate memory")

_CGROUP = Path("/sys/fs/cgroup")
_GROUPS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)
"""Files of a control group: its limit, what it uses, and the name of what of that can be had back at once."""


@dataclass
class Room:
    """Tokens that one pass may take. Copies of a model share it, so that all that a step asks is cut alike."""

    tokens: int = MOST["cpu"]
    recompute: bool = False
    """whether the backward pass computes layers again instead of keeping what is in them (gradient checkpointing,
    Chen et al. 2016, 1604.06174): the same gradients, a third more work"""
    shared: bool = False
    """whether a prompt that rows share counts once, since it is computed once"""
    lasting: int = 0
    """tokens of a pass that may lie in memory from the scoring of a batch until it is learned from"""

    def __deepcopy__(self, memo: dict[int, Any]) -> Room:
        return self


@dataclass(frozen=True)
class Shape:
    """What a token costs in one model."""

    parameters: int
    trained: int
    layers: int
    width: int
    inner: int
    number_bytes: int
    """of an activation: 2 in bfloat16, 4 in float32"""

    @property
    def per_token(self) -> int:
        """Bytes kept between forward and backward."""
        return activations(self.layers, self.width, self.inner) * self.number_bytes


def activations(layers: int, width: int, inner: int, *, recompute: bool = False) -> int:
    """Numbers per token that a backward pass needs, (14·width + 4·inner)·layers; our own body keeps about half.

    Where layers are computed again, their inputs (4·width at most) and the inside of one layer.
    """
    inside = 14 * width + 4 * inner
    return 4 * width * layers + inside if recompute else inside * layers


def ran_out(error: BaseException) -> bool:
    """Whether memory did not suffice: PyTorch says so in more than one way."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _TORCHS_WORDS)


def free_bytes() -> int:
    """Memory this process may still use: the smaller of the machine's free memory and what its container leaves it."""
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    info = Path("/proc/meminfo")
    if info.exists():
        lines = dict(line.split(":", 1) for line in info.read_text(encoding="ascii").splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    return min([free, *_left_by_containers()])


def _left_by_containers() -> Iterator[int]:
    """What control groups, of the second version or the first, leave; files that were read once do not count as used.

    The kernel charges them to the group and lets them go when memory is wanted: a model's own files, for one.
    """
    for *names, old in _GROUPS:
        files = [_CGROUP / name for name in names]
        if not all(file.is_file() for file in files):
            continue
        limit, used, stat = (file.read_text(encoding="ascii").strip() for file in files)
        if limit.isdigit():  # else there is none
            lines = dict(line.split() for line in stat.splitlines())
            yield int(limit) - int(used) + int(lines.get(old, 0))


def tokens_that_fit(shapes: list[Shape], free: int, most: int) -> int:
    """Tokens of a part: the largest power of two in `fitting`.

    Args:
        most: upper limit; there is a lower one too, for a part holds at least one row whatever is estimated.

    Example:
        >>> small = Shape(27_000_000, 27_000_000, layers=8, width=384, inner=1280, number_bytes=2)
        >>> [tokens_that_fit([small], gib * 2**30, 8192) for gib in (1, 2, 8)]
        [2048, 4096, 8192]
    """
    power = 1 << max(fitting(shapes, free), 1).bit_length() - 1
    return min(most, max(_LEAST, power))


def fitting(shapes: list[Shape], free: int) -> int:
    """Tokens whose activations take half of what training leaves free; 0 or less where it leaves nothing.

    Args:
        shapes: of the models that learn in one pass (policy and critic), their weights in memory already.
    """
    left = free - sum(shape.trained * _ON_TRAINING + shape.parameters * _COPIED for shape in shapes)
    return int(left * _SHARE) // max(1, sum(shape.per_token for shape in shapes))
