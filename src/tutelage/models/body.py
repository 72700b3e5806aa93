"""The body of a decoder with a gradient of its own: stock weights, packed tokens, nothing computed twice.

stream ─► norm ─► q k v ─► norm, rotate ─► attend ─► out ─┬─► norm ─► up ─► activation ─► down ─┬─► next layer
   └──────────────────────── + ──────────────────────────┘   └─────────────── + ───────────────┘

`_blueprint.py` says what the families' modules are, `_products.py` multiplies (by torch, in `kind`: bfloat16 or
float32, with copies of the weights that are made once per optimiser step), the rest is ops/body.py and
ops/attention.py. The residual stream and the gradients of weights are float32.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from tutelage.models import _blueprint as blueprints
from tutelage.models._blueprint import Blueprint, Linear, UnfitError
from tutelage.models._filling import Layout, filled, narrowed
from tutelage.models._products import Copies, Product
from tutelage.ops import attention, native
from tutelage.ops import body as ops
from tutelage.ops.attention import Segments
from tutelage.ops.body import Norm, Turn

__all__ = ["Body", "UnfitError"]

_LARGEST_HEAD = 512
"""numbers; MOST in ops/native/body.cpp, times sixteen"""


@dataclass(frozen=True)
class _Block:
    """What one layer computes in this pass."""

    before: Norm
    attend: Product
    turn: Turn | None
    """of queries and keys; None where they stay as they are"""
    scale: float
    window: int | None
    out: Product
    between: Norm
    up: Product
    gated: bool
    down: Product

    @property
    def tensors(self) -> list[Tensor]:
        """In the order in which `_backward` answers their gradients: of the turn, then of each of `_parts`."""
        turn = [] if self.turn is None else [w for w in (self.turn.query_norm, self.turn.key_norm) if w is not None]
        return [*turn, *(tensor for part in self._parts for tensor in part.tensors)]

    @property
    def _parts(self) -> tuple[Norm | Product, ...]:
        return self.before, self.attend, self.out, self.between, self.up, self.down

    def divide(self, wanted: Sequence[bool]) -> list[Sequence[bool]]:
        """Of `tensors`, whether a gradient is wanted, for each of `_parts`."""
        sizes = [len(part.tensors) for part in self._parts]
        ends = [len(wanted) - sum(sizes[place + 1 :]) for place in range(len(sizes))]
        return [wanted[end - size : end] for end, size in zip(ends, sizes, strict=True)]


@dataclass(frozen=True)
class _Pass:
    """All that one forward pass and its gradient need besides tensors that may want a gradient."""

    blocks: list[_Block]
    last: Norm
    heads: int
    shared: int
    depth: int
    segments: Segments
    read: Tensor | None
    """int64 [N]: the tokens whose states are wanted, each once; after its attention the last layer computes no other"""
    kind: torch.dtype
    learns: bool
    """whether a gradient may be asked for"""
    recompute: bool
    """whether it computes each layer again, from what went into it"""

    def read_of(self, block: _Block) -> Tensor | None:
        """The tokens that `block` computes after its attention; None = all."""
        return self.read if block is self.blocks[-1] else None

    def split(self, raw: Tensor) -> list[Tensor]:
        """Queries, keys and values of [T, heads + 2·shared, depth]."""
        return list(raw.split([self.heads, self.shared, self.shared], dim=1))


class Body:
    """Runs the decoder of `core`, whose modules it only reads."""

    def __init__(self, core: Any) -> None:
        """
        Raises:
            UnfitError: this is not a model that it knows exactly.
        """
        self.core = core
        self.plan = blueprints.read(core)
        _require_fit(core, self.plan)
        self.copies = Copies()

    def __deepcopy__(self, memo: dict[int, Any]) -> Body:
        """Of the copied model; the copies of weights here belong to the old one."""
        return Body(copy.deepcopy(self.core, memo))

    def hidden(
        self,
        tokens: Tensor,
        positions: Tensor,
        segments: Segments,
        kind: torch.dtype,
        read: Tensor | None = None,
        *,
        recompute: bool = False,
    ) -> Tensor:
        """float32 [T, H] after the last norm, or [N, H] of the tokens at `read`, int64 [N]; products in `kind`.

        Args:
            recompute: keep only what goes into each layer, and compute the layer again for its gradient (to the bit).
        """
        given = narrowed(Layout(tokens, positions, segments, read))
        wanted = len(tokens if given.read is None else given.read)
        if kind == torch.bfloat16:  # those of float32 are not compiled for their size
            given = filled(given)
        states = self._states(given, kind, recompute)
        states = states if len(states) == wanted else states[:wanted]
        return states if read is None or given.read is not None else states.index_select(0, read)

    def _states(self, given: Layout, kind: torch.dtype, recompute: bool) -> Tensor:
        """float32 [T, H], or [N, H] of what is read."""
        plan, tokens, positions = self.plan, given.tokens, given.positions
        stream = plan.embedding(tokens).float()
        if plan.places is not None:
            stream = stream + plan.places(positions).float()
        angles = None
        if plan.rotary is not None:
            angles = [each[0].float().contiguous() for each in plan.rotary(stream[None], positions[None])]
        blocks = [self._block(index, angles) for index in range(len(plan.layers))]
        sizes = plan.heads, plan.key_value_heads, plan.size
        run = _Pass(
            blocks, self._norm(plan.last), *sizes, given.segments, given.read, kind, torch.is_grad_enabled(), recompute
        )
        tensors = [tensor for block in blocks for tensor in block.tensors]
        return cast(Any, _Body).apply(run, stream, *tensors, *run.last.tensors)

    def _block(self, index: int, angles: list[Tensor] | None) -> _Block:
        plan, layer = self.plan, self.plan.layers[index]
        turn = None
        if angles is not None:
            query, key = (None if norm is None else norm.weight for norm in (layer.query_norm, layer.key_norm))
            turn = Turn(plan.heads, plan.key_value_heads, plan.size, angles[0], angles[1], query, key, plan.eps)

        def product(name: str, *parts: Linear) -> Product:
            return Product.of(f"{index} {name}", parts, self.copies)

        return _Block(
            before=self._norm(layer.before),
            attend=product("attend", *layer.attend),
            turn=turn,
            scale=float(layer.scale),
            window=layer.window or None,
            out=product("out", layer.back),
            between=self._norm(layer.between),
            up=product("up", *layer.up),
            gated=len(layer.up) == 2,
            down=product("down", layer.down),
        )

    def _norm(self, module: Any) -> Norm:
        return Norm(module.weight, getattr(module, "bias", None), float(self.plan.eps), self.plan.centred)


def _require_fit(core: Any, plan: Blueprint) -> None:
    """
    Raises:
        UnfitError: something about the model, or this machine, is beyond these loops.
    """
    for name in ("attention", "body"):
        if not native.available(name):
            raise UnfitError(native.why_not(name))
    for parameter in core.base_model.parameters():
        if parameter.dtype != torch.float32 or parameter.device.type != "cpu":
            raise UnfitError(f"its weights are {parameter.dtype} on {parameter.device}")
    if plan.size > _LARGEST_HEAD:
        raise UnfitError(f"its heads have {plan.size} numbers each, more than {_LARGEST_HEAD}")
    for layer in plan.layers:
        for parts in (layer.attend, (layer.back,), layer.up, (layer.down,)):
            if len({part.stored.bias is None for part in parts}) > 1 or (len(parts) > 1 and parts[0].across):
                raise UnfitError("some of its layers have biases, and others beside them have none")
            for part in parts:
                if any(type(each) is not nn.Identity for each in getattr(part.module, "lora_dropout", {}).values()):
                    raise UnfitError("its adapter has dropout")


@dataclass(frozen=True)
class _Given:
    """What goes into one layer."""

    stream: Tensor
    more: Tensor | None
    """what the layer before adds to the stream"""


@dataclass(frozen=True)
class _Kept:
    """Of one layer, for its gradient."""

    stream: Tensor
    normed: Tensor
    marks: Tensor
    raw: Tensor
    """queries, keys and values before norm and rotation"""
    attended: Tensor
    total: Tensor
    middle: Tensor
    """the stream after attention"""
    middle_normed: Tensor
    middle_marks: Tensor
    inner: Tensor
    """gate and up, or up alone"""


class _Body(Function):
    """All layers and the last norm. A second derivative is not to be had."""

    @staticmethod
    def forward(ctx: Any, run: _Pass, stream: Tensor, *tensors: Tensor) -> Tensor:
        keep = run.learns and any(ctx.needs_input_grad)  # torch counts the latter without gradients too
        kept, more = list[_Kept | _Given](), None
        for block in run.blocks:
            given = _Given(stream, more)
            layer = _forward(run, block, given)
            stream, more = layer.middle, _added(block, layer)
            if keep:
                kept.append(given if run.recompute else layer)
        stream, normed, marks = ops.norm(stream, more, run.last, run.kind, torch.float32)
        if keep:
            ctx.run, ctx.kept, ctx.last = run, kept, (stream, marks)
            ctx.save_for_backward(*tensors)  # refuses a backward pass after the weights have changed
        return normed

    @staticmethod
    @once_differentiable  # which hides the parameters' names from the type checker
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        run, wanted, _ = ctx.run, list(ctx.needs_input_grad[2:]), ctx.saved_tensors
        stream, marks = ctx.last
        back = grad_outputs[0].contiguous()
        d_stream, d_kind, d_last = ops.norm_backward(stream, run.last, marks, back, None, run.kind)
        gradients: list[Tensor | None] = [*d_last]
        del wanted[len(wanted) - len(d_last) :]
        for block, kept in zip(reversed(run.blocks), reversed(ctx.kept), strict=True):
            place = len(wanted) - len(block.tensors)
            layer = _forward(run, block, kept) if isinstance(kept, _Given) else kept
            d_stream, d_kind, found = _backward(run, block, layer, (d_stream, d_kind), wanted[place:])
            gradients[:0] = found
            del wanted[place:]
        return None, d_stream, *gradients


def _forward(run: _Pass, block: _Block, given: _Given) -> _Kept:
    """One block but for what it adds to the stream at its end."""
    read = run.read_of(block)
    stream, normed, marks = ops.norm(given.stream, given.more, block.before, run.kind, run.kind)
    raw = block.attend.forward(normed).view(len(stream), -1, run.depth)
    query, key, value = _turned(run, block, raw)
    attended, total = attention.forward(query, key, value, run.segments, block.scale, block.window)
    more = block.out.forward(_at(read, attended.view(len(stream), -1)))
    middle, middle_normed, middle_marks = ops.norm(_at(read, stream), more, block.between, run.kind, run.kind)
    inner = block.up.forward(middle_normed)
    return _Kept(stream, normed, marks, raw, attended, total, middle, middle_normed, middle_marks, inner)


def _added(block: _Block, layer: _Kept) -> Tensor:
    """What a block adds to the stream (of the tokens that were read) at its end."""
    return block.down.forward(ops.gated(layer.inner) if block.gated else ops.gelu(layer.inner))


def _at(read: Tensor | None, rows: Tensor) -> Tensor:
    return rows if read is None else rows.index_select(0, read)


def _back_at(read: Tensor | None, rows: Tensor, count: int) -> Tensor:
    """The gradient of `rows` in `_at(read, rows)`: `count` rows, 0 where nothing was read."""
    if read is None:
        return rows
    return rows.new_zeros(count, rows.shape[1]).index_copy_(0, read, rows)


def _turned(run: _Pass, block: _Block, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    query, key, value = run.split(raw)
    if block.turn is not None:
        query, key = ops.turned(block.turn, raw).split([run.heads, run.shared], dim=1)
    return query, key, value


def _backward(
    run: _Pass,
    block: _Block,
    kept: _Kept,
    given: tuple[Tensor, Tensor],
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, list[Tensor | None]]:
    """Gradients of the stream before the block, float32 and of `kind`, and of the block's tensors."""
    (d_stream, d_kind), read = given, run.read_of(block)
    asked = block.divide(wanted)
    activate = ops.gated_backward if block.gated else ops.gelu_backward
    activated, d_inner = activate(kept.inner, block.down.input_gradient(d_kind))
    d_down = block.down.gradients(d_kind, activated, asked[5])
    d_up = block.up.gradients(d_inner, kept.middle_normed, asked[4])
    d_normed = block.up.input_gradient(d_inner)
    through = d_normed, d_stream, run.kind
    d_stream, d_kind, d_between = ops.norm_backward(kept.middle, block.between, kept.middle_marks, *through)

    count = len(kept.stream)
    d_out = block.out.gradients(d_kind, _at(read, kept.attended.view(count, -1)), asked[2])
    back = _back_at(read, block.out.input_gradient(d_kind), count).view(kept.attended.shape)
    d_stream = _back_at(read, d_stream, count)
    d_raw = torch.empty_like(kept.raw)
    said, how = (kept.attended, kept.total), (run.segments, block.scale, block.window)
    d_query, d_key, d_value = run.split(d_raw)
    attention.backward(back, said, _turned(run, block, kept.raw), *how, into=(d_query, d_key, d_value))
    turns = [] if block.turn is None else ops.turned_backward(block.turn, kept.raw, d_raw)
    flat = d_raw.view(len(d_raw), -1)
    d_attend = block.attend.gradients(flat, kept.normed, asked[1])
    through = block.attend.input_gradient(flat), d_stream, run.kind
    d_stream, d_kind, d_before = ops.norm_backward(kept.stream, block.before, kept.marks, *through)
    found = [*d_before, *d_attend, *d_out, *d_between, *d_up, *d_down]
    return d_stream, d_kind, [*(weight for weight in turns if weight is not None), *found]
