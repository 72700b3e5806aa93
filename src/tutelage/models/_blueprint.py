"""What a stock transformers model computes, read off its modules: the families of `models/decode.py` and `body.py`.

A family is known by the exact type of its modules: a subclass, or a module that someone has wrapped, may compute
something else, and is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


class UnfitError(Exception):
    """Why a model cannot be run by our own loops, in words."""


@dataclass(frozen=True)
class Linear:
    """An affine map of a stock module, its adapter folded in whenever it is read."""

    module: Any

    @property
    def stored(self) -> Any:
        """The stock module, under whatever adapter wraps it."""
        return getattr(self.module, "base_layer", self.module)

    @property
    def across(self) -> bool:
        """Whether its weight is stored as [depth, columns]."""
        return type(self.stored) is Conv1D

    def adapters(self) -> list[str]:
        """Names of the low-rank terms that are added at this moment."""
        if self.stored is self.module or self.module.disable_adapters or self.module.merged:
            return []
        return [name for name in self.module.active_adapters if name in self.module.lora_A]

    def weight(self) -> Tensor:
        """float32 [columns, depth], perhaps a transposed view."""
        weight = self.stored.weight.detach()
        for name in self.adapters():
            weight = weight + self.module.get_delta_weight(name).detach()
        return (weight.T if self.across else weight).float()

    def bias(self) -> Tensor | None:
        """float32 [columns]"""
        bias = self.stored.bias
        return None if bias is None else bias.detach().float()


@dataclass(frozen=True)
class Layer:
    """One block: x += back(attention(attend(before(x)))); x += down(up(between(x)))."""

    before: Any
    between: Any
    attend: tuple[Linear, ...]
    """query, key and value, one after another"""
    back: Linear
    up: tuple[Linear, ...]
    """gate and up, or up alone"""
    down: Linear
    query_norm: Any = None
    key_norm: Any = None
    window: int = 0
    scale: float = 1.0


@dataclass(frozen=True)
class Blueprint:
    """A decoder-only transformer of one of the families that we know."""

    layers: tuple[Layer, ...]
    last: Any
    head: Linear | None
    """None in a classifier"""
    embedding: nn.Embedding
    places: nn.Embedding | None
    """learned positions"""
    rotary: Any
    """the stock module that makes the tables, or None"""
    hidden: int
    heads: int
    key_value_heads: int
    size: int
    inner: int
    positions: int
    """the longest sequence that it can read"""
    eps: float
    centred: bool
    """LayerNorm rather than RMSNorm"""

    def tables(self) -> tuple[Tensor, Tensor]:
        """cos and sin, float32 [positions, size / 2]."""
        places = torch.arange(self.positions)[None]
        cosines, sines = self.rotary(torch.zeros(1, dtype=torch.float32), places)
        half = self.size // 2
        return cosines[0, :, :half].contiguous(), sines[0, :, :half].contiguous()


def blueprint(core: Any) -> Blueprint:
    """For the decoder: a language model whose sizes fill its tiles.

    Raises:
        UnfitError: as `read`, or the sizes are odd.
    """
    plan = read(core)
    if plan.head is None:
        raise UnfitError(f"{type(core).__name__} is no language model")
    sizes = {"hidden size": plan.hidden, "head size": plan.size, "inner size": plan.inner}
    for name, size in sizes.items():
        if size % 16:
            raise UnfitError(f"its {name} {size} is no multiple of 16")
    return plan


def read(core: Any) -> Blueprint:
    """
    Raises:
        UnfitError: another family, or a member of a known one with something that was never seen.
    """
    kind = type(core).__name__
    family = next((family for family in _FAMILIES if kind in (family + end for end in _ENDS)), None)
    if family is None or type(core).__module__.split(".")[0] != "transformers":
        raise UnfitError(f"{kind} is none of the families {', '.join(_FAMILIES)}")
    plan = _FAMILIES[family](core, family)
    for table in (plan.embedding, plan.places):
        if table is not None and type(table) is not nn.Embedding:  # an adapter's, for one
            raise UnfitError("its embedding is none of the stock's")
    return plan


def _linear(module: Any) -> Linear:
    stored = getattr(module, "base_layer", module)
    if type(stored) not in (nn.Linear, Conv1D):
        raise UnfitError(f"it holds a {type(stored).__name__}")
    if stored is not module and (not hasattr(module, "lora_A") or any(getattr(module, "use_dora", {}).values())):
        raise UnfitError(f"its adapter is of another kind than LoRA ({type(module).__name__})")
    if any(getattr(module, "lora_bias", {}).values()):
        raise UnfitError("its adapter has biases")
    return Linear(module)


def _norm(module: Any, *names: str) -> Any:
    if type(module).__name__ not in names:
        raise UnfitError(f"it holds a {type(module).__name__}")
    return module


def _head(core: Any) -> Linear | None:
    return _linear(core.lm_head) if hasattr(core, "lm_head") else None


def _llama_like(core: Any, family: str) -> Blueprint:
    config, body = core.config, core.model
    _require(config.hidden_act in ("silu", "swish"), f"its activation is {config.hidden_act}")
    kind = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    _require(kind in ("default", "linear", "llama3", "yarn"), f"its rotary positions are of the kind '{kind}'")
    layers = tuple(_llama_layer(layer, config, family) for layer in body.layers)
    first = body.layers[0].self_attn
    return Blueprint(
        layers=layers,
        last=_norm(body.norm, f"{family}RMSNorm"),
        head=_head(core),
        embedding=body.embed_tokens,
        places=None,
        rotary=body.rotary_emb,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        key_value_heads=config.num_key_value_heads,
        size=first.head_dim,
        inner=config.intermediate_size,
        positions=config.max_position_embeddings,
        eps=config.rms_norm_eps,
        centred=False,
    )


def _llama_layer(layer: Any, config: Any, family: str) -> Layer:
    attention, mlp, norm = layer.self_attn, layer.mlp, f"{family}RMSNorm"
    _require(type(layer).__name__ == f"{family}DecoderLayer", f"it holds a {type(layer).__name__}")
    _require(type(attention).__name__ == f"{family}Attention", f"it holds a {type(attention).__name__}")
    _require(type(mlp).__name__ == f"{family}MLP", f"it holds a {type(mlp).__name__}")
    window = config.sliding_window if family == "Mistral" else getattr(attention, "sliding_window", None)
    return Layer(
        before=_norm(layer.input_layernorm, norm),
        between=_norm(layer.post_attention_layernorm, norm),
        attend=(_linear(attention.q_proj), _linear(attention.k_proj), _linear(attention.v_proj)),
        back=_linear(attention.o_proj),
        up=(_linear(mlp.gate_proj), _linear(mlp.up_proj)),
        down=_linear(mlp.down_proj),
        query_norm=_norm(attention.q_norm, norm) if family == "Qwen3" else None,
        key_norm=_norm(attention.k_norm, norm) if family == "Qwen3" else None,
        window=window or 0,
        scale=attention.scaling,
    )


def _gpt2(core: Any, _: str) -> Blueprint:
    config, body = core.config, core.transformer
    _require(
        config.activation_function in ("gelu_new", "gelu_pytorch_tanh"),
        f"its activation is {config.activation_function}",
    )
    _require(not config.add_cross_attention and not config.reorder_and_upcast_attn, "it has attention of another kind")
    return Blueprint(
        layers=tuple(_gpt2_layer(layer) for layer in body.h),
        last=_norm(body.ln_f, "LayerNorm"),
        head=_head(core),
        embedding=body.wte,
        places=body.wpe,
        rotary=None,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        key_value_heads=config.num_attention_heads,
        size=config.hidden_size // config.num_attention_heads,
        inner=config.n_inner or 4 * config.hidden_size,
        positions=config.max_position_embeddings,
        eps=config.layer_norm_epsilon,
        centred=True,
    )


def _gpt2_layer(layer: Any) -> Layer:
    for part, name in ((layer, "GPT2Block"), (layer.attn, "GPT2Attention"), (layer.mlp, "GPT2MLP")):
        _require(type(part).__name__ == name, f"it holds a {type(part).__name__}")
    return Layer(
        before=_norm(layer.ln_1, "LayerNorm"),
        between=_norm(layer.ln_2, "LayerNorm"),
        attend=(_linear(layer.attn.c_attn),),
        back=_linear(layer.attn.c_proj),
        up=(_linear(layer.mlp.c_fc),),
        down=_linear(layer.mlp.c_proj),
        scale=layer.attn.scaling,
    )


def _require(fits: bool, reason: str) -> None:
    if not fits:
        raise UnfitError(reason)


_FAMILIES: dict[str, Callable[[Any, str], Blueprint]] = {
    "Llama": _llama_like,
    "Mistral": _llama_like,
    "Qwen2": _llama_like,
    "Qwen3": _llama_like,
    "GPT2": _gpt2,
}
_ENDS = ("ForCausalLM", "LMHeadModel", "ForSequenceClassification")
