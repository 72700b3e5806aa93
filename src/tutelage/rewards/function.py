"""Any Python function of (prompt, completion) as the reward."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import torch

from tutelage import registry
from tutelage.batches import Scores
from tutelage.errors import DivergedError, TutelageError
from tutelage.rewards._base import RewardSource
from tutelage.types import Sample, plain

ScoreFunction = Callable[[str, str], float]


class Function(RewardSource):
    """Calls `function(prompt, completion)` for each answer; both are plain text."""

    def __init__(self, function: ScoreFunction) -> None:
        self.function = function
        self.name = (
            f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', type(function).__name__)}"
        )

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
            DivergedError: the function raised, or answered with something that is not a finite number.
        """
        value = torch.tensor([self._ask(sample) for sample in samples])
        return Scores(value, {"function": value})

    def _ask(self, sample: Sample) -> float:
        where = f"sample {sample.id}: {sample.text[:80]!r}"
        try:
            answer = self.function(plain(sample.prompt.content), sample.text)
        except TutelageError:
            raise
        except Exception as error:  # it is not our code: anything may come, and all of it is worth the same words
            last = traceback.extract_tb(error.__traceback__)[-1]
            raise DivergedError(
                f"the reward function {self.name} raised {type(error).__name__}: {error}",
                where=f"{last.filename}:{last.lineno}, {where}",
                fix="mend the function (--debug shows the traceback), then run the same command again",
            ) from error
        number = _number(answer)
        if number is None:
            raise DivergedError(
                f"the reward function {self.name} answered {answer!r}",
                where=where,
                fix="let it return a finite number for every answer, an empty or a cut-off one too",
            )
        return number


def _number(answer: Any) -> float | None:
    """A finite float32, from anything that is one number (NumPy's and PyTorch's too); None for all else."""
    try:
        number = float(answer) if hasattr(answer, "__float__") else math.nan
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None
    return number if abs(number) <= torch.finfo(torch.float32).max else None
