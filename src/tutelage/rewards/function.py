"""Any Python function of (prompt, completion) as the reward."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from tutelage import registry
from tutelage.batches import Scores
from tutelage.errors import DivergedError
from tutelage.rewards._base import RewardSource
from tutelage.types import Sample, plain

ScoreFunction = Callable[[str, str], float]


class Function(RewardSource):
    """Calls `function(prompt, completion)` for each answer; both are plain text."""

    def __init__(self, function: ScoreFunction) -> None:
        self.function = function

    @classmethod
    def named(cls, name: str) -> Function:
        """From `package.module:function`.

        Raises:
            UsageError: it cannot be imported, or is not a function.
        """
        return cls(registry.function("rewards", name, "score"))

    def score(self, samples: Sequence[Sample]) -> Scores:
        """
        Raises:
            DivergedError: the function answered with something that is not a finite number.
        """
        values = []
        for sample in samples:
            value = self.function(plain(sample.prompt.content), sample.text)
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise DivergedError(
                    f"the reward function answered {value!r}", where=f"sample {sample.id}: {sample.text[:80]!r}"
                )
            values.append(float(value))
        value = torch.tensor(values)
        return Scores(value, {"function": value})
