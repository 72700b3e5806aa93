"""In which order rows are read: a pure function of (seed, epoch, index), so that a resumed run goes on exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_POOL = 16
"""Batches whose rows are sorted by length together."""


class Order:
    """Endless full batches over `n` rows: every row once per epoch, shuffled anew each epoch.

    The epochs are one stream, so a batch may hold the end of one epoch and the start of the next; none is smaller.

    Example:
        >>> order = Order(n=10, batch_size=4, seed=0)
        >>> sorted(order.indices(0) + order.indices(1) + order.indices(2)[:2]) == list(range(10))
        True
    """

    def __init__(self, n: int, batch_size: int, seed: int, lengths: Sequence[int] | None = None) -> None:
        """
        Args:
            n: how many rows there are.
            batch_size: rows of one batch; may be more than `n`.
            seed: 0 or more.
            lengths: tokens of each row; if given, rows of like length share batches (still a pure function).

        Raises:
            ValueError: no rows, no batch, or lengths of another number.
        """
        if n < 1 or batch_size < 1 or seed < 0:
            raise ValueError(f"n = {n} and batch_size = {batch_size} must be at least 1, seed = {seed} at least 0")
        if lengths is not None and len(lengths) != n:
            raise ValueError(f"{len(lengths)} lengths for {n} rows")
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self._lengths = None if lengths is None else np.asarray(lengths)
        self._epoch = lru_cache(maxsize=2)(self._shuffled)

    @property
    def steps_per_epoch(self) -> int:
        """Batches until every row has been read once (the last one may reach into the next epoch)."""
        return self.steps(1.0)

    def steps(self, epochs: float) -> int:
        """Batches until `epochs` epochs have been read; at least 1."""
        return max(1, math.ceil(self.n * epochs / self.batch_size - 1e-9))

    def epoch(self, step: int) -> float:
        """How many epochs have been read before batch `step`."""
        return step * self.batch_size / self.n

    def indices(self, step: int) -> list[int]:
        """The rows of batch `step` (0, 1, 2 …): `batch_size` of them."""
        if step < 0:
            raise ValueError(f"step = {step} must be at least 0")
        first = step * self.batch_size
        places = (divmod(place, self.n) for place in range(first, first + self.batch_size))
        return [int(self._epoch(epoch)[index]) for epoch, index in places]

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        random = np.random.default_rng([self.seed, epoch])
        order = random.permutation(self.n)
        if self._lengths is None:
            return order
        pool = self.batch_size * _POOL
        pools = [order[start : start + pool] for start in range(0, self.n, pool)]
        ordered = np.concatenate([rows[np.argsort(self._lengths[rows], kind="stable")] for rows in pools])
        whole = self.n // self.batch_size * self.batch_size
        batches = ordered[:whole].reshape(-1, self.batch_size)
        return np.concatenate([batches[random.permutation(len(batches))].ravel(), ordered[whole:]])
