"""The sum of outer products against PyTorch's in float64: odd sizes, several chunks of rows, sums that go on."""

from __future__ import annotations

import pytest
import torch

from tutelage.ops.weights import outer_sum


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(1, 1, 1), (33, 31, 65), (64, 300, 32), (2049, 40, 33), (4500, 33, 70)])
def test_it_is_the_exact_sum_and_adds_to_one_that_is_there(shape, dtype):
    rows, left_width, right_width = shape
    torch.manual_seed(rows)
    left, right = (torch.randn(rows, width).to(dtype) for width in (left_width, right_width))
    exact = left.double().T @ right.double()
    share = 1e-6 if dtype == torch.float32 else 2e-6
    found = outer_sum(left, right)
    if dtype == torch.bfloat16 and torch.equal(found, torch.mm(left.T, right).float()):
        share = 4e-3  # no matrix unit here
    assert found.dtype == torch.float32 and (found - exact).norm() <= share * exact.norm()
    twice = outer_sum(left, right, into=found.clone())
    assert (twice - 2 * exact).norm() <= 2 * share * exact.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_sum_over_no_rows_is_nothing(dtype):
    left, right = torch.zeros(0, 33, dtype=dtype), torch.zeros(0, 40, dtype=dtype)
    assert torch.equal(outer_sum(left, right), torch.zeros(33, 40))
    assert torch.equal(outer_sum(left, right, into=torch.ones(33, 40)), torch.ones(33, 40))
    assert outer_sum(torch.zeros(5, 0, dtype=dtype), torch.ones(5, 40, dtype=dtype)).shape == (0, 40)


def test_bits_depend_neither_on_threads_nor_on_the_call():
    left, right = (torch.randn(3000, width).bfloat16() for width in (700, 65))
    before, seen = torch.get_num_threads(), list[torch.Tensor]()
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            seen.append(outer_sum(left, right))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[1], seen[2])
