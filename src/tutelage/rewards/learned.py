"""A trained reward model as the reward: reads prompt and answer as text, in its own tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tutelage.batches import Scores
from tutelage.data.pack import pack
from tutelage.data.template import Encoded, Renderer
from tutelage.models.policy import Scorer
from tutelage.rewards._base import RewardSource
from tutelage.types import Sample


class Learned(RewardSource):
    """What a reward model says, on the scale that it was trained on, shifted so that `center` becomes 0."""

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
            encoded = [self._read(sample) for sample in some]
            parts.append(self.scorer.scores(pack(encoded)).float())
        value = torch.cat(parts) - self.center
        return Scores(value, {"learned": value})

    def _read(self, sample: Sample) -> Encoded:
        """Prompt, answer and stop token; an answer of no words is the stop token alone, and is scored as such."""
        if sample.text:
            return self.renderer.answer(sample.prompt.content, sample.text)
        prompt = self.renderer.prompt(sample.prompt.content)
        return Encoded([*prompt, self.renderer.turn_end], [False] * len(prompt) + [True])
