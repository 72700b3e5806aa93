"""A trained reward model as the reward: reads prompt and answer as text, in its own tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tutelage.batches import Scores
from tutelage.data.pack import pack
from tutelage.data.template import Renderer
from tutelage.errors import UsageError
from tutelage.models.policy import Scorer
from tutelage.rewards._base import RewardSource
from tutelage.types import Sample


class Learned(RewardSource):
    """What a reward model says, on the scale that it was trained on, shifted so that `center` becomes 0.

    The stop token ends every answer that it reads, one that was cut off at the length limit too: raters judged texts
    as they stood, so each text it was trained on ends with it, and its score is read there; at any other token it is
    a number that nobody trained. That the policy did not stop by itself is not the reward model's to see: it is priced
    by `missing_stop_penalty`.

    With `lower` = k, an ensemble's mean − k · spread is the reward: what its members do not agree on is not worth
    chasing (Coste et al. 2023, 2310.02743, "UWO"; there k weighs the variance).
    """

    def __init__(
        self,
        scorer: Scorer,
        renderer: Renderer,
        center: float = 0.0,
        rows_at_once: int = 64,
        *,
        lower: float = 0.0,
    ) -> None:
        """
        Raises:
            UsageError: `lower` of a model with one head, which cannot say how sure it is.
        """
        if lower and scorer.heads.ensemble < 2:
            raise UsageError(
                "this reward model has one head and cannot say how sure it is",
                where=scorer.name,
                fix="train it with `tutelage reward --ensemble 4`, or leave @lcb out",
            )
        self.scorer = scorer
        self.renderer = renderer
        self.center = center
        self.rows_at_once = rows_at_once
        self.lower = lower

    @torch.no_grad()
    def score(self, samples: Sequence[Sample]) -> Scores:
        """The parts are `learned` (the mean less `center`), and of several heads each aspect and the `spread`."""
        found = [torch.zeros(0, self.scorer.heads.labels)]
        for start in range(0, len(samples), self.rows_at_once):
            some = samples[start : start + self.rows_at_once]
            encoded = [self.renderer.answer(one.prompt.content, one.text, may_be_empty=True) for one in some]
            found.append(self.scorer.labels(pack(encoded)).float().cpu())
        labels, heads = torch.cat(found), self.scorer.heads
        mean = heads.value(labels) - self.center
        value = mean - self.lower * heads.spread(labels) if self.lower else mean
        return Scores(value, {"learned": mean} | heads.parts(labels))
