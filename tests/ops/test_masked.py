"""Masked means, variances and whitening: by hand, and with NaN under the mask."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tutelage.ops.masked import explained_variance, keep, masked_mean, masked_sum, masked_var, whiten

NAN = float("nan")
X = torch.tensor([[1.0, 2.0, NAN], [6.0, NAN, NAN]])
MASK = torch.tensor([[True, True, False], [True, False, False]])


def test_sums_and_means_count_kept_entries_only() -> None:
    assert masked_sum(X, MASK) == 9
    assert masked_mean(X, MASK) == 3
    assert masked_sum(X, MASK, dim=1).tolist() == [3, 6]
    assert masked_mean(X, MASK, dim=1).tolist() == [1.5, 6]


def test_a_weight_per_row_weighs_its_tokens() -> None:
    assert masked_mean(X, MASK, torch.tensor([[1.0], [3.0]])) == pytest.approx((1 + 2 + 18) / 5)


def test_nothing_kept_gives_zero_rather_than_nan() -> None:
    nothing = torch.zeros_like(MASK)
    assert masked_mean(X, nothing) == 0
    assert masked_var(X, nothing) == 0
    assert masked_mean(X, torch.tensor([[True, True, False], [False] * 3]), dim=1).tolist() == [1.5, 0]


def test_masked_nan_leaks_neither_value_nor_gradient() -> None:
    x = X.clone().requires_grad_()
    masked_mean(keep(x, MASK).exp(), MASK).backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert (x.grad[~MASK] == 0).all()


def test_variance_has_bessels_correction() -> None:
    assert masked_var(X, MASK) == pytest.approx(torch.var(torch.tensor([1.0, 2.0, 6.0])).item())


def test_whitened_entries_have_mean_zero_and_variance_one() -> None:
    white = whiten(X, MASK)
    assert white[MASK].mean().abs() < 1e-6
    assert white[MASK].var() == pytest.approx(1, abs=1e-5)
    assert (white[~MASK] == 0).all()


def test_whitening_may_leave_the_mean() -> None:
    white = whiten(X, MASK, shift_mean=False)
    assert white[MASK].mean() == pytest.approx(3, abs=1e-5)
    assert white[MASK].var() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kept", [0, 1])
def test_fewer_than_two_entries_are_not_whitened(kept: int) -> None:
    mask = torch.arange(3) < kept
    assert whiten(torch.tensor([5.0, NAN, NAN]), mask).tolist() == [5.0 * kept, 0, 0]


def test_equal_entries_whiten_to_zero() -> None:
    assert whiten(torch.full((2, 2), 0.3), torch.ones(2, 2)).abs().max() < 1e-3


@pytest.mark.parametrize(("values", "expected"), [([1.0, 2.0, 4.0], 1.0), ([7 / 3] * 3, 0.0), ([4.0, 2.0, 1.0], -3.0)])
def test_explained_variance_is_one_for_a_perfect_critic(values: list[float], expected: float) -> None:
    returns = torch.tensor([1.0, 2.0, 4.0, NAN])
    got = explained_variance(torch.tensor([*values, NAN]), returns, torch.tensor([True, True, True, False]))
    residual = returns[:3] - torch.tensor(values)
    assert got == pytest.approx(1 - float(residual.var() / returns[:3].var()), abs=1e-6)
    if expected >= 0:
        assert got == pytest.approx(expected, abs=1e-6)


def test_explained_variance_of_constant_returns_is_zero() -> None:
    ones: Tensor = torch.ones(3)
    assert explained_variance(ones * 2, ones, ones) == 0
