"""The frame of every selection: a share of each batch is random, and every pair's probability of being in it is exact.

pool ─┬─ random: a simple random sample, at least a fifth of the batch ───────────┐
      └─ active: the selector's own sample, with known probabilities ─────────────┴─► batch
           a pair that both drew leaves a place, which is filled at random from the rest

The probability that is stored with each question is that of all three together, so that weights of 1/probability undo
the selection (Horvitz & Thompson 1952), and the random part alone stays a fair sample of the pool.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import UsageError

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
LEAST_RANDOM = 0.2
"""Smallest share of a batch that may be random."""


@dataclass(frozen=True)
class Candidate:
    """A pair of answers to one prompt that could be asked about.

    Example:
        >>> Candidate("q1", "p1", "s1", "s2", first_scores=(0.3, 0.9), second_scores=(0.5, 0.1))
    """

    id: str
    prompt: str
    first: str
    second: str
    """ids of the two answers"""
    first_scores: tuple[float, ...] = ()
    second_scores: tuple[float, ...] = ()
    """of each head of a reward model"""
    features: tuple[float, ...] = ()
    """where the prompt lies, for diversity; empty = every prompt is as far from every other"""


@dataclass(frozen=True)
class Chosen:
    """A pair to ask about."""

    candidate: Candidate
    probability: float
    """of being in this batch, 0 to 1; to be stored with the question"""
    arm: Literal["random", "active"]


class Selector(ABC):
    """A way to choose the active part of a batch; `select` adds the random part."""

    @abstractmethod
    def sample(self, pool: Sequence[Candidate], count: int, rng: np.random.Generator) -> tuple[Indices, Array]:
        """Draw up to `count` different pairs.

        Returns:
            their places in `pool`, always the same number for the same pool and count, and for each of `pool` the
            probability [N] of being drawn.

        Raises:
            UsageError: the pool lacks what this way needs.
        """


def select(
    selector: Selector, pool: Sequence[Candidate], count: int, *, random_share: float = LEAST_RANDOM, seed: int = 0
) -> list[Chosen]:
    """A batch of `count` different pairs (all of them where the pool holds no more), the random ones first.

    Raises:
        UsageError: `random_share` is below LEAST_RANDOM or above 1.
    """
    if not LEAST_RANDOM <= random_share <= 1:
        raise UsageError(
            f"random share {random_share:g} is not between {LEAST_RANDOM:g} and 1",
            fix="a fifth of each batch stays random: it shows what the selection saves, and keeps win rates fair",
        )
    size = len(pool)
    if count >= size:
        return [Chosen(candidate, 1.0, "random") for candidate in pool]
    if count < 1:
        return []
    rng = np.random.default_rng(seed)
    fair = math.ceil(random_share * count - 1e-9)
    random = rng.choice(size, fair, replace=False)
    active, chance = selector.sample(pool, count - fair, rng) if count > fair else (np.zeros(0, int), np.zeros(size))
    new = np.setdiff1d(active, random)
    missing = count - fair - len(new)
    rest = np.setdiff1d(np.arange(size), np.concatenate([random, new]))
    filled = rng.choice(rest, missing, replace=False)
    probability = _together(size, count, fair, len(active), chance)
    arms: list[tuple[Literal["random", "active"], Indices]] = [("random", np.r_[random, filled]), ("active", new)]
    return [Chosen(pool[int(place)], float(probability[place]), arm) for arm, places in arms for place in places]


def _together(size: int, count: int, fair: int, active: int, chance: Array) -> Array:
    """P(in the batch) [N]: drawn at random, or actively, or (in neither) to fill a place that both had drawn.

    How many both drew is hypergeometric: `fair` draws from a pool that holds `active` others.
    """
    fill = 0.0
    for both in range(min(fair, active) + 1):
        ways = _log_ways(active, both) + _log_ways(size - 1 - active, fair - both) - _log_ways(size - 1, fair)
        fill += math.exp(ways) * (count - fair - active + both) / (size - fair - active + both)
    return 1 - (1 - fair / size) * (1 - chance) * (1 - fill)


def _log_ways(size: int, drawn: int) -> float:
    return math.lgamma(size + 1) - math.lgamma(drawn + 1) - math.lgamma(size - drawn + 1)


def proportional(scores: Array, count: int) -> Array:
    """Probabilities that add up to `count`, in proportion to `scores` ≥ 0, none above 1."""
    scores = np.maximum(scores, 0.0) + 1e-12 * max(1.0, float(scores.max(initial=0.0)))
    chance = np.zeros(len(scores))
    sure = np.zeros(len(scores), dtype=bool)
    while True:
        rest = count - int(sure.sum())
        chance[sure] = 1.0
        if rest > 0:
            chance[~sure] = scores[~sure] * rest / scores[~sure].sum()
        over = (chance > 1.0) & ~sure
        if not over.any():
            return chance
        sure |= over


def systematic(chance: Array, order: Indices, rng: np.random.Generator) -> Indices:
    """Places drawn with exactly these probabilities, spread evenly along `order` (Madow 1949).

    Args:
        chance: [N], adding up to a whole number.
        order: [N] places; neighbours are seldom drawn together.
    """
    ends = np.floor(np.round(np.cumsum(chance[order]), 9) + rng.random())
    steps = np.diff(ends, prepend=0.0) > 0
    return np.sort(order[steps])
