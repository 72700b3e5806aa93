"""Freed memory comes back warm, and does not pile up."""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tutelage.ops.allocator import collect_seldom, prepare_for_torch, product_rows

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


LARGE = """
import sys
from tutelage.ops.allocator import prepare_for_torch, without_large_pages
prepare_for_torch()
assert "torch" not in sys.modules, "too late"
import torch
kept = torch.ones(16 << 20)
large = [int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("AnonHugePages")]
print(large[0] >> 10, without_large_pages() or "-")
"""


def _large(**surroundings: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", LARGE], env=os.environ | surroundings, capture_output=True, text=True, check=True
    )
    size, missing = done.stdout.split(maxsplit=1)
    return int(size), missing.strip()


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").is_dir(), reason="NOT TESTED: no large pages here")
def test_tensors_lie_in_large_pages_where_the_kernel_gives_them_and_nobody_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    kernel = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text(encoding="ascii")
    asked, missing = _large(THP_MEM_ALLOC_ENABLE="")
    assert missing == "THP_MEM_ALLOC_ENABLE is not 1", "whoever set it keeps their choice"
    size, missing = _large()
    if "[never]" in kernel:
        assert missing == "the kernel's are switched off"
    else:
        assert missing == "-"
        assert size >= 48, "of 64 MiB"
        assert "[always]" in kernel or asked < 8


PRODUCTS = """
import os
from tutelage.ops.allocator import prepare_for_torch
prepare_for_torch()
import torch
draw = torch.Generator().manual_seed(0)
worst = 0.0
for rows, depth, columns in torch.randint(100, 700, (40, 3), generator=draw).tolist():
    a, b = (torch.randn(*shape, generator=draw).bfloat16() for shape in ((rows, depth), (depth, columns)))
    exact = a.double() @ b.double()
    worst = max(worst, float((torch.mm(a, b).double() - exact).norm() / exact.norm()))
print(os.environ["OMP_DYNAMIC"], worst)
"""


def test_products_are_right_also_where_openmp_may_take_fewer_threads_than_asked_for():
    around = os.environ | {"OMP_DYNAMIC": "true", "OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "4"}
    done = subprocess.run([sys.executable, "-c", PRODUCTS], env=around, capture_output=True, text=True, check=True)
    leave, worst = done.stdout.split()
    assert leave == "false" and float(worst) < 0.01, "wrong only while the machine is busy"


def test_rows_are_filled_up_to_few_numbers_and_by_a_sixteenth_at_most():
    for rows in (1, 31, 32, 33, 500, 511, 513, 2770, 8191, 8192, 8193):
        assert rows <= product_rows(rows) <= max(rows * 17 / 16, rows + 31)
    assert len({product_rows(rows) for rows in range(2049, 4097)}) == 16 and product_rows(
        product_rows(2770)
    ) == product_rows(2770)
    assert product_rows(0) == 0


def test_cycles_are_looked_for_seldom_and_a_higher_wish_stays():
    before = gc.get_threshold()
    try:
        for asked, left in ((700, 50_000), (90_000, 90_000)):
            gc.set_threshold(asked, 10, 10)
            collect_seldom()
            assert gc.get_threshold()[0] == left
    finally:
        gc.set_threshold(*before)


@pytest.mark.parametrize(
    ("before", "after"),
    [({}, "30000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_waiting_threads_give_way_soon_unless_somebody_said_otherwise(before, after, monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    prepare_for_torch()
    assert os.environ.get("GOMP_SPINCOUNT") == after
