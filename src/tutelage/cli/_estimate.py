"""The arithmetic behind `tutelage plan`: bytes and floating-point operations of each method."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.cli._checks import memory_gib
from tutelage.cli._methods import METHODS
from tutelage.errors import DataError, MissingInputError, ServiceError
from tutelage.ops.memory import MOST, MOST_ON_ACCELERATOR, Shape, activations, fitting, tokens_that_fit

_ADAM = 16
"""bytes per trained parameter: float32 weight, gradient and two moments"""
_FROZEN = 4
_EFFICIENCY = 0.4
"""share of the matmul peak that training is taken to reach; SFT of 26 million parameters on 2 cores: about 0.45"""
_BASE_GIB = 0.8
"""Python, torch and the libraries; with it, that SFT is put at 2.8 GiB (measured: 2.7 to 3.0)"""
_SLOTS = 256
"""answers in flight while sampling"""


@dataclass(frozen=True)
class ModelSize:
    """What config.json says."""

    parameters: int
    adapter: int
    """parameters of a LoRA adapter on all linear layers"""
    layers: int
    width: int
    inner: int
    cached: int
    """numbers that the key-value cache holds per token"""


@dataclass(frozen=True)
class Machine:
    """What training would run on."""

    device: str
    memory_gib: float
    flops: float
    """measured matrix-product speed, floating-point operations per second"""
    number_bytes: int
    """bytes of an activation: 2 in bfloat16, 4 in float32"""
    part: int
    """tokens in one forward pass, at most"""


@dataclass(frozen=True)
class Plan:
    """One method on one machine."""

    method: str
    lora: bool
    gib: float
    trained_gib: float
    seconds_per_million: float
    fits: bool
    part: int
    """tokens in one forward and backward pass, as training would choose them here"""


def describe_model(path: str, rank: int) -> ModelSize:
    """Sizes from config.json alone; the model is built without memory ("meta" device).

    Raises:
        MissingInputError, DataError, ServiceError: no such folder, not a causal LM, or the hub does not answer.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from tutelage.models.load import looks_local

    if looks_local(path) and not Path(path).is_dir():
        raise MissingInputError(f"there is no model folder '{path}'", fix="check --model; it must hold config.json")
    try:
        config: Any = AutoConfig.from_pretrained(path)
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if Path(path).is_dir():
            raise DataError(f"not a causal language model: {reason}", where=path) from error
        raise ServiceError(
            f"'{path}' could not be fetched from the hub ({reason})", fix="give a local folder"
        ) from error
    linear = [
        m.weight.shape
        for name, m in model.named_modules()
        if (isinstance(m, torch.nn.Linear) or type(m).__name__ == "Conv1D") and "lm_head" not in name
    ]
    text = config.get_text_config()
    heads = text.num_attention_heads
    head_size = getattr(text, "head_dim", None) or text.hidden_size // heads
    cached = 2 * text.num_hidden_layers * (getattr(text, "num_key_value_heads", None) or heads) * head_size
    return ModelSize(
        sum(p.numel() for p in model.parameters()),
        rank * sum(sum(shape) for shape in linear),
        text.num_hidden_layers,
        text.hidden_size,
        getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        cached,
    )


def measure(memory: float) -> Machine:
    """The accelerator where there is one, else the CPU; speed from a few matrix products (a second or so)."""
    import torch

    if torch.cuda.is_available():
        free = torch.cuda.mem_get_info()[0] / 2**30
        return Machine(
            torch.cuda.get_device_name(), memory or free, _speed("cuda", torch.bfloat16, 8192), 2, MOST_ON_ACCELERATOR
        )
    return Machine("CPU", memory or memory_gib(), _speed("cpu", torch.float32, 1024), 4, MOST["cpu"])


def estimate(method: str, lora: bool, model: ModelSize, machine: Machine, length: int, batch: int) -> Plan:
    """Memory and time of one method.

    Trained: 16 bytes per parameter. Frozen copies (the reference, models that score): 4. Critics are trained in full;
    under LoRA the reference costs nothing. Activations: (14·width + 4·inner)·layers numbers per token.
    """
    needs = METHODS[method]
    trained = (model.adapter if lora else model.parameters) + needs.critics * model.parameters
    frozen = needs.scorers * model.parameters
    if lora or needs.reference or needs.sampled:  # the base under an adapter is the reference too
        frozen += model.parameters
    per_step = batch * length * needs.sides
    part, fits = _part(model, machine, 1 + needs.critics, trained, frozen)
    tokens = max(length, min(per_step, part))
    again = tokens > fits  # then layers are computed again in the backward pass
    kept = tokens * activations(model.layers, model.width, model.inner, recompute=again) * machine.number_bytes
    if needs.sampled:
        kept += min(batch, _SLOTS) * length * model.cached * machine.number_bytes
    trained_gib = trained * _ADAM / 2**30
    gib = _BASE_GIB + trained_gib + (frozen * _FROZEN + kept) / 2**30
    seconds = 1e6 * _operations(method, lora) * model.parameters / (machine.flops * _EFFICIENCY)
    return Plan(method, lora, gib, trained_gib, seconds, gib <= machine.memory_gib, part)


def _part(model: ModelSize, machine: Machine, learners: int, trained: int, frozen: int) -> tuple[int, int]:
    """Tokens of a part, and tokens that fit, as `train.room` finds them out once the weights are loaded."""
    weights = (trained + frozen) * _FROZEN
    free = int(machine.memory_gib * 2**30 - _BASE_GIB * 2**30 - weights)
    shape = Shape(model.parameters, trained // learners, model.layers, model.width, model.inner, machine.number_bytes)
    return tokens_that_fit([shape] * learners, free, machine.part), fitting([shape] * learners, free)


def _operations(method: str, lora: bool) -> float:
    """Floating-point operations per token and parameter: 2 forward, 4 backward (2 where weights are frozen)."""
    needs = METHODS[method]
    learn = needs.passes * ((4 if lora else 6) + 6 * needs.critics) + needs.extra
    if needs.sampled:  # sampling, log-probabilities, reference, scores and values of each answer
        return 2 + 2 + 2 + 2 * needs.scorers + 2 * needs.critics + learn
    return learn + (2 if needs.reference else 0)


def _speed(device: str, dtype: Any, size: int) -> float:
    import torch

    a = torch.randn(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(4):
        began = time.perf_counter()
        torch.matmul(a, a)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best
