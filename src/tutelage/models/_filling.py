"""Batches filled up to few sizes, so that products need not be compiled anew for each (`ops.allocator.product_rows`).

Short sequences that nobody reads are put behind the others; no gradient leaves them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tutelage.ops.allocator import product_rows
from tutelage.ops.attention import Segments

_LENGTH = 32
"""tokens of a sequence that fills"""
_NEARLY_ALL = 0.9
"""share of the tokens from which on the last layer computes all of them: few are saved, and all its products again"""


@dataclass(frozen=True)
class Layout:
    """Tokens as the body sees them."""

    tokens: Tensor
    """int64 [T]"""
    positions: Tensor
    """int64 [T]"""
    segments: Segments
    read: Tensor | None
    """int64 [N]: the tokens whose states are wanted, each once; None = all"""


def filled(given: Layout) -> Layout:
    """The same with as many tokens, and as many to read, as `product_rows` says; what was there stays in its place."""
    count = len(given.tokens)
    if given.read is None:
        return _longer(given, product_rows(count) - count)
    more = product_rows(len(given.read)) - len(given.read)
    longer = _longer(given, product_rows(count + more) - count)
    return replace(longer, read=torch.cat([given.read, torch.arange(count, count + more)]))


def narrowed(given: Layout) -> Layout:
    """The same, to be read whole where nearly all is read."""
    few = given.read is not None and len(given.read) < _NEARLY_ALL * len(given.tokens)
    return given if few else replace(given, read=None)


def _longer(given: Layout, more: int) -> Layout:
    if not more:
        return given
    count, old = len(given.tokens), given.segments
    new = Segments.of([min(_LENGTH, more - done) for done in range(0, more, _LENGTH)])
    segments = Segments(
        torch.cat([old.trees, new.trees[1:] + old.trees[-1]]),
        torch.cat([old.start, new.start + count]),
        torch.cat([old.length, new.length]),
        torch.cat([old.prefix, new.prefix + count]),
        torch.cat([old.before, new.before]),
    )
    nothing = given.tokens.new_zeros(more)
    return Layout(torch.cat([given.tokens, nothing]), torch.cat([given.positions, nothing]), segments, given.read)
