"""A rule on what is known about the prompt as the reward: `taste(meta, text)`, as simulated raters have it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tutelage.batches import Scores
from tutelage.data.taste import Taste, named_taste
from tutelage.rewards._base import RewardSource
from tutelage.types import Sample


class TasteReward(RewardSource):
    """Reads the prompt's hidden `meta`; `overall` is the number, the aspects are its parts."""

    def __init__(self, taste: Taste) -> None:
        self.taste = taste

    @classmethod
    def named(cls, name: str) -> TasteReward:
        """From the name of a source (`news`) or `package.module:function`."""
        return cls(named_taste(name))

    def score(self, samples: Sequence[Sample]) -> Scores:
        answers = [self.taste(sample.prompt.meta, sample.text) for sample in samples]
        parts = (
            {name: torch.tensor([float(answer[name]) for answer in answers]) for name in answers[0]} if answers else {}
        )
        return Scores(parts.pop("overall"), parts)
