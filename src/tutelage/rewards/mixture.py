"""Several reward sources as one: a weighted sum, each part shown beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from tutelage.batches import Scores
from tutelage.rewards._base import RewardSource
from tutelage.types import Sample


class Term(NamedTuple):
    """One source of a mixture."""

    name: str
    """how its part is called, different from the others'"""
    weight: float
    source: RewardSource


class Mixture(RewardSource):
    """value = Σ weight · part. Parts are the sources' own numbers without their weights; `NAME/…` are theirs in turn.

    Example:
        >>> Mixture([Term("model", 0.7, learned), Term("short", 0.3, Function(short))])
    """

    def __init__(self, terms: Sequence[Term]) -> None:
        self.terms = tuple(terms)

    def score(self, samples: Sequence[Sample]) -> Scores:
        total = torch.zeros(len(samples))
        parts: dict[str, torch.Tensor] = {}
        for term in self.terms:
            found = term.source.score(samples)
            value = found.value.float().cpu()
            total = total + term.weight * value
            parts[term.name] = value
            inner = {name: part for name, part in found.parts.items() if part is not found.value}
            parts |= {f"{term.name}/{name}": part for name, part in inner.items()}
        return Scores(total, parts)

    def sources(self) -> Sequence[RewardSource]:
        return [term.source for term in self.terms]

    def settle(self) -> None:
        for term in self.terms:
            term.source.settle()

    def state(self) -> dict[str, Any]:
        found = {term.name: term.source.state() for term in self.terms}
        return {name: state for name, state in found.items() if state}

    def restore(self, state: Mapping[str, Any]) -> None:
        for term in self.terms:
            if term.name in state:
                term.source.restore(state[term.name])
