"""Passes over batches that were scored and will be learned from next: kept with their graphs, they are made once.

scoring, no gradient wanted ─► pass ─► numbers            without: pass ─► numbers, later the pass again ─► loss
                                 └───────────► loss

They belong to the process, as memory does: whoever runs out of it lets go of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from tutelage.batches import TokenBatch
from tutelage.models._products import state_of


@dataclass(frozen=True)
class _Pass:
    """What a model said of a batch, with the graph."""

    batch: TokenBatch
    what: object
    found: tuple[Tensor, ...]
    weights: list[tuple[int, int]]
    """as they were"""


_waiting: WeakKeyDictionary[nn.Module, _Pass] = WeakKeyDictionary()


def put(model: nn.Module, batch: TokenBatch, what: object, found: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Keep what `model` has `found` of `batch`, asked for `what`; the numbers alone are returned."""
    _waiting[model] = _Pass(batch, what, found, state_of(model.parameters()))
    return tuple(each.detach().clone() for each in found)


def take(model: nn.Module, batch: TokenBatch, what: object) -> tuple[Tensor, ...] | None:
    """What was kept of `model`, if it is this, of this very batch, under these very weights; it is let go anyway."""
    kept = _waiting.pop(model, None)
    if kept is None or kept.batch is not batch or kept.what != what or kept.weights != state_of(model.parameters()):
        return None
    return kept.found


def drop(model: nn.Module) -> None:
    """Let go of what was kept of `model`."""
    _waiting.pop(model, None)


def drop_all() -> bool:
    """Let go of every pass, for memory is wanted; whether there was one."""
    any_there = len(_waiting) > 0
    _waiting.clear()
    return any_there
