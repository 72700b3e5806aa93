"""What gives judgements: anything that answers the open questions of a project in the store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from tutelage.store.store import Store

Progress = Callable[[int, int], None]
"""(judgements given so far, judgements wanted)"""


class Labeler(ABC):
    """People, simulated raters or a judge model; they speak to training through the store only."""

    @abstractmethod
    def label(self, store: Store, project: str = "default", progress: Progress | None = None) -> int:
        """Answer the questions of `project` that lack judgements; how many were given.

        May be stopped at any moment and called again: it goes on with what is still missing.
        """
