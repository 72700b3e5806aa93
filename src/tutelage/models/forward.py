"""Our own forward in plain PyTorch, for decoding on a GPU: weights of a stock model, cast once, few and fused kernels.

forward = Forward(policy)                          refused (UnfitError) unless it gives the stock logits on a probe
forward.sync()                                     before each sampling call: takes over what training has changed
forward(tokens, positions, attend) ─► hidden       `attend` keeps keys and values, and answers the queries
forward.logits(hidden)             ─► float32

Products are in the policy's compute dtype; residual stream, norms and rotation are float32, as under autocast. Nothing
waits for the device and no shape depends on numbers, so that a CUDA graph can replay it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tutelage.batches import TokenBatch, onto
from tutelage.models._blueprint import Blueprint, Layer, Linear, UnfitError, blueprint
from tutelage.models.attention import Packing, attend_packed, packing_for
from tutelage.models.policy import Policy

__all__ = ["Attend", "Forward", "UnfitError", "packed"]

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, query [T, H, D], key [T, Hk, D], value [T, Hk, D]) → [T, H, D]"""
_PROBE = (5, 18, 33)
_SLACK, _TIMES = 1e-4, 3.0
"""Root-mean-square error of the probe's logits that may be, in standard deviations; and beyond that, in bfloat16, this
many times the error that the stock forward itself has under autocast."""


@dataclass(frozen=True)
class _Product:
    """Maps of a layer that read the same input, side by side: one product."""

    sources: tuple[Linear, ...]
    weight: Tensor
    """[columns, depth] in the compute dtype"""
    bias: Tensor | None

    @classmethod
    def of(cls, sources: tuple[Linear, ...], dtype: torch.dtype) -> _Product:
        weights, biases = [one.weight() for one in sources], [one.bias() for one in sources]
        if len({bias is None for bias in biases}) > 1:
            raise UnfitError("some of its layers have biases, and others beside them have none")
        bias = None if biases[0] is None else torch.cat([each for each in biases if each is not None]).to(dtype)
        return cls(sources, torch.cat(weights).to(dtype), bias)

    def sync(self) -> None:
        start = 0
        for source in self.sources:
            weight, bias = source.weight(), source.bias()
            end = start + len(weight)
            self.weight[start:end].copy_(weight)
            if self.bias is not None and bias is not None:
                self.bias[start:end].copy_(bias)
            start = end

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True)
class _Block:
    layer: Layer
    attend: _Product
    back: _Product
    up: _Product
    down: _Product


