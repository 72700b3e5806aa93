"""The body of a Llama-like model with a gradient of its own: stock weights, packed tokens, nothing computed twice.

stream ─► norm ─► q k v ─► norm, rotate ─► attend ─► out ─┬─► norm ─► gate, up ─► silu·up ─► down ─┬─► next layer
   └──────────────────────── + ──────────────────────────┘   └──────────── + ────────────────────┘

Matrix products go to torch, in `kind` (bfloat16 or float32) from copies of the weights that are made once per optimiser
step; the rest is ops/body.py and ops/attention.py. The residual stream and the gradients of weights are float32.
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
from torch.optim.optimizer import register_optimizer_step_post_hook

from tutelage.ops import attention, native
from tutelage.ops import body as ops
from tutelage.ops.attention import Segments
from tutelage.ops.body import Turn

_FAMILIES = ("Llama", "Mistral", "Qwen3")
_PER_LAYER = 11
"""Parameters of a layer, in the order of `Layer.parameters`; None where a family has none."""


class UnfitError(Exception):
    """Why a model cannot be run this way, in words."""


@dataclass(frozen=True)
class Layer:
    """The stock modules of one block."""

    stock: Any
    window: int | None

    def parameters(self) -> list[nn.Parameter | None]:
        """In the order that `_Body` returns gradients in."""
        attend, mlp = self.stock.self_attn, self.stock.mlp
        norms = [getattr(part, "weight", None) for part in (getattr(attend, n, None) for n in ("q_norm", "k_norm"))]
        linear = [attend.q_proj, attend.k_proj, attend.v_proj, attend.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj]
        first, second = self.stock.input_layernorm, self.stock.post_attention_layernorm
        return [first.weight, second.weight, *norms, *(part.weight for part in linear)]


def _count_changes(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """After each step of any optimiser: torch's fused ones change weights without counting that as a change."""
    torch.autograd.graph.increment_version([p for group in optimizer.param_groups for p in group["params"]])


register_optimizer_step_post_hook(_count_changes)


class Copies:
    """Weights side by side and in another type, made anew when an optimiser has changed them."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, str, torch.dtype], tuple[Any, Tensor]] = {}

    def get(self, layer: int, name: str, parts: Sequence[Tensor], kind: torch.dtype) -> Tensor:
        """`parts` under each other, [Σ rows, columns], of `kind`."""
        state = [(part.data_ptr(), part._version) for part in parts]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        kept = self._made.get((layer, name, kind))
        if kept is not None and kept[0] == state:
            return kept[1]
        whole = torch.empty(sum(map(len, parts)), parts[0].shape[1], dtype=kind) if kept is None else kept[1]
        with torch.no_grad():
            row = 0
            for part in parts:
                whole[row : row + len(part)].copy_(part)
                row += len(part)
        self._made[layer, name, kind] = state, whole
        return whole


class Body:
    """Runs the decoder of `core`, whose modules it only reads."""

    def __init__(self, core: Any) -> None:
        """
        Raises:
            UnfitError: this is not a model that it knows exactly.
        """
        self.core = core
        self.model = core.base_model
        self.layers = _layers(core)
        self.copies = Copies()
        config = core.config
        self.heads, self.shared = config.num_attention_heads, config.num_key_value_heads
        self.depth = self.model.layers[0].self_attn.head_dim
        self.scale = float(self.model.layers[0].self_attn.scaling)
        self.eps = float(config.rms_norm_eps)

    def __deepcopy__(self, memo: dict[int, Any]) -> Body:
        """Of the copied model; the copies of weights here belong to the old one."""
        return Body(copy.deepcopy(self.core, memo))

    def hidden(self, tokens: Tensor, positions: Tensor, segments: Segments, kind: torch.dtype) -> Tensor:
        """float32 [T, H] after the last norm; matrix products in `kind`."""
        stream = self.model.embed_tokens(tokens).float()
        cosine, sine = (each[0].float().contiguous() for each in self.model.rotary_emb(stream[None], positions[None]))
        parameters = [p for layer in self.layers for p in layer.parameters()] + [self.model.norm.weight]
        return cast(Any, _Body).apply(self, stream, segments, cosine, sine, kind, *parameters)

    def turn(self, weights: Sequence[Any], cosine: Tensor, sine: Tensor) -> Turn:
        """Of one layer."""
        return Turn(self.heads, self.shared, self.depth, cosine, sine, weights[2], weights[3], self.eps)

    def attend(self, weights: Sequence[Any], layer: int, kind: torch.dtype) -> Tensor:
        """[(heads + 2·shared)·depth, H]"""
        return self.copies.get(layer, "attend", weights[4:7], kind)

    def one(self, weights: Sequence[Any], layer: int, place: int, kind: torch.dtype) -> Tensor:
        """The weight at `place` of a layer's parameters."""
        return self.copies.get(layer, str(place), weights[place : place + 1], kind)

    def up(self, weights: Sequence[Any], layer: int, kind: torch.dtype) -> Tensor:
        """[2·inner, H]: gate, then up"""
        return self.copies.get(layer, "up", weights[8:10], kind)


