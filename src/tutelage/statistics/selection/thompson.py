"""A duel of two possible truths: each drawn head of the reward model sends the answer that it thinks best (Thompson).

Double Thompson sampling (Wu & Liu 2016) with an ensemble as the posterior, as in SEA (2411.01493): both answers are
good by somebody's lights, and different. Probabilities are exact, as all pairs of heads are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np

from tutelage.errors import UsageError
from tutelage.statistics.selection._base import Array, Candidate, Indices, Selector


class Thompson(Selector):
    """One duel for each of as many prompts as are wanted, the prompts drawn at random; at most one for each prompt.

    A pool that holds fewer prompts than places gives that many duels; the rest of the batch is random.
    """

    def sample(self, pool: Sequence[Candidate], count: int, rng: np.random.Generator) -> tuple[Indices, Array]:
        prompts: dict[str, list[int]] = {}
        for place, candidate in enumerate(pool):
            prompts.setdefault(candidate.prompt, []).append(place)
        duels = min(count, len(prompts))
        share = duels / len(prompts)
        chance = np.zeros(len(pool))
        within = [duel_chances([pool[place] for place in places]) for places in prompts.values()]
        for places, chances in zip(prompts.values(), within, strict=True):
            chance[places] = share * chances
        names = list(prompts)
        drawn = [
            int(rng.choice(prompts[names[number]], p=within[number]))
            for number in rng.choice(len(names), duels, replace=False)
        ]
        return np.array(sorted(drawn), dtype=np.int64), chance


def duel_chances(pairs: Sequence[Candidate]) -> Array:
    """P(each pair of one prompt is the duel), [pairs], adding up to 1.

    Two different heads each send their best answer; where both send the same one, the second sends its second best. A
    duel that is not among `pairs` (asked already) is drawn again.

    Raises:
        UsageError: fewer than two heads.
    """
    scores = {pair.first: pair.first_scores for pair in pairs} | {pair.second: pair.second_scores for pair in pairs}
    answers = sorted(scores)
    heads = {len(values) for values in scores.values()}
    if len(heads) != 1 or max(heads) < 2:
        raise UsageError(
            f"a duel needs the scores of two heads or more for every answer, found {sorted(heads)}",
            fix="train with `tutelage reward --ensemble 4`, or select at random",
        )
    order = np.argsort(-np.array([scores[answer] for answer in answers]), axis=0, kind="stable")  # [answers, heads]
    place = {frozenset((pair.first, pair.second)): index for index, pair in enumerate(pairs)}
    counts = np.zeros(len(pairs))
    for one, two in permutations(range(order.shape[1]), 2):
        best = order[0, one]
        rival = order[0, two] if order[0, two] != best else order[1, two]
        known = place.get(frozenset((answers[best], answers[rival])))
        if known is not None:
            counts[known] += 1
    return counts / counts.sum() if counts.any() else np.full(len(pairs), 1 / len(pairs))
