"""Memory in large pages (2 MiB), for what is streamed again and again: weights in tiles, cached keys and values.

With small pages (4 KiB) the processor looks an address up for every 32 rows of a tile, in a virtual machine at some ten
times the price; where the system has no large pages to give, this is memory like any other.
"""

from __future__ import annotations

import mmap

import torch
from torch import Tensor

_LARGE = 2 << 20
_WORD = 4


def room(words: int) -> Tensor:
    """int32 [words], zeros, at the beginning of a large page; small requests are served as usual."""
    size = words * _WORD
    if size < _LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.zeros(words, dtype=torch.int32)
    memory = mmap.mmap(-1, -(-size // _LARGE) * _LARGE + _LARGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # a kernel without them
        return torch.zeros(words, dtype=torch.int32)
    whole = torch.frombuffer(memory, dtype=torch.int32)  # keeps the mapping alive
    skipped = -whole.data_ptr() % _LARGE // _WORD
    return whole[skipped : skipped + words]
