"""Any pair as likely as any other: what every other way must beat (2604.02766: "random is hard to beat")."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tutelage.statistics.selection._base import Array, Candidate, Indices, Selector


class Random(Selector):
    """A simple random sample."""

    def sample(self, pool: Sequence[Candidate], count: int, rng: np.random.Generator) -> tuple[Indices, Array]:
        drawn = rng.choice(len(pool), count, replace=False)
        return drawn, np.full(len(pool), count / len(pool))
