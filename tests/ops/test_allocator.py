"""Freed memory comes back warm, and does not pile up."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from tutelage.ops.allocator import keep_memory, other_allocator
print(int(keep_memory()), other_allocator() or "-")
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    kept = [torch.ones(2_000_000 + 10_000 * i) for i in range(8)]
    return sum(float(x[0]) for x in kept)
for _ in range(3):
    step()
before, peak = faults(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(50):
    step()
print(faults() - before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="NOT TESTED: another C library than glibc")
def test_pages_of_freed_tensors_are_not_asked_for_again_and_memory_does_not_grow():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    (kept, other), (faults, growth) = (line.split() for line in done.stdout.splitlines())
    if other != "-":
        pytest.skip(f"NOT TESTED: {other} is preloaded")
    assert kept == "1"
    assert int(faults) < 20_000, "50 steps of 64 MB would be 800,000 pages"
    assert int(growth) < 32_000
