"""What a process does with memory on a CPU: large pages, freed memory kept, compiled products let go (no torch).

glibc serves large tensors by fresh mappings; each page of them then costs a fault and a clearing when first written to,
at every training step again. Kept, the same pages come back warm. tcmalloc and jemalloc do so by themselves.
Large pages (2 MiB rather than 4 KiB) spare the processor most of its looking up of addresses.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import platform
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Names of settings in glibc's malloc.h."""
_NEVER = 2**31 - 1
_LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""PyTorch's own switch, which it reads at its first tensor."""
_KERNELS = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
"""How many compiled products oneDNN keeps: by default 1,024 of up to a MiB each, one for every number of rows that ever
came."""
_DYNAMIC = "OMP_DYNAMIC"
_SPIN, _POLICY = "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"
_LEAST_ROWS = 32
_NEW_OBJECTS = 50_000
_KERNEL = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@functools.cache
def keep_memory() -> bool:
    """Ask glibc to keep what is freed, for as long as this process lives; whether it does."""
    if platform.libc_ver()[0] != "glibc" or other_allocator():
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_TRIM_THRESHOLD, _NEVER)) and bool(library.mallopt(_MMAP_MAX, 0))


def prepare_for_torch() -> None:
    """Large pages, few kept kernels, threads that soon give way to others; to be called before torch is imported.

    GNU's OpenMP has threads spin for milliseconds where they wait for each other: on a machine that others use, each
    spins for one that is not scheduled. 27M, two threads, load 4 to 7: 197 and 349 tokens/s trained → 644 and 845.

    Who has set one of the variables already keeps their choice, but for OpenMP's leave to take fewer threads than were
    asked for: with it, most bfloat16 products of oneDNN are wrong, without a word.
    """
    os.environ.setdefault(_LARGE_PAGES, "1")
    os.environ.setdefault(_KERNELS, "192")
    if _POLICY not in os.environ:
        os.environ.setdefault(_SPIN, "30000")
    if os.environ.get(_DYNAMIC, "").strip().lower() in ("true", "1"):
        os.environ[_DYNAMIC] = "false"


def collect_seldom() -> None:
    """Let Python look for reference cycles after 50,000 new objects, not 700; for a process that is ours alone.

    While torch and transformers are imported it would look at all that is there again and again: 3.9 → 3.2 CPU seconds.
    No tensor of a training step is held by a cycle (a test).
    """
    gc.set_threshold(max(_NEW_OBJECTS, gc.get_threshold()[0]))


def product_rows(rows: int) -> int:
    """The number of rows that a bfloat16 product of `rows` is best filled up to, at most a sixteenth (or 31) more.

    A packed batch comes with another number at each step, and oneDNN compiles a product for each, in milliseconds;
    here are 16 to 32 numbers between a power of two and the next.
    """
    step = max(_LEAST_ROWS, 1 << max(0, rows.bit_length() - 5))
    return -(-rows // step) * step


def without_large_pages() -> str:
    """Why tensors do not lie in large pages, or empty: where they were asked for and the kernel gives them."""
    if os.environ.get(_LARGE_PAGES) != "1":
        return f"{_LARGE_PAGES} is not 1"
    if not _KERNEL.is_file():
        return "the system has none"
    return "the kernel's are switched off" if "[never]" in _KERNEL.read_text(encoding="ascii") else ""


def other_allocator() -> str:
    """`tcmalloc`, `jemalloc` or `mimalloc` where one stands in for glibc's, else empty."""
    maps = Path("/proc/self/maps")
    mapped = maps.read_text(encoding="utf-8", errors="replace") if maps.is_file() else ""
    return next((name for name in ("tcmalloc", "jemalloc", "mimalloc") if f"lib{name}" in mapped), "")
