"""Pairs on which the heads of a reward model disagree, spread over different prompts (after BAL-PM, 2406.10023).

What the answer would tell about the heads is BALD's mutual information H(mean P) − mean H(P) (Houlsby et al. 2011),
P = σ(score of the first − of the second) under each head. Pairs are drawn in proportion to it; prompts that lie close
together share one budget, which grows with the root of their number for `diversity` 0.5, so that many alike do not take
the batch. BAL-PM adds the two as entropies and takes the best; here they multiply, and drawing keeps probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tutelage.errors import UsageError
from tutelage.statistics.selection._base import Array, Candidate, Indices, Selector, proportional, systematic


class Disagreement(Selector):
    """Draws in proportion to disagreement, evenly over clusters of prompts.

    Args:
        diversity: 0 = prompts may come as they are, 1 = every cluster of prompts gets the same.
    """

    def __init__(self, diversity: float = 0.5) -> None:
        if not 0 <= diversity <= 1:
            raise UsageError(f"diversity {diversity:g} is not between 0 and 1")
        self.diversity = diversity

    def sample(self, pool: Sequence[Candidate], count: int, rng: np.random.Generator) -> tuple[Indices, Array]:
        told = information(pool)
        cluster = _clusters(pool, max(2, math.ceil(math.sqrt(count))), rng)
        budget = np.bincount(cluster, told)[cluster]
        chance = proportional(told / np.maximum(budget, 1e-300) ** self.diversity, count)
        return systematic(chance, np.lexsort((-told, cluster)), rng), chance


def information(pool: Sequence[Candidate]) -> Array:
    """What an answer would tell about the heads, in nats, [N].

    Raises:
        UsageError: a pair has fewer than two heads' scores, or another number than the rest.
    """
    heads = {len(candidate.first_scores) for candidate in pool} | {len(candidate.second_scores) for candidate in pool}
    if len(heads) != 1 or max(heads) < 2:
        raise UsageError(
            f"disagreement needs the scores of two heads or more for every answer, found {sorted(heads)}",
            fix="train with `tutelage reward --ensemble 4`, or select at random",
        )
    margin = np.array([candidate.first_scores for candidate in pool], dtype=np.float64)
    margin = np.clip(margin - np.array([candidate.second_scores for candidate in pool]), -30, 30)
    chance = 1 / (1 + np.exp(-margin))
    return np.maximum(_entropy(chance.mean(1)) - _entropy(chance).mean(1), 0.0)


def _entropy(chance: Array) -> Array:
    inner = np.clip(chance, 1e-12, 1 - 1e-12)
    return -inner * np.log(inner) - (1 - inner) * np.log1p(-inner)


def _clusters(pool: Sequence[Candidate], count: int, rng: np.random.Generator) -> Indices:
    """[N]: which of `count` far-apart prompts (Gonzalez 1985) is nearest; without features, each prompt for itself."""
    places: dict[str, int] = {}
    prompt = np.array([places.setdefault(candidate.prompt, len(places)) for candidate in pool])
    if any(not candidate.features for candidate in pool):
        return prompt
    lies = np.array([candidate.features for candidate in pool], dtype=np.float64)
    nearest, distance = np.zeros(len(pool), dtype=np.int64), np.full(len(pool), np.inf)
    center = int(rng.integers(len(pool)))
    for number in range(count):
        away = ((lies - lies[center]) ** 2).sum(1)
        nearest[away < distance] = number
        distance = np.minimum(distance, away)
        center = int(distance.argmax())
        if not distance[center]:
            break
    return nearest
