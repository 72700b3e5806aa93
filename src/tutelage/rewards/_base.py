"""What a reward source promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from tutelage.batches import Scores
from tutelage.types import Sample


class RewardSource(ABC):
    """Scores whole answers. One that fails raises; it never answers with a made-up number."""

    @abstractmethod
    def score(self, samples: Sequence[Sample]) -> Scores:
        """One number per answer, with its parts. Asking changes nothing: the same answers get the same numbers."""

    def prefer(self, first: Sequence[Sample], second: Sequence[Sample]) -> Tensor:
        """float32 [P], each 0 to 1: whether the first of two answers to one prompt is better; 0.5 = a tie."""
        gap = self.score(first).value - self.score(second).value
        return (gap > 0).float() + 0.5 * (gap == 0).float()

    def sources(self) -> Sequence[RewardSource]:
        """The sources that it is made of."""
        return ()

    @property
    def live(self) -> bool:
        """Whether people are asked while it waits: then only answers of training steps are brought to it."""
        return any(source.live for source in self.sources())

    @property
    def kept(self) -> bool:
        """Whether answers are put into a database, where they are judged: then they say which weights wrote them."""
        return any(source.kept for source in self.sources())

    def ready(self, samples: Sequence[Sample], step: int) -> list[bool]:
        """Once for the answers of a training step, before `score`: wait for what it needs (people, say).

        Which answers can be scored now; the others have no score, and none is made up.
        """
        found = [True] * len(samples)
        for source in self.sources():
            found = [one and other for one, other in zip(found, source.ready(samples, step), strict=True)]
        return found

    def announce(self, samples: Sequence[Sample], step: int) -> None:
        """`ready` will be asked for these answers later: what it needs may begin now, and nothing is waited for."""
        for source in self.sources():
            source.announce(samples, step)

    def withdraw(self, samples: Sequence[Sample], step: int) -> None:
        """`ready` will not be asked for these answers, which were announced."""
        for source in self.sources():
            source.withdraw(samples, step)

    def settle(self) -> None:
        """Take in what the last `score` saw: once per training step, never while evaluating."""
        return

    def state(self) -> dict[str, Any]:
        """What `restore` needs to give the same numbers after a restart, as JSON; {} = nothing."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        return
