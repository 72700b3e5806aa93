"""Answers to one prompt judged against each other: what RLOO and GRPO share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from tutelage.algorithms._answers import Answers
from tutelage.algorithms._reuse import Reuse, ReuseConfig
from tutelage.batches import Batch
from tutelage.errors import UsageError
from tutelage.ops.returns import constant_groups


@dataclass(frozen=True, kw_only=True)
class GroupedConfig(ReuseConfig):
    """What every algorithm understands that compares the answers to one prompt."""

    answers: int = 4
    """answers sampled for each prompt, at least 2: each is judged against the others"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.answers < 2:
            raise UsageError(
                f"answers = {self.answers}: a group of one has nothing to be judged against",
                fix="--answers 2 or more; or `tutelage reinforce`, which compares across prompts",
            )


C = TypeVar("C", bound=GroupedConfig)
X = TypeVar("X", bound=Batch)


class Grouped(Reuse[C, X]):
    """Counts the groups whose answers all get one score: they say nothing of which is better."""

    def constant(self, answers: Answers) -> Tensor:
        """bool [B]: this answer's group has one score; the share in the step's first draw is `groups/zero_variance`.

        By the scores alone: that answers have drifted differently far says nothing of which is better.
        """
        constant = constant_groups(answers.score, answers.groups)
        self._metrics.setdefault("groups/zero_variance", float(constant.float().mean()))
        return constant
