"""PyTorch's switch is set while it is wanted and then as before; shares counted in whole numbers sum like floats."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.utils.deterministic

from tutelage.ops.determinism import counted_sum, deterministic, running_sum

FILLING: Any = torch.utils.deterministic


def test_the_switch_is_set_inside_and_as_before_outside():
    for before in (False, True):
        torch.use_deterministic_algorithms(before)
        try:
            with deterministic(False):
                assert torch.are_deterministic_algorithms_enabled() == before
            with pytest.raises(ValueError, match="inside"), deterministic():
                assert torch.are_deterministic_algorithms_enabled()
                assert not FILLING.fill_uninitialized_memory
                raise ValueError("inside")
            assert torch.are_deterministic_algorithms_enabled() == before
            assert FILLING.fill_uninitialized_memory
        finally:
            torch.use_deterministic_algorithms(False)


def test_shares_counted_in_whole_numbers_sum_to_what_floats_do():
    torch.manual_seed(0)
    shares = torch.softmax(8 * torch.randn(16, 50_000), -1)
    exact = shares.double().cumsum(-1)
    counted = counted_sum(shares)
    assert counted.dtype == torch.float32
    assert (counted - exact).abs().max() < 1e-7
    assert (counted.diff(dim=-1) >= 0).all() and counted[:, -1].le(1.0001).all()


def test_what_has_no_share_is_never_drawn():
    shares = torch.tensor([[0.0, 0.25, 0.0, 0.75, 0.0]])
    assert torch.equal(counted_sum(shares), torch.tensor([[0.0, 0.25, 0.25, 1.0, 1.0]]))
    assert torch.equal(running_sum(shares), counted_sum(shares))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="NOT TESTED: on a gpu only")
def test_on_a_gpu_the_sum_is_taken_and_repeats_to_the_bit():
    shares = torch.softmax(8 * torch.randn(64, 50_000, device="cuda"), -1)
    with deterministic():
        found = [running_sum(shares) for _ in range(5)]
    assert all(torch.equal(each, found[0]) for each in found)
