"""The matrix products of a block: stock weights, biases and low-rank adapters, forward and backward without a graph.

y = x·Wᵀ + b + Σ scale·(x·Aᵀ)·Bᵀ        several stock maps of one input (q k v; gate up) are one W, their rows in turn
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from tutelage.models._blueprint import Linear
from tutelage.ops import body as ops
from tutelage.ops.weights import outer_sum


def _count_changes(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """After each step of any optimiser: torch's fused ones change weights without counting that as a change."""
    torch.autograd.graph.increment_version([p for group in optimizer.param_groups for p in group["params"]])


register_optimizer_step_post_hook(_count_changes)


@dataclass
class _Made:
    """Weights under each other, of which state they are a copy, and the weights."""

    whole: Tensor
    state: list[tuple[int, int]]
    parts: Sequence[Tensor]

    def rows(self) -> list[Tensor]:
        """Where the copy of each of `parts` lies."""
        return list(self.whole.split([len(part) for part in self.parts]))


class Copies:
    """Weights under each other and in another type, made anew when an optimiser has changed them."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, torch.dtype], _Made] = {}

    def get(self, name: str, parts: Sequence[Tensor], kind: torch.dtype) -> Tensor:
        """`parts` under each other, [Σ rows, …], of `kind`; one that is of this kind already is not copied."""
        if len(parts) == 1 and parts[0].dtype == kind and parts[0].is_contiguous():
            return parts[0].detach()
        state, made = state_of(parts), self._made.get((name, kind))
        if made is not None and made.state == state:
            return made.whole
        rows = sum(map(len, parts))
        whole = torch.empty(rows, *parts[0].shape[1:], dtype=kind) if made is None else made.whole
        made = self._made[name, kind] = _Made(whole, state, parts)
        with torch.no_grad():
            for place, part in zip(made.rows(), parts, strict=True):
                place.copy_(part)
        return whole

    @property
    def size(self) -> int:
        """Bytes that they take."""
        return sum(made.whole.nbytes for made in self._made.values())

    def forget(self) -> None:
        """Give their memory back; what is asked for next is made anew."""
        self._made.clear()

    def targets(self) -> dict[Tensor, Tensor]:
        """Where an optimiser may write what it makes of weights, in bfloat16, to tell `renewed` of it."""
        made = [each for (_, kind), each in self._made.items() if kind == torch.bfloat16]
        return {part: place for each in made for part, place in zip(each.parts, each.rows(), strict=True)}

    def renewed(self, written: Mapping[Tensor, Tensor]) -> None:
        """These of `targets` are the weights as they are now: what consists of them alone need not be made again."""
        for made in self._made.values():
            places = zip(made.parts, made.rows(), strict=True)
            if all(part in written and written[part].data_ptr() == place.data_ptr() for part, place in places):
                made.state = state_of(made.parts)


def state_of(parts: Iterable[Tensor]) -> list[tuple[int, int]]:
    """Where these lie and how often they have been changed: while that stays, so do their numbers."""
    return [(part.data_ptr(), part._version) for part in parts]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


@dataclass(frozen=True)
class LowRank:
    """One adapter of one of the maps."""

    rows: slice
    """of y, the columns that it adds to"""
    down: Tensor
    """A [r, in]"""
    up: Tensor
    """B [out, r]"""
    scale: float


@dataclass(frozen=True)
class Product:
    """What some stock maps of one input compute at this moment: adapters may be off a moment later."""

    name: str
    copies: Copies
    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    """one for each weight, or none at all"""
    across: bool
    """weights are stored as [in, out]; then there is one"""
    terms: tuple[LowRank, ...]

    @classmethod
    def of(cls, name: str, parts: Sequence[Linear], copies: Copies) -> Product:
        """`parts` side by side, as they are now."""
        terms, row = list[LowRank](), 0
        for part in parts:
            size = part.stored.weight.shape[int(part.across)]
            for each in part.adapters():
                down, up = part.module.lora_A[each].weight, part.module.lora_B[each].weight
                terms.append(LowRank(slice(row, row + size), down, up, float(part.module.scaling[each])))
            row += size
        weights = tuple(part.stored.weight for part in parts)
        biases = tuple(part.stored.bias for part in parts if part.stored.bias is not None)
        return cls(name, copies, weights, biases, parts[0].across, tuple(terms))

    @property
    def tensors(self) -> list[Tensor]:
        """In the order in which `backward` answers their gradients."""
        return [*self.weights, *self.biases, *(side for term in self.terms for side in (term.down, term.up))]

    def forward(self, x: Tensor) -> Tensor:
        """[T, in] → [T, out], of the kind of `x`."""
        if self.biases:
            y = torch.addmm(self.copies.get(self.name + " bias", self.biases, x.dtype), x, self._weight(x.dtype).T)
        else:
            y = torch.mm(x, self._weight(x.dtype).T)
        if self.terms:
            low = torch.mm(x, self._downs(x.dtype).T)
            for term, ranks in zip(self.terms, self._ranks, strict=True):
                y[:, term.rows].addmm_(low[:, ranks], term.up.detach().to(x.dtype).T, alpha=term.scale)
        return y

    def input_gradient(self, back: Tensor) -> Tensor:
        """Of `x`, [T, in], of the kind of `back` [T, out]."""
        d_x = torch.mm(back, self._weight(back.dtype))
        if self.terms:
            d_x.addmm_(self._d_low(back), self._downs(back.dtype))
        return d_x

    def gradients(self, back: Tensor, x: Tensor, wanted: Sequence[bool]) -> list[Tensor | None]:
        """Of `tensors`, float32; None for those that are not `wanted`."""
        count, biases = len(self.weights), len(self.biases)
        found: list[Tensor | None] = [None] * (count + biases)
        if any(wanted[:count]):
            found[:count] = self._weight_gradients(back, x)
        if any(wanted[count : count + biases]):
            found[count:] = ops.columns(back).split([len(bias) for bias in self.biases])
        return found + (
            self._term_gradients(back, x) if any(wanted[count + biases :]) else [None] * 2 * len(self.terms)
        )

    def _weight_gradients(self, back: Tensor, x: Tensor) -> Sequence[Tensor]:
        if self.across:
            return [outer_sum(x, back)]
        return outer_sum(back, x).split([len(weight) for weight in self.weights])

    def _term_gradients(self, back: Tensor, x: Tensor) -> list[Tensor | None]:
        """Of A and B of each term."""
        low = torch.mm(x, self._downs(x.dtype).T)
        d_downs = outer_sum(self._d_low(back), x)
        found = list[Tensor | None]()
        for term, ranks in zip(self.terms, self._ranks, strict=True):
            d_up = outer_sum(back[:, term.rows], low[:, ranks]).mul_(term.scale)
            found += [d_downs[ranks], d_up]
        return found

    def _d_low(self, back: Tensor) -> Tensor:
        """[T, Σ r]: gradients of x·Aᵀ of all terms."""
        sides = [torch.mm(back[:, term.rows], term.up.detach().to(back.dtype)).mul_(term.scale) for term in self.terms]
        return torch.cat(sides, dim=1)

    def _weight(self, kind: torch.dtype) -> Tensor:
        """[out, in]"""
        whole = self.copies.get(self.name, self.weights, kind)
        return whole.T if self.across else whole

    def _downs(self, kind: torch.dtype) -> Tensor:
        """All A under each other."""
        return torch.cat([term.down.detach() for term in self.terms]).to(kind)

    @cached_property
    def _ranks(self) -> list[slice]:
        """Where each term's own rows lie in `_downs`."""
        ends = torch.cumsum(torch.tensor([len(term.down) for term in self.terms]), 0).tolist()
        return [slice(end - len(term.down), end) for end, term in zip(ends, self.terms, strict=True)]
