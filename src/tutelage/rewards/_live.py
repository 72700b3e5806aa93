"""People as the reward while it trains: each batch of answers is put before them, and the step waits for what they say.

sampled answers ─► ready: posted, waited for ─► score: what counted when the batch was closed
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from tutelage.batches import Scores
from tutelage.errors import DataError
from tutelage.rewards._base import RewardSource
from tutelage.rewards.human import Human, Join, Scales
from tutelage.types import Rating, Sample


@runtime_checkable
class Desk(Protocol):
    """Puts answers before people and waits (`tutelage.labelers._live.Live`)."""

    live: bool
    """real people are asked"""

    def wait(self, samples: Sequence[Sample], step: int, guesses: Sequence[float]) -> list[bool]:
        """Post the answers of a step, wait for people, close the batch; which answers something is known of.

        Args:
            guesses: what a model says of each, 0 to 1, where it is to stand in; () = none does.
        """
        ...

    def post(self, samples: Sequence[Sample], step: int) -> None:
        """Post the answers of a step before it is waited for."""
        ...

    def cancel(self, samples: Sequence[Sample], step: int) -> None:
        """Ask no more about what was posted: the step will not come."""
        ...

    def __call__(self, samples: Sequence[Sample]) -> list[list[Rating]]:
        """What was said of each answer that was waited for."""
        ...

    def won(self, samples: Sequence[Sample]) -> list[dict[int, float]]:
        """Of pairs: for each answer the other answers to its prompt (by their place) and how often it was preferred."""
        ...

    def settle(self) -> None:
        """The step has taken its batches in."""
        ...


class _Asking(RewardSource):
    """What both ways to ask share: a desk that asks, and a model that may stand in."""

    desk: Desk
    stand_in: RewardSource | None

    @property
    def live(self) -> bool:
        return self.desk.live

    @property
    def kept(self) -> bool:
        return True

    def ready(self, samples: Sequence[Sample], step: int) -> list[bool]:
        return self.desk.wait(samples, step, _guesses(self.stand_in, samples))

    def announce(self, samples: Sequence[Sample], step: int) -> None:
        self.desk.post(samples, step)

    def withdraw(self, samples: Sequence[Sample], step: int) -> None:
        self.desk.cancel(samples, step)


class LiveHuman(_Asking, Human):
    """Scores by people who are asked while it trains.

    Args:
        stand_in: scores answers, 0 to 1, that nobody judged in time; None = such answers have no score.
    """

    def __init__(
        self,
        desk: Desk,
        aspects: Sequence[str] = (),
        join: Join = "mean",
        scales: Scales | None = None,
        stand_in: RewardSource | None = None,
    ) -> None:
        super().__init__(desk, aspects, join, scales)
        self.desk, self.stand_in = desk, stand_in

    def settle(self) -> None:
        super().settle()
        self.desk.settle()


class LivePairs(_Asking):
    """Which of two answers people prefer; the score of an answer is how often it was preferred to the others.

    Parts: `people` (the value), `people/pairs` (with how many others it was compared).
    """

    def __init__(self, desk: Desk, stand_in: RewardSource | None = None) -> None:
        self.desk, self.stand_in = desk, stand_in

    def score(self, samples: Sequence[Sample]) -> Scores:
        """An answer that says the same as all others to its prompt is as good as they are: one half."""
        won = self.desk.won(samples)
        value = torch.tensor([fmean(shares.values()) if shares else 0.5 for shares in won])
        return Scores(value, {"people": value, "people/pairs": torch.tensor([float(len(shares)) for shares in won])})

    def prefer(self, first: Sequence[Sample], second: Sequence[Sample]) -> Tensor:
        """float32 [P]: the share of raters who preferred the first; a tie counts half."""
        won = self.desk.won([*first, *second])
        same = [one.text == two.text for one, two in zip(first, second, strict=True)]
        return torch.tensor([0.5 if same[place] else won[place][place + len(first)] for place in range(len(first))])

    def settle(self) -> None:
        self.desk.settle()

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        return


def _guesses(stand_in: RewardSource | None, samples: Sequence[Sample]) -> list[float]:
    """
    Raises:
        DataError: a guess is no score from 0 to 1, and could not stand beside people's.
    """
    if stand_in is None:
        return []
    guesses: list[float] = stand_in.score(samples).value.tolist()
    wrong = [guess for guess in guesses if not 0 <= guess <= 1]
    if wrong:
        raise DataError(
            f"the model that stands in for people scores {wrong[0]:.3g}, and people's scores are from 0 to 1",
            fix="model=clip(FOLDER,0,1), where FOLDER was trained on such scores; others measure something else",
        )
    return guesses