def _layers(core: Any) -> list[Layer]:
    kind = type(core).__name__
    family = next(
        (name for name in _FAMILIES if kind in (f"{name}ForCausalLM", f"{name}ForSequenceClassification")), ""
    )
    if not family or not type(core).__module__.startswith("transformers."):
        raise UnfitError(f"{kind} is none of the families {', '.join(_FAMILIES)}")
    for name in ("attention", "body"):
        if not native.available(name):
            raise UnfitError(native.why_not(name))
    config, body = core.config, core.base_model
    found = list[Layer]()
    for stock in body.layers:
        _require_exact(stock, family, config)
        asked = config if family == "Mistral" else stock.self_attn  # Mistral's layers ask the configuration
        found.append(Layer(stock, getattr(asked, "sliding_window", None)))
        for parameter in stock.parameters():
            if parameter.dtype != torch.float32 or parameter.device.type != "cpu":
                raise UnfitError(f"its weights are {parameter.dtype} on {parameter.device}")
    if type(body.embed_tokens) is not nn.Embedding or type(body.norm).__name__ != f"{family}RMSNorm":
        raise UnfitError("its embedding or last norm is none of the stock's")
    return found


def _require_exact(stock: Any, family: str, config: Any) -> None:
    attend, mlp = stock.self_attn, stock.mlp
    wanted = {f"{family}DecoderLayer": stock, f"{family}Attention": attend, f"{family}MLP": mlp}
    norms = [stock.input_layernorm, stock.post_attention_layernorm]
    norms += [attend.q_norm, attend.k_norm] if family == "Qwen3" else []
    for name, part in [*wanted.items(), *((f"{family}RMSNorm", norm) for norm in norms)]:
        if type(part).__name__ != name:
            raise UnfitError(f"it holds a {type(part).__name__} where a {name} was expected")
    for part in (attend.q_proj, attend.k_proj, attend.v_proj, attend.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj):
        if type(part) is not nn.Linear:
            raise UnfitError(f"one of its layers is a {type(part).__name__}")
        if "bias" in dict(part.named_parameters()):
            raise UnfitError("its layers have biases")
    if config.hidden_act not in ("silu", "swish"):
        raise UnfitError(f"its activation is {config.hidden_act}")


@dataclass(frozen=True)
class _Kept:
    """Of one layer, for its gradient."""

    stream: Tensor
    normed: Tensor
    scale: Tensor
    raw: Tensor
    """queries, keys and values before norm and rotation"""
    attended: Tensor
    total: Tensor
    middle: Tensor
    """the stream after attention"""
    middle_normed: Tensor
    middle_scale: Tensor
    both: Tensor
    """gate and up"""


class _Body(Function):
    """All layers and the last norm. A second derivative is not to be had."""

    @staticmethod
    def forward(
        ctx: Any,
        body: Body,
        stream: Tensor,
        segments: Segments,
        cosine: Tensor,
        sine: Tensor,
        kind: torch.dtype,
        *parameters: Tensor,
    ) -> Tensor:
        keep = any(ctx.needs_input_grad)
        kept, more = list[_Kept](), None
        for index in range(len(body.layers)):
            weights = parameters[index * _PER_LAYER : (index + 1) * _PER_LAYER]
            turn = body.turn(weights, cosine, sine)
            layer, more = _forward(body, index, weights, turn, segments, (stream, more), kind)
            stream = layer.middle
            if keep:
                kept.append(layer)
        stream, normed, scale = ops.norm(stream, more, parameters[-1], body.eps, kind, torch.float32)
        if keep:
            ctx.body, ctx.segments, ctx.kind, ctx.kept = body, segments, kind, kept
            ctx.last, ctx.angles = (stream, scale), (cosine, sine)
            ctx.save_for_backward(*parameters)  # refuses a backward pass after the weights have changed
        return normed

    @staticmethod
    @once_differentiable  # which hides the parameters' names from the type checker
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        body, kind, parameters = ctx.body, ctx.kind, ctx.saved_tensors
        stream, scale = ctx.last
        back = grad_outputs[0].contiguous()
        d_stream, d_kind, d_last = ops.norm_backward(stream, parameters[-1], scale, back, None, kind)
        gradients: list[Tensor | None] = [d_last]
        for index in reversed(range(len(body.layers))):
            weights = parameters[index * _PER_LAYER : (index + 1) * _PER_LAYER]
            turn = body.turn(weights, *ctx.angles)
            given = d_stream, d_kind
            d_stream, d_kind, found = _backward(body, index, weights, turn, ctx.segments, ctx.kept[index], given, kind)
            gradients[:0] = found
        return None, d_stream, None, None, None, None, *gradients


