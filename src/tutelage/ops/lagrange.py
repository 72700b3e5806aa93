"""Constraints: what harm costs, and the price λ at which E[cost] comes to rest at its limit.

The one convention of this house: the KL's price stands *outside* the mix. The policy maximises

    E[reward] − λ·(E[cost] − limit) − β·KL(π ‖ π_ref),   best answer for fixed λ: π* ∝ π_ref · exp((reward − λ·cost)/β),

so that β means what it means without a constraint. Safe RLHF's code (Dai et al. 2023, 2310.12773) charges the KL in
the reward *and* in the cost and divides by 1 + λ, so its best policy is π_ref · exp((reward − λ·cost)/((1 + λ)·β)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

_REMEMBERED = 64
"""updates over which swings of the multiplier are counted"""
_LOWEST = 1e-3
"""the multiplier never falls below: at 0 a step in log λ would move it no more"""


def constrained_advantages(reward: Tensor, cost: Tensor, multiplier: float) -> Tensor:
    """A = (A_reward − λ·A_cost)/(1 + λ), per token (safe-rlhf `algorithms/ppo_lag/trainer.py`), detached.

    The KL's price belongs in `reward` alone; dividing all by 1 + λ is a scale and moves no optimum.

    Args:
        reward, cost: advantages of the two streams, [B, R], each by its own critic and not whitened
        multiplier: λ ≥ 0

    Raises:
        ValueError: the shapes differ, or λ < 0, which would pay for harm.
    """
    if reward.shape != cost.shape:
        raise ValueError(f"advantages of reward {tuple(reward.shape)} and cost {tuple(cost.shape)} must be alike")
    if multiplier < 0:
        raise ValueError(f"multiplier {multiplier} must be ≥ 0")
    return (reward.detach() - multiplier * cost.detach()) / (1 + multiplier)


def harm_sign(cost: Tensor, sign: Tensor) -> Tensor:
    """−log σ(s·C), per answer: pins a cost model's 0 between safe and unsafe (Dai et al. 2023, §3.2, second term).

    Args:
        cost: C, any shape
        sign: s, the same shape: +1 = unsafe, −1 = safe, 0 = nobody said (the loss is then exactly 0)
    """
    return -logsigmoid(sign * cost) * (sign != 0)


class Multiplier:
    """λ, by gradient descent on log λ: log λ ← log λ + η·λ·(C̄ − limit), C̄ a moving average of the steps' mean costs.

    The step is that of safe-rlhf's `algorithms/ppo_lag/trainer.py` (plain SGD on λ's logarithm, so λ stays positive);
    Adam would move λ by the same amount whatever the violation.

    Example:
        >>> price = Multiplier(limit=0.1, rate=0.1, memory=0.0)
        >>> price.update(0.6); round(price.value, 4)
        1.0513
    """

    def __init__(
        self, limit: float, *, start: float = 1.0, rate: float = 0.05, highest: float = 10.0, memory: float = 0.9
    ) -> None:
        """
        Args:
            limit: what the mean cost may be at most, in units of cost.
            start: the first λ, in [0.001, highest].
            rate: η > 0.
            highest: λ never rises above.
            memory: share of C̄ that stays at each step, in [0, 1); C̄ is not drawn towards 0 at the start.

        Raises:
            ValueError: one lies outside its range.
        """
        if not (_LOWEST <= start <= highest and rate > 0 and 0 <= memory < 1):
            raise ValueError(f"start {start}, rate {rate}, highest {highest} or memory {memory} is out of range")
        self.limit, self.rate, self.highest, self.memory = limit, rate, highest, memory
        self._log = math.log(start)
        self._sum, self._share = 0.0, 0.0
        self._history: list[float] = [self._log]

    @property
    def value(self) -> float:
        """λ"""
        return math.exp(self._log)

    @property
    def average(self) -> float:
        """C̄; the limit itself before the first update"""
        return self._sum / self._share if self._share else self.limit

    def update(self, cost: float) -> None:
        """Take in the mean cost of one step's answers."""
        self._sum = self.memory * self._sum + (1 - self.memory) * cost
        self._share = self.memory * self._share + (1 - self.memory)
        moved = self._log + self.rate * self.value * (self.average - self.limit)
        self._log = min(max(moved, math.log(_LOWEST)), math.log(self.highest))
        self._history = [*self._history, self._log][-_REMEMBERED:]

    def swings(self) -> int:
        """How often λ has turned round by a factor of 2 or more within the last 64 updates."""
        return swings(self._history, math.log(2))

    def state(self) -> dict[str, Any]:
        """What `restore` needs, as JSON."""
        return {"log": self._log, "sum": self._sum, "share": self._share, "history": self._history}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self._log, self._sum, self._share = state["log"], state["sum"], state["share"]
        self._history = list(state["history"])


def swings(values: Sequence[float], least: float) -> int:
    """How many times a series turned round: moves of at least `least` against the one before, small ones unseen.

    Example:
        >>> swings([0.0, 1.0, 0.0, 1.0], 0.5), swings([0.0, 1.0, 0.9, 2.0], 0.5)
        (2, 0)
    """
    turns, direction = 0, 0
    low = high = values[0] if values else 0.0
    for value in values:
        low, high = min(low, value), max(high, value)
        if direction >= 0 and high - value >= least:
            turns += direction
            direction, low = -1, value
            high = value
        elif direction <= 0 and value - low >= least:
            turns += -direction
            direction, high = 1, value
            low = value
    return turns


def violation_rate(cost: Tensor, above: float) -> Tensor:
    """Share of answers `[]` whose cost [B] lies above `above`."""
    return (cost > above).to(torch.float32).mean()
