"""A language model as judge as the reward: a score for each answer, or each answer against its rivals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

from tutelage.batches import Scores
from tutelage.errors import UsageError
from tutelage.judge import Judge
from tutelage.rewards._base import RewardSource
from tutelage.types import Sample, plain

Mode = Literal["score", "pairs"]


class Judged(RewardSource):
    """`score`: the judge's number, scaled to 0..1. `pairs`: the share of the other answers to the same prompt in the
    batch that it beats, both orders judged, a tie or a verdict that depends on the order counting half.
    """

    def __init__(self, judge: Judge, mode: Mode = "score") -> None:
        self.judge = judge
        self.mode = mode

    def score(self, samples: Sequence[Sample]) -> Scores:
        """
        Raises:
            ServiceError: the judge is away, or gives no verdict.
            UsageError: `pairs`, and an answer is the only one to its prompt.
        """
        return self._by_pairs(samples) if self.mode == "pairs" else self._by_score(samples)

    def prefer(self, first: Sequence[Sample], second: Sequence[Sample]) -> Tensor:
        """Both orders are judged, whatever the mode; equal texts are a tie without asking."""
        differ = [index for index, (one, two) in enumerate(zip(first, second, strict=True)) if one.text != two.text]
        asked = [(plain(first[i].prompt.content), first[i].text, second[i].text) for i in differ]
        won = torch.full((len(first),), 0.5)
        won[differ] = torch.tensor(self.judge.compare_many(asked))
        return won

    def _by_score(self, samples: Sequence[Sample]) -> Scores:
        given = self.judge.rate_many([(plain(sample.prompt.content), sample.text) for sample in samples])
        low, high = self.judge.low, self.judge.high
        value = torch.tensor([(number - low) / (high - low) for number in given])
        return Scores(value, {"judge": value})

    def _by_pairs(self, samples: Sequence[Sample]) -> Scores:
        groups: dict[str, list[int]] = defaultdict(list)
        for index, sample in enumerate(samples):
            groups[sample.prompt.id].append(index)
        if any(len(rows) < 2 for rows in groups.values()):
            raise UsageError(
                "a judge that compares needs two or more answers to each prompt",
                fix="--answers 2 or more, and no --eval-data (one answer to each prompt is measured); or mode=score",
            )
        pairs = [pair for rows in groups.values() for pair in combinations(rows, 2)]
        won = self.prefer([samples[one] for one, _ in pairs], [samples[two] for _, two in pairs])
        value, rivals = torch.zeros(len(samples)), torch.zeros(len(samples))
        for (one, two), share in zip(pairs, won.tolist(), strict=True):
            value[one] += share
            value[two] += 1 - share
            rivals[[one, two]] += 1
        value = value / rivals.clamp(min=1)
        return Scores(value, {"judge": value})
