"""What a reward source promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from tutelage.batches import Scores
from tutelage.types import Sample


class RewardSource(ABC):
    """Scores whole answers. One that fails raises; it never answers with a made-up number."""

    @abstractmethod
    def score(self, samples: Sequence[Sample]) -> Scores:
        """One number per answer, with its parts."""
