"""Attention that knows where sequences end: plugs into any stock transformers model, so nothing else needs padding.

    body(tokens[None], position_ids=…, packing=Packing(…))            train: T packed tokens, B sequences
    body(tokens[None], position_ids=…, packing=Packing(…), cache=c)   prefill: the same, keys and values kept in slots
    body(tokens[None], position_ids=…, cache=c)                       decode: one new token for each slot

Keyword arguments that a stock forward does not know are handed on to the attention function, by transformers' contract.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tutelage.batches import onto
from tutelage.ops import varlen
from tutelage.ops.attention import Segments, attend, usable

NAME = "tutelage"
_DENSE_LIMIT = 2.5
"""One padded attention call is used while it computes at most this many times the real query positions."""


@dataclass(frozen=True)
class Packing:
    """Where the sequences of a packed row begin and end."""

    lengths: list[int]
    slots: Tensor
    """int64 [T]: place of each token in the `[B, L]` grid (L = the longest), for one padded attention call"""
    segments: Segments | None = None
    """for attention in C++, where that is wanted"""
    bounds: varlen.Bounds | None = None
    """for the kernels of a GPU, where they are wanted"""

    @classmethod
    def of(
        cls,
        lengths: Tensor,
        rows: Tensor,
        positions: Tensor,
        device: torch.device,
        segments: Segments | None = None,
        *,
        bounds: bool = False,
    ) -> Packing:
        """`lengths` int64 [B]; `rows`, `positions` int64 [T] as in `TokenBatch`."""
        sizes = lengths.tolist()
        found = varlen.Bounds.of(sizes, device) if bounds else None
        return cls(sizes, onto(rows * int(lengths.max()) + positions, device), segments, found)


class SlotCache:
    """Keys and values of N sequences under way, each in a slot of its own, at its own length.

    Rows are kept dense: `keep` moves the living ones to the front. Allocated once per sampling call.
    """

    def __init__(self, slots: int, capacity: int) -> None:
        self.slots = slots
        self.capacity = capacity
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}
        self.positions = torch.zeros(slots, dtype=torch.int64)
        """int64 [N]: how many tokens each slot holds"""
        self.mask = torch.zeros(0)
        self.owners: Tensor = torch.zeros(0, dtype=torch.int64)
        """int64 [N]: during prefill, which packed sequence fills each slot"""

    def prefill(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Copy the padded prompt keys `[B, H, L, D]` into the slots of their owners."""
        if layer not in self.keys:
            self.keys[layer], self.values[layer] = (
                side.new_zeros(self.slots, side.shape[1], self.capacity, side.shape[3]) for side in (keys, values)
            )
        self.keys[layer][:, :, : keys.shape[2]] = keys[self.owners]
        self.values[layer][:, :, : values.shape[2]] = values[self.owners]

    def begin(self, positions: Tensor) -> int:
        """Get ready to add one token per slot at `positions` [N]; returns the width that attention must look at."""
        self.positions = positions
        width = int(positions.max()) + 1
        self.mask = (torch.arange(width, device=positions.device)[None] <= positions[:, None])[:, None, None]
        return width

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add one token's `[N, H, D]` to each slot; returns all keys and values so far, `[N, H, width, D]`."""
        rows = torch.arange(keys.shape[0], device=keys.device)
        self.keys[layer][rows, :, self.positions] = keys
        self.values[layer][rows, :, self.positions] = values
        width, count = self.mask.shape[-1], keys.shape[0]
        return self.keys[layer][:count, :, :width], self.values[layer][:count, :, :width]

    def keep(self, alive: Tensor) -> None:
        """Move the slots `alive` (int64, ascending) to the front, so that finished sequences cost nothing more."""
        count = len(alive)
        for layer in self.keys:
            self.keys[layer][:count] = self.keys[layer][alive]
            self.values[layer][:count] = self.values[layer][alive]


def attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packing: Packing | None = None,
    cache: SlotCache | None = None,
    sliding_window: int | None = None,
    **ignored: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: query `[1, H, T, D]`, key and value `[1, Hk, T, D]` → `[1, T, H, D]`."""
    layer: int = module.layer_idx  # type: ignore[assignment]
    if packing is None and cache is not None:
        return _decode(layer, query, key, value, cache, scaling, sliding_window), None
    if packing is None:  # a plain batch from outside, e.g. `model(input_ids)`: every row one whole sequence
        return _causal(query, key, value, scaling, sliding_window).transpose(1, 2).contiguous(), None
    if cache is not None:
        cache.prefill(layer, _grid(key, packing), _grid(value, packing))
    return attend_packed(query, key, value, packing, scaling, sliding_window), None


def attend_packed(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, scaling: float | None, window: int | None
) -> Tensor:
    """Query `[1, H, T, D]`, key and value `[1, Hk, T, D]` → `[1, T, H, D]`, by the fastest way that takes them."""
    if packing.segments is not None or packing.bounds is not None:
        q, k, v = (each[0].transpose(0, 1) for each in _cast(query, key, value))
        scale = query.shape[3] ** -0.5 if scaling is None else scaling
        if packing.bounds is not None and varlen.usable(q, k, v):
            return varlen.attend(q, k, v, packing.bounds, scale, window)[None]
        if packing.segments is not None and usable(q, k, v):
            return attend(q, k, v, packing.segments, scale, window)[None]
    return _packed(query, key, value, packing, scaling, window)


def _cast(*tensors: Tensor) -> list[Tensor]:
    """As autocast would, which knows only torch's own operations."""
    kind = tensors[0].device.type
    if not torch.is_autocast_enabled(kind):
        return list(tensors)
    return [tensor.to(torch.get_autocast_dtype(kind)) for tensor in tensors]


def _packed(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, scaling: float | None, window: int | None
) -> Tensor:
    count, longest, total = len(packing.lengths), max(packing.lengths), query.shape[2]
    if count * longest <= _DENSE_LIMIT * total:
        # Right padding is harmless under a causal mask: no real query looks at a later position.
        out = _causal(_grid(query, packing), _grid(key, packing), _grid(value, packing), scaling, window)
        flat = out.transpose(1, 2).reshape(count * longest, *out.shape[1::2])
        return flat[packing.slots][None]
    parts = [
        _causal(q, k, v, scaling, window)
        for q, k, v in zip(*(tensor.split(packing.lengths, dim=2) for tensor in (query, key, value)), strict=True)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous()


def _grid(packed: Tensor, packing: Packing) -> Tensor:
    """`[1, H, T, D]` → `[B, H, L, D]`, right-padded with 0."""
    count, longest = len(packing.lengths), max(packing.lengths)
    rows = packed[0].transpose(0, 1)
    grid = rows.new_zeros(count * longest, *rows.shape[1:]).index_copy(0, packing.slots, rows)
    return grid.view(count, longest, *rows.shape[1:]).transpose(1, 2)


def _causal(query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None) -> Tensor:
    groups, length = query.shape[1] // key.shape[1], query.shape[2]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    if window is None or length <= window:
        return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
    place = torch.arange(length, device=query.device)
    distance = place[:, None] - place[None]
    near = (distance >= 0) & (distance < window)
    return scaled_dot_product_attention(query, key, value, attn_mask=near, scale=scaling)


def _decode(
    layer: int, query: Tensor, key: Tensor, value: Tensor, cache: SlotCache, scaling: float | None, window: int | None
) -> Tensor:
    keys, values = cache.extend(layer, key[0].transpose(0, 1), value[0].transpose(0, 1))
    count, heads = query.shape[2], keys.shape[1]
    # The query heads that share a key head stand as that many queries: nothing is repeated.
    grouped = query[0].transpose(0, 1).reshape(count, heads, -1, query.shape[3])
    mask = cache.mask
    if window is not None:
        place = torch.arange(mask.shape[-1], device=mask.device)
        mask = mask & (place[None] > (cache.positions[:, None] - window))[:, None, None]
    out = scaled_dot_product_attention(grouped, keys, values, attn_mask=mask, scale=scaling)
    return out.reshape(1, count, -1, values.shape[3])


def plug_in(model: Any) -> None:
    """Let a stock transformers model use this attention.

    It has no mask function, so that transformers makes no mask: boundaries come with `packing`, and looking for them in
    the positions would make the host wait for the device in every forward.
    """
    ALL_ATTENTION_FUNCTIONS.register(NAME, attention)
    model.set_attn_implementation(NAME)


def packing_for(lengths: Sequence[int], device: torch.device, *, bounds: bool = False) -> Packing:
    """The packing of sequences of these lengths."""
    sizes = torch.tensor(list(lengths), dtype=torch.int64)
    rows = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    positions = torch.arange(int(sizes.sum())) - (torch.cumsum(sizes, 0) - sizes)[rows]
    return Packing.of(sizes, rows, positions, device, bounds=bounds)
