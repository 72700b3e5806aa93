"""A pass over a batch that was scored and will be learned from next: kept with its graph, it need not be done twice.

scoring, no gradient wanted ─► pass ─► numbers            without: pass ─► numbers, later the pass again ─► loss
                                 └───────────► loss
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tutelage.batches import TokenBatch


@dataclass(frozen=True)
class Kept:
    """What was found of a batch, with its graph; autograd refuses it once the weights have changed."""

    batch: TokenBatch
    what: object
    """was asked"""
    found: tuple[Tensor, ...]

    def answers(self, batch: TokenBatch, what: object) -> bool:
        """Whether this is what is asked: of this batch itself, not of one like it."""
        return self.batch is batch and self.what == what

    def numbers(self) -> tuple[Tensor, ...]:
        """What was found, without its graph."""
        return tuple(each.detach() for each in self.found)

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """A copy of the model learns nothing from this."""