def _forward(
    body: Body,
    index: int,
    weights: Sequence[Tensor],
    turn: Turn,
    segments: Segments,
    given: tuple[Tensor, Tensor | None],
    kind: torch.dtype,
) -> tuple[_Kept, Tensor]:
    """One block: what its gradient needs, and what it adds to the stream at its end."""
    stream, normed, scale = ops.norm(*given, weights[0], body.eps, kind, kind)
    raw = torch.mm(normed, body.attend(weights, index, kind).T).view(len(stream), -1, body.depth)
    query, key, value = _three(ops.turned(turn, raw), raw, turn)
    window = body.layers[index].window
    attended, total = attention.forward(query, key, value, segments, body.scale, window)
    flat = attended.view(len(stream), -1)
    more = torch.mm(flat, body.one(weights, index, 7, kind).T)
    middle, middle_normed, middle_scale = ops.norm(stream, more, weights[1], body.eps, kind, kind)
    both = torch.mm(middle_normed, body.up(weights, index, kind).T)
    down = torch.mm(ops.gated(both), body.one(weights, index, 10, kind).T)
    kept = _Kept(stream, normed, scale, raw, attended, total, middle, middle_normed, middle_scale, both)
    return kept, down


def _three(turned: Tensor, raw: Tensor, turn: Turn) -> tuple[Tensor, Tensor, Tensor]:
    return turned[:, : turn.heads], turned[:, turn.heads :], raw[:, turn.heads + turn.shared :]


def _backward(
    body: Body,
    index: int,
    weights: Sequence[Tensor],
    turn: Turn,
    segments: Segments,
    kept: _Kept,
    given: tuple[Tensor, Tensor],
    kind: torch.dtype,
) -> tuple[Tensor, Tensor, list[Tensor | None]]:
    """Gradients of the stream before the block, float32 and of `kind`, and of the block's parameters."""
    d_stream, d_kind = given
    d_gated = torch.mm(d_kind, body.one(weights, index, 10, kind))
    gated, d_both = ops.gated_backward(kept.both, d_gated)
    d_down = _weight(d_kind, gated)
    d_up = _weight(d_both, kept.middle_normed)
    d_normed = torch.mm(d_both, body.up(weights, index, kind))
    d_stream, d_kind, d_second = ops.norm_backward(kept.middle, weights[1], kept.middle_scale, d_normed, d_stream, kind)
    d_out = _weight(d_kind, kept.attended.view(len(d_kind), -1))
    back = torch.mm(d_kind, body.one(weights, index, 7, kind)).view(kept.attended.shape)
    query_key_value = _three(ops.turned(turn, kept.raw), kept.raw, turn)
    d_raw = torch.empty_like(kept.raw)
    d_query, d_key, d_value = d_raw.split([turn.heads, turn.shared, turn.shared], dim=1)
    window = body.layers[index].window
    said, how = (kept.attended, kept.total), (segments, body.scale, window)
    attention.backward(back, said, query_key_value, *how, into=(d_query, d_key, d_value))
    d_query_norm, d_key_norm = ops.turned_backward(turn, kept.raw, d_raw)
    flat = d_raw.view(len(d_raw), -1)
    d_attend = _weight(flat, kept.normed)
    d_normed = torch.mm(flat, body.attend(weights, index, kind))
    d_stream, d_kind, d_first = ops.norm_backward(kept.stream, weights[0], kept.scale, d_normed, d_stream, kind)
    rows = [weight.shape[0] for weight in weights[4:7]]
    gradients = [d_first, d_second, d_query_norm, d_key_norm, *d_attend.split(rows), d_out, *d_up.chunk(2), d_down]
    return d_stream, d_kind, gradients


def _weight(back: Tensor, given: Tensor) -> Tensor:
    """float32 [out, in]"""
    return torch.mm(back.T, given).float()