class Forward:
    """A policy's forward over new tokens, on any device, in the policy's compute dtype. Without gradient.

    Raises:
        UnfitError: another family, or logits that are not those of the stock forward.
    """

    def __init__(self, policy: Policy) -> None:
        self.plan = plan = blueprint(policy.core)
        self.device, self.dtype = policy.device, policy.compute_dtype
        with torch.no_grad():
            self.blocks = [
                _Block(
                    layer,
                    *(_Product.of(maps, self.dtype) for maps in (layer.attend, (layer.back,), layer.up, (layer.down,))),
                )
                for layer in plan.layers
            ]  # fmt: skip
            self._head = _Product.of((_head_of(plan),), self.dtype)
        self._tables = None if plan.rotary is None else [onto(t, self.device) for t in plan.tables()]
        self.note = ""
        """what could not be had, in one sentence"""
        self._join, self._turn, self._gate = _join, _turn, _gate
        if self.device.type == "cuda":
            self._compile(policy)
        self._verify(policy)

    def _compile(self, policy: Policy) -> None:
        """One kernel instead of several between two products."""
        plain = self._join, self._turn, self._gate
        self._join, self._turn, self._gate = (torch.compile(part, dynamic=True) for part in plain)
        try:
            self._verify(policy)
        except RuntimeError as error:  # of which all that torch.compile raises are kinds
            self._join, self._turn, self._gate = plain
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            self.note = f"decoding runs uncompiled kernels, which is slower: {reason}"

    @torch.no_grad()
    def sync(self) -> None:
        """Take over what training has changed; every buffer stays where it is."""
        for block in self.blocks:
            for product in (block.attend, block.back, block.up, block.down):
                product.sync()
        self._head.sync()

    def __call__(self, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """Hidden states `[T, hidden]` after the last norm, in the compute dtype: what the head reads.

        Args:
            tokens, positions: int64 [T] on the device.
        """
        plan = self.plan
        stream = plan.embedding.weight[tokens].float()
        if plan.places is not None:
            stream = stream + plan.places.weight[positions]
        cosines, sines = (None, None) if self._tables is None else (table[positions][:, None] for table in self._tables)
        befores = [*(block.layer.before for block in self.blocks[1:]), plan.last]
        ready = self._norm(stream, None, self.blocks[0].layer.before)[1]
        for index, (block, following) in enumerate(zip(self.blocks, befores, strict=True)):
            layer = block.layer
            norm, other = (None if each is None else each.weight for each in (layer.query_norm, layer.key_norm))
            raw = block.attend(ready).view(len(tokens), -1, plan.size)
            query, key, value = self._turn(raw, plan.heads, plan.key_value_heads, norm, other, plan.eps, cosines, sines)
            seen = attend(index, query, key, value).reshape(len(tokens), -1)
            stream, ready = self._norm(stream, block.back(seen), block.layer.between)
            inner = self._gate(block.up(ready), not plan.centred)
            stream, ready = self._norm(stream, block.down(inner), following)
        return ready

    def logits(self, hidden: Tensor) -> Tensor:
        """float32 [T, vocabulary]"""
        return self._head(hidden).float()

    def _norm(self, stream: Tensor, more: Tensor | None, module: Any) -> tuple[Tensor, Tensor]:
        bias = module.bias if self.plan.centred else None
        return self._join(stream, more, module.weight, bias, self.plan.eps, self.plan.centred, self.dtype)

    @torch.no_grad()
    def _verify(self, policy: Policy) -> None:
        """
        Raises:
            UnfitError: the logits of a few short sequences differ from those of the stock forward.
        """
        draw = torch.Generator().manual_seed(0)
        lengths = [min(length, self.plan.positions) for length in _PROBE]
        top = len(self._head.weight)
        rows = [torch.randint(top, (length,), generator=draw).tolist() for length in lengths]
        batch = TokenBatch.of([(row, [False] * len(row)) for row in rows])
        packing = packing_for(lengths, self.device, bounds=True)
        inputs = onto(batch.tokens, self.device), onto(batch.positions, self.device)
        found = self.logits(self(*inputs, packed(self.plan, packing)))
        plain = packing_for(lengths, self.device)
        wanted = policy.head(policy.forward_body(*inputs, packing=plain).float()).float()
        with policy.autocast():
            rounded = policy.head(policy.forward_body(*inputs, packing=plain)).float()
        error, theirs = (float((logits - wanted).square().mean().sqrt() / wanted.std()) for logits in (found, rounded))
        if not error <= _SLACK + _TIMES * theirs:
            raise UnfitError(f"its logits differ from the stock forward's by {error:.2g} standard deviations")


def packed(plan: Blueprint, packing: Packing) -> Attend:
    """Attention of whole sequences, side by side."""

    def attend(index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        layer = plan.layers[index]
        query, key, value = (part.transpose(0, 1)[None] for part in (query, key, value))
        return attend_packed(query, key, value, packing, layer.scale, layer.window or None)[0]

    return attend


def _head_of(plan: Blueprint) -> Linear:
    if plan.head is None:
        raise UnfitError("it is no language model")
    return plan.head


def _join(
    stream: Tensor, more: Tensor | None, weight: Tensor, bias: Tensor | None, eps: float, centred: bool,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The residual stream with `more` added, and its norm."""
    if more is not None:
        stream = stream + more
    if centred:
        return stream, F.layer_norm(stream, weight.shape, weight, bias, eps).to(dtype)
    return stream, (stream * torch.rsqrt(stream.square().mean(-1, keepdim=True) + eps) * weight).to(dtype)


def _turn(
    raw: Tensor, heads: int, shared: int, query_norm: Tensor | None, key_norm: Tensor | None, eps: float,
    cosines: Tensor | None, sines: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Queries and keys of `raw` [T, heads + 2·shared, D], normalised and rotated, and the values."""
    query, key, value = raw.split([heads, shared, shared], dim=1)

    def turned(part: Tensor, norm: Tensor | None) -> Tensor:
        if norm is not None:
            part = part.float()
            part = part * torch.rsqrt(part.square().mean(-1, keepdim=True) + eps) * norm
        if cosines is None or sines is None:
            return part.to(raw.dtype)
        left, right = part.chunk(2, -1)
        return torch.cat((left * cosines - right * sines, right * cosines + left * sines), -1).to(raw.dtype)

    return turned(query, query_norm), turned(key, key_norm), value


def _gate(raw: Tensor, gated: bool) -> Tensor:
    if not gated:
        return F.gelu(raw, approximate="tanh")
    gate, up = raw.chunk(2, -1)
    return F.silu(gate) * up
