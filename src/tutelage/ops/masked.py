"""Sums, means and variances over the entries that a mask keeps; what lies under the mask, even NaN, never leaks."""

from __future__ import annotations

import torch
from torch import Tensor


def keep(x: Tensor, mask: Tensor) -> Tensor:
    """`x` with 0 wherever `mask` is False; those entries get no gradient.

    Apply it to the *inputs* of a non-linear function: a NaN that is masked only afterwards still poisons the gradient.
    `mask` is bool (or 0/1) and broadcasts to the shape of `x`.
    """
    return torch.where(mask.bool(), x, torch.zeros((), dtype=x.dtype, device=x.device))


def masked_sum(x: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Sum of the kept entries of `x`: over everything, `[]`, or over `dim`."""
    kept = keep(x, mask)
    return kept.sum() if dim is None else kept.sum(dim)


def masked_mean(x: Tensor, mask: Tensor, weight: Tensor | None = None, dim: int | None = None) -> Tensor:
    """Mean of the kept entries of `x`, Σ w·x / Σ w; 0 where nothing is kept.

    `weight` (≥ 0, 1 if absent) broadcasts to `x`, so a weight per row is `[B, 1]`.
    """
    weights = keep(torch.ones_like(x) if weight is None else weight.to(x.dtype).expand_as(x), mask)
    total, count = masked_sum(keep(x, mask) * weights, mask, dim), masked_sum(weights, mask, dim)
    return total / torch.where(count > 0, count, torch.ones_like(count))


def masked_var(x: Tensor, mask: Tensor) -> Tensor:
    """Variance `[]` of the kept entries of `x` with Bessel's correction (n − 1); 0 if fewer than two are kept."""
    count = keep(torch.ones_like(x), mask).sum()
    squares = masked_sum((keep(x, mask) - masked_mean(x, mask)) ** 2, mask)
    return squares / torch.clamp(count - 1, min=1)


def whiten(x: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
    """The kept entries of `x` at mean 0 and variance 1 (all of them together), 0 elsewhere.

    With `shift_mean=False` only the scale changes and the mean stays: the form for rewards (Ziegler et al. 2019,
    `lm-human-preferences/core.py`). Fewer than two kept entries have no variance and come back as they are.
    """
    count = keep(torch.ones_like(x), mask).sum()
    mean = masked_mean(x, mask)
    white = (x - mean) * torch.rsqrt(masked_var(x, mask) + 1e-8)
    return keep(torch.where(count >= 2, white if shift_mean else white + mean, x), mask)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """How much of the variance of `returns` the critic's `values` explain, `[]`: 1 = all, 0 = none, < 0 = worse.

    1 − Var(returns − values) / Var(returns); 0 if the returns do not vary.
    """
    spread = masked_var(returns, mask)
    left = masked_var(returns - values, mask)
    return torch.where(spread > 0, 1 - left / torch.where(spread > 0, spread, torch.ones_like(spread)), 0.0)
