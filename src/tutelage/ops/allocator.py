"""What the C library does with freed memory: kept for the next step, rather than given back and asked for page by page.

glibc serves large tensors by fresh mappings; each page of them then costs a fault and a clearing when first written to,
at every training step again. Kept, the same pages come back warm. tcmalloc and jemalloc do so by themselves.
"""

from __future__ import annotations

import ctypes
import functools
import platform
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Names of settings in glibc's malloc.h."""
_NEVER = 2**31 - 1


@functools.cache
def keep_memory() -> bool:
    """Ask glibc to keep what is freed, for as long as this process lives; whether it does."""
    if platform.libc_ver()[0] != "glibc" or other_allocator():
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_TRIM_THRESHOLD, _NEVER)) and bool(library.mallopt(_MMAP_MAX, 0))


def other_allocator() -> str:
    """`tcmalloc`, `jemalloc` or `mimalloc` where one stands in for glibc's, else empty."""
    maps = Path("/proc/self/maps")
    mapped = maps.read_text(encoding="utf-8", errors="replace") if maps.is_file() else ""
    return next((name for name in ("tcmalloc", "jemalloc", "mimalloc") if f"lib{name}" in mapped), "")
