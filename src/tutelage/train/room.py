"""How many tokens fit into memory at a time: found out once, from the models and what is free."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tutelage.models.policy import Backbone
from tutelage.ops import memory


def backbones(module: nn.Module) -> list[Backbone]:
    """The language models in `module`."""
    return [each for each in module.modules() if isinstance(each, Backbone)]


@dataclass(frozen=True)
class Estimate:
    """Of modules that learn together and lie in memory already."""

    part: int
    """tokens of a part of a step's batch, a power of two"""
    fitting: int | None
    """tokens whose activations fit; a longer row is computed again layer by layer. None: not known of this device"""


def estimated(modules: Iterable[nn.Module]) -> Estimate:
    """What memory is thought to hold of `modules`."""
    every = list(modules)
    device = next((weight.device for module in every for weight in module.parameters()), torch.device("cpu"))
    most = memory.MOST.get(device.type, memory.MOST_ON_ACCELERATOR)
    shapes = [shape_of(model) for module in every for model in backbones(module)]
    if device.type not in ("cpu", "cuda") or not shapes:
        return Estimate(most, None)
    free = memory.free_bytes() if device.type == "cpu" else torch.cuda.mem_get_info(device)[0]
    return Estimate(memory.tokens_that_fit(shapes, free, most), memory.fitting(shapes, free))


def shape_of(model: Backbone) -> memory.Shape:
    """What a token costs in `model`."""
    config: Any = model.core.config.get_text_config()
    width = int(config.hidden_size)
    parameters = list(model.parameters())
    return memory.Shape(
        sum(each.numel() for each in parameters),
        sum(each.numel() for each in parameters if each.requires_grad),
        int(config.num_hidden_layers),
        width,
        int(getattr(config, "intermediate_size", None) or 4 * width),
        torch.empty(0, dtype=model.compute_dtype).element_size(),
    )
