"""What a stock transformers model computes, read off its modules: the families that `models/decode.py` can run.

A family is known by the exact type of its modules: a subclass, or a module that someone has wrapped, may compute
something else, and is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


class UnfitError(Exception):
    """Why a model cannot be run by our own decoder, in words."""


@dataclass(frozen=True)
class Linear:
    """An affine map of a stock module, its adapter folded in whenever it is read."""

    module: Any

    def weight(self) -> Tensor:
        """float32 [columns, depth], perhaps a transposed view."""
        stored = getattr(self.module, "base_layer", self.module)
        weight = stored.weight.detach()
        if stored is not self.module and not self.module.disable_adapters and not self.module.merged:
            for name in self.module.active_adapters:
                weight = weight + self.module.get_delta_weight(name).detach() if name in self.module.lora_A else weight
        return (weight.T if type(stored).__name__ == "Conv1D" else weight).float()

    def bias(self) -> Tensor | None:
        """float32 [columns]"""
        bias = getattr(self.module, "base_layer", self.module).bias
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
    head: Linear
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
    eps: float
    centred: bool
    """LayerNorm rather than RMSNorm"""

    def tables(self, positions: int) -> tuple[Tensor, Tensor]:
        """cos and sin, float32 [positions, size / 2]."""
        places = torch.arange(positions)[None]
        cosines, sines = self.rotary(torch.zeros(1, dtype=torch.float32), places)
        half = self.size // 2
        return cosines[0, :, :half].contiguous(), sines[0, :, :half].contiguous()


def blueprint(core: Any) -> Blueprint:
    """
    Raises:
        UnfitError: another family, or a member of a known one with something that was never seen.
    """
    kind = type(core).__name__
    if type(core).__module__.split(".")[0] != "transformers" or kind not in _FAMILIES:
        raise UnfitError(f"{kind} is none of {', '.join(_FAMILIES)}")
    plan = _FAMILIES[kind](core)
    sizes = {"hidden size": plan.hidden, "head size": plan.size, "inner size": plan.inner}
    for name, size in sizes.items():
        if size % 16:
            raise UnfitError(f"its {name} {size} is no multiple of 16")
    return plan


def _linear(module: Any) -> Linear:
    stored = getattr(module, "base_layer", module)
    if type(stored).__name__ not in ("Linear", "Conv1D"):
        raise UnfitError(f"it holds a {type(stored).__name__}")
    if stored is not module and (not hasattr(module, "lora_A") or any(getattr(module, "use_dora", {}).values())):
        raise UnfitError(f"its adapter is of another kind than LoRA ({type(module).__name__})")
    return Linear(module)


def _norm(module: Any, *names: str) -> Any:
    if type(module).__name__ not in names:
        raise UnfitError(f"it holds a {type(module).__name__}")
    return module


def _llama_like(core: Any) -> Blueprint:
    config, body = core.config, core.model
    family = type(core).__name__.removesuffix("ForCausalLM")
    _require(config.hidden_act in ("silu", "swish"), f"its activation is {config.hidden_act}")
    kind = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    _require(kind in ("default", "linear", "llama3", "yarn"), f"its rotary positions are of the kind '{kind}'")
    layers = tuple(_llama_layer(layer, config, family) for layer in body.layers)
    first = body.layers[0].self_attn
    return Blueprint(
        layers=layers,
        last=_norm(body.norm, f"{family}RMSNorm"),
        head=_linear(core.lm_head),
        embedding=body.embed_tokens,
        places=None,
        rotary=body.rotary_emb,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        key_value_heads=config.num_key_value_heads,
        size=first.head_dim,
        inner=config.intermediate_size,
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


def _gpt2(core: Any) -> Blueprint:
    config, body = core.config, core.transformer
    _require(
        config.activation_function in ("gelu_new", "gelu_pytorch_tanh"),
        f"its activation is {config.activation_function}",
    )
    _require(not config.add_cross_attention and not config.reorder_and_upcast_attn, "it has attention of another kind")
    return Blueprint(
        layers=tuple(_gpt2_layer(layer) for layer in body.h),
        last=_norm(body.ln_f, "LayerNorm"),
        head=_linear(core.lm_head),
        embedding=body.wte,
        places=body.wpe,
        rotary=None,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        key_value_heads=config.num_attention_heads,
        size=config.hidden_size // config.num_attention_heads,
        inner=config.n_inner or 4 * config.hidden_size,
        eps=config.layer_norm_epsilon,
        centred=True,
    )


def _gpt2_layer(layer: Any) -> Layer:
    _require(type(layer).__name__ == "GPT2Block", f"it holds a {type(layer).__name__}")
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


_FAMILIES: dict[str, Callable[[Any], Blueprint]] = {
    "LlamaForCausalLM": _llama_like,
    "MistralForCausalLM": _llama_like,
    "Qwen2ForCausalLM": _llama_like,
    "Qwen3ForCausalLM": _llama_like,
    "GPT2LMHeadModel": _gpt2,
}
