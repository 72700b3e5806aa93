"""Prompts that several sequences of a batch share, laid out once: a tree that only positions and attention know of.

batch  [p p p x x | p p p y y y | q z]   ─►   [p p p x x y y y | q z]   places of y go on after p, as in the batch

Log-probabilities, scores and gradients are those of the batch written out: what a shared prompt sends back is the sum
over its sequences. Used for both answers of a pair and for all answers to one prompt, whoever asks for them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.batches import TokenBatch
from tutelage.ops.attention import Segments


@dataclass(frozen=True)
class Tree:
    """The tokens of a batch, shared prompts once."""

    tokens: Tensor
    """int64 [T']"""
    positions: Tensor
    """int64 [T']: 0, 1, 2 … along each sequence"""
    segments: Segments
    where: Tensor
    """int64 [T]: the place here of each token of the batch"""


def tree_of(batch: TokenBatch) -> Tree | None:
    """The batch with every prompt (the tokens before the first learned one) once; None if no two rows share one."""
    groups = _groups(batch)
    if len(groups) == len(batch):
        return None
    starts, lengths = batch.starts.tolist(), batch.lengths.tolist()
    where = torch.empty(len(batch.tokens), dtype=torch.int64)
    source, positions = list[Tensor](), list[Tensor]()
    trees, segments, total = [0], list[tuple[int, int, int, int]](), 0

    def add(first: int, last: int, place: int, prefix: tuple[int, int]) -> int:
        """Take tokens first … last − 1 of the batch over; they stand at `place` of their sequence."""
        nonlocal total
        source.append(torch.arange(first, last))
        positions.append(torch.arange(place, place + last - first))
        where[first:last] = torch.arange(total, total + last - first)
        segments.append((total, last - first, *prefix))
        total += last - first
        return total - (last - first)

    for rows, prompt in groups:
        if len(rows) == 1:
            add(starts[rows[0]], starts[rows[0]] + lengths[rows[0]], 0, (total, 0))
        else:
            root = add(starts[rows[0]], starts[rows[0]] + prompt, 0, (total, 0))
            for row in rows:
                where[starts[row] : starts[row] + prompt] = torch.arange(root, root + prompt)
                add(starts[row] + prompt, starts[row] + lengths[row], prompt, (root, prompt))
        trees.append(len(segments))
    columns = torch.tensor(segments, dtype=torch.int64).T.contiguous()
    layout = Segments(torch.tensor(trees), *columns.unbind(0))
    return Tree(batch.tokens[torch.cat(source)], torch.cat(positions), layout, where)


def _groups(batch: TokenBatch) -> list[tuple[list[int], int]]:
    """Rows that share a prompt, and its length, in the order of their first rows."""
    found: dict[bytes, tuple[list[int], int]] = {}
    for row, (prompt, key, _) in enumerate(batch.prompts()):
        found.setdefault(key, ([], prompt))[0].append(row)
    return list(found.values())
