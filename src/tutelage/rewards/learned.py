"""A trained reward model as the reward: reads prompt and answer as text, in its own tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tutelage.batches import Scores
from tutelage.data.pack import pack
from tutelage.data.template import Renderer
from tutelage.models.policy import Scorer
from tutelage.rewards._base import RewardSource
from tutelage.types import Sample


class Learned(RewardSource):
    """What a reward model says, on the scale that it was trained on, shifted so that `center` becomes 0.

    The stop token ends every answer that it reads, one that was cut off at the length limit too: raters judged texts
    as they stood, so each text it was trained on ends with it, and its score is read there; at any other token it is
    a number that nobody trained. That the policy did not stop by itself is not the reward model's to see: it is priced
    by `missing_stop_penalty`.
    """

    def __init__(self, scorer: Scorer, renderer: Renderer, center: float = 0.0, rows_at_once: int = 64) -> None:
        self.scorer = scorer
        self.renderer = renderer
        self.center = center
        self.rows_at_once = rows_at_once

    @torch.no_grad()
    def score(self, samples: Sequence[Sample]) -> Scores:
        parts = []
        for start in range(0, len(samples), self.rows_at_once):
            some = samples[start : start + self.rows_at_once]
            encoded = [self.renderer.answer(one.prompt.content, one.text, may_be_empty=True) for one in some]
            parts.append(self.scorer.scores(pack(encoded)).float())
        value = torch.cat(parts) - self.center
        return Scores(value, {"learned": value})
