"""From one score per answer to one reward per token: where the score lands, what drifting from the reference costs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from tutelage.ops.masked import keep


def at_last(score: Tensor, mask: Tensor) -> Tensor:
    """`score` [B] placed on the last kept token of each row of `mask` [B, R], 0 elsewhere; [B, R].

    A row that keeps nothing has no token to carry its score and stays 0.
    """
    if mask.ndim != 2 or score.shape != mask.shape[:1]:
        raise ValueError(f"score {tuple(score.shape)} must be [B] for mask {tuple(mask.shape)} [B, R]")
    kept = mask.bool()
    after = kept.flip(1).cumsum(1).flip(1)  # kept tokens from here on
    return keep(score[:, None].expand(mask.shape), kept & (after == 1))


def on_every(score: Tensor, mask: Tensor) -> Tensor:
    """`score` [B] on every kept token of each row of `mask` [B, R], 0 elsewhere; [B, R]."""
    return keep(score[:, None].expand(mask.shape), mask)


def kl_penalty(logp: Tensor, ref: Tensor, mask: Tensor, coef: float | Tensor) -> Tensor:
    """−coef · (log π − log π_ref) per kept token, [B, R], detached: the k1 penalty *in the reward*.

    Summed over an answer it is −coef times the sampled KL(π ‖ π_ref), and only in this place its policy gradient is
    that of E[score] − coef·KL (Ziegler et al. 2019, 1909.08593, §2); the same term in the loss has another optimum.
    """
    kept = mask.bool()
    return keep(ref.detach() - logp.detach(), kept) * coef


def missing_stop(penalty: float, stopped: Tensor) -> Tensor:
    """What to add to the score [B] of each answer: −`penalty` if it did not end by itself, else 0, float32.

    "EOS trick", Huang et al. 2024, 2403.17031. `stopped` is bool [B]; `penalty` ≥ 0.
    """
    if penalty < 0:
        raise ValueError(f"penalty {penalty} must be ≥ 0: it is subtracted from the score")
    return torch.where(stopped.bool(), 0.0, -float(penalty))


def overlong(lengths: Tensor, limit: int, margin: int) -> Tensor:
    """What to add to the score [B] of each answer: 0 up to limit − margin tokens, from there down to −1 at `limit`.

    The soft overlong punishment of DAPO (Yu et al. 2025, 2503.14476, eq. 13). `lengths` is int [B], ≤ `limit`.
    """
    if not 0 < margin <= limit:
        raise ValueError(f"margin {margin} must lie in 1 … limit {limit}")
    return -((lengths - (limit - margin)).clamp(min=0) / margin).clamp(max=1.0)


class KLCoefficient(ABC):
    """How much a nat of drift costs, step by step."""

    coef: float
    """reward units per nat, ≥ 0"""

    @abstractmethod
    def update(self, kl: float, n: int) -> None:
        """Take in the mean *sequence* KL, in nats, of the `n` answers of this step."""

    @abstractmethod
    def state(self) -> dict[str, float]:
        """What `restore` needs, as JSON."""

    @abstractmethod
    def restore(self, state: Mapping[str, float]) -> None:
        """Go on where `state` was taken."""


class FixedKL(KLCoefficient):
    """The same coefficient throughout."""

    def __init__(self, coef: float) -> None:
        if coef < 0:
            raise ValueError(f"coef {coef} must be ≥ 0: a negative one rewards drifting from the reference")
        self.coef = coef

    def update(self, kl: float, n: int) -> None:
        pass

    def state(self) -> dict[str, float]:
        return {"coef": self.coef}

    def restore(self, state: Mapping[str, float]) -> None:
        self.coef = state["coef"]


class AdaptiveKL(KLCoefficient):
    """A coefficient that steers the sequence KL towards `target` nats.

    coef ← coef · (1 + clip(kl/target − 1, −0.2, 0.2) · n/horizon) (Ziegler et al. 2019, 1909.08593, §2.2). Departure:
    n/horizon is at most 1, or one large batch could turn the coefficient negative.
    """

    def __init__(self, target: float, horizon: float = 10_000, coef: float = 0.05) -> None:
        if target <= 0 or horizon <= 0 or coef <= 0:
            raise ValueError(f"target {target}, horizon {horizon} and coef {coef} must be > 0")
        self.target = target
        self.horizon = horizon
        self.coef = coef

    def update(self, kl: float, n: int) -> None:
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        self.coef *= 1 + error * min(n / self.horizon, 1.0)

    def state(self) -> dict[str, float]:
        return {"coef": self.coef}

    def restore(self, state: Mapping[str, float]) -> None:
        self.coef = state["coef"]
