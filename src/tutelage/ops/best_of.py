"""Best of n: what the best of n answers is worth, how far choosing it moves the policy, and how to choose."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def expected_best(scores: Tensor, n: int) -> Tensor:
    """E[best of n], estimated from N ≥ n scores: Σ_i g_(i)·C(i − 1, n − 1)/C(N, n), g_(1) ≤ … ≤ g_(N).

    The mean over all subsets of size n, so unbiased (Nakano et al. 2021, 2112.09332, app. I); the best of the first n
    is unbiased too, but wastes the other N − n.

    Args:
        scores: [..., N]
        n: from 1 (the mean) to N (the maximum)

    Returns:
        [...]

    Raises:
        ValueError: n outside 1 … N.
    """
    count = scores.shape[-1]
    if not 1 <= n <= count:
        raise ValueError(f"n = {n} must lie between 1 and the {count} scores")
    subsets = math.comb(count, n)
    shares = [math.comb(place - 1, n - 1) / subsets for place in range(1, count + 1)]
    return (scores.sort(-1).values * torch.tensor(shares, dtype=scores.dtype, device=scores.device)).sum(-1)


def kl_bound(n: int) -> float:
    """log n − (n − 1)/n nats: best-of-n lies no further from the policy it draws from.

    Equal where scores have no ties (Stiennon et al. 2020, 2009.01325, app. G.3); else a bound (Beirami et al. 2024,
    2401.01879).
    """
    return math.log(n) - (n - 1) / n


def pick(scores: Tensor, lots: Tensor) -> Tensor:
    """The index of the best score of each row; of several equally good ones, that with the highest lot.

    Args:
        scores: [..., N]
        lots: [..., N], random numbers: always taking the first would favour it wherever a reward gives few values

    Returns:
        int64 [...]
    """
    best = scores == scores.max(-1, keepdim=True).values
    return torch.where(best, lots, torch.full_like(lots, -torch.inf)).argmax(-1)
