"""What the labels of a scorer mean: aspects, each with its weight, and several heads for each (an ensemble)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import DataError

CARD = "tutelage.json"
"""Beside config.json: what a stock sequence classifier has no place for."""


@dataclass(frozen=True)
class Heads:
    """`ensemble` labels for each aspect, those of one aspect together.

    Example:
        >>> heads = Heads((("faithful", 1.0), ("concise", 0.5)), ensemble=2)
        >>> heads.value(torch.tensor([[2.0, 4.0, 1.0, 1.0]])), heads.spread(torch.tensor([[2.0, 4.0, 1.0, 1.0]]))
        (tensor([3.5000]), tensor([1.4142]))
    """

    aspects: tuple[tuple[str, float], ...] = (("overall", 1.0),)
    """(name, weight in the score)"""
    ensemble: int = 1
    learned: Mapping[str, Any] = field(default_factory=dict)
    """what training found besides weights, as JSON: the tie parameter, thresholds, the temperature"""

    @property
    def labels(self) -> int:
        """How many numbers the classifier answers."""
        return len(self.aspects) * self.ensemble

    def same_labels(self, other: Heads) -> bool:
        """Whether each label means the same to both, however much it weighs."""
        mine, theirs = [name for name, _ in self.aspects], [name for name, _ in other.aspects]
        return mine == theirs and self.ensemble == other.ensemble

    def value(self, labels: Tensor) -> Tensor:
        """[…, labels] → […]: Σ over aspects of weight · mean over the ensemble."""
        return labels @ self.weights().to(labels)

    def weights(self) -> Tensor:
        """float32 [labels]: what each label adds to the score."""
        return torch.tensor([weight / self.ensemble for _, weight in self.aspects for _ in range(self.ensemble)])

    def members(self, labels: Tensor) -> Tensor:
        """[…, labels] → […, ensemble]: the score as each member of the ensemble has it."""
        weights = torch.tensor([weight for _, weight in self.aspects]).to(labels)
        return weights @ labels.unflatten(-1, (len(self.aspects), self.ensemble))

    def spread(self, labels: Tensor) -> Tensor:
        """[…, labels] → […]: standard deviation (n − 1) of the members' scores; 0 for one member."""
        members = self.members(labels)
        return members.std(-1) if self.ensemble > 1 else torch.zeros_like(members[..., 0])

    def parts(self, labels: Tensor) -> dict[str, Tensor]:
        """name → […]: each aspect where there are several, and `spread` of an ensemble."""
        each = labels.unflatten(-1, (len(self.aspects), self.ensemble)).mean(-1)
        named = {name: each[..., place] for place, (name, _) in enumerate(self.aspects)}
        found = named if len(named) > 1 else {}
        return found | ({"spread": self.spread(labels)} if self.ensemble > 1 else {})

    def write(self, folder: Path) -> None:
        """Leave the card in a model's folder."""
        card = {"aspects": dict(self.aspects), "ensemble": self.ensemble, "learned": dict(self.learned)}
        (folder / CARD).write_text(json.dumps(card, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: str) -> Heads | None:
        """The card of a model's folder; None where there is none.

        Raises:
            DataError: it is no card of ours.
        """
        file = Path(path) / CARD
        if not file.is_file():
            return None
        try:
            card = json.loads(file.read_text(encoding="utf-8"))
            aspects = tuple((str(name), float(weight)) for name, weight in card["aspects"].items())
            ensemble, learned = int(card["ensemble"]), dict(card["learned"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                "this does not say what the labels of the reward model mean", where=str(file), fix="copy it again"
            ) from error
        if ensemble < 1 or not aspects:
            raise DataError("a reward model has at least one head", where=str(file), fix="copy it again")
        return cls(aspects, ensemble, learned)
