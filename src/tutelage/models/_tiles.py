"""The weights of a stock model as ops/native/decoder.cpp wants them: products in tiles, all else by its own address."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tutelage.models._blueprint import Blueprint, Layer, Linear
from tutelage.ops import large, native

_WHOLE, _REAL, _SMALL, _POINTER = ctypes.c_int64, ctypes.c_float, ctypes.c_int32, ctypes.c_void_p
_TILE = 16


class _Norm(ctypes.Structure):
    _fields_ = [("weight", _POINTER), ("bias", _POINTER)]


class _Matrix(ctypes.Structure):
    _fields_ = [("tiles", _POINTER), ("bias", _POINTER), ("columns", _WHOLE), ("depth", _WHOLE)]


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, _Norm) for name in ("before", "between", "query", "key")),
        *((name, _Matrix) for name in ("attend", "back", "up", "down")),
        ("window", _WHOLE),
        ("scale", _REAL),
    ]


class _Model(ctypes.Structure):
    _fields_ = [
        *((name, _WHOLE) for name in ("layers", "hidden", "heads", "key_value_heads", "size", "inner", "vocabulary")),
        *((name, _SMALL) for name in ("half", "centred", "gated")),
        ("eps", _REAL),
        *((name, _POINTER) for name in ("embedding", "places", "cosines", "sines")),
        ("last", _Norm),
        ("head", _Matrix),
        ("layer", _POINTER),
    ]


class Weights:
    """A model's weights, laid out; `sync` after they may have changed."""

    def __init__(self, library: Any, plan: Blueprint, half: bool) -> None:
        """
        Args:
            half: tiles in bfloat16 rather than float32.
        """
        self.plan = plan
        self._library = library
        self._half = half
        if plan.head is None:
            raise ValueError("a classifier has no output layer to draw tokens from")
        self._head = _Product((plan.head,), library, half)
        self._products = [
            {
                "attend": _Product(layer.attend, library, half),
                "back": _Product((layer.back,), library, half),
                "up": _Product(layer.up, library, half, step=len(layer.up)),
                "down": _Product((layer.down,), library, half),
            }
            for layer in plan.layers
        ]
        self._place()
        self._tables = plan.tables() if plan.rotary is not None else (None, None)
        self._layers = (_Layer * len(plan.layers))()
        self._kept: list[Tensor] = []
        self.model = _Model()
        self.sync()

    def _every(self) -> list[_Product]:
        return [*(one for products in self._products for one in products.values()), self._head]

    def _place(self) -> None:
        """All tiles lie in one piece of memory, in the order in which they are read."""
        every = self._every()
        room = large.room(sum(product.words for product in every))
        for product, tiles in zip(every, room.split([product.words for product in every]), strict=True):
            product.tiles = tiles

    def sync(self) -> int:
        """Lay out again what is no longer as it was; returns how many products that were."""
        plan, model = self.plan, self.model
        self._kept = []
        for name in ("hidden", "heads", "key_value_heads", "size", "inner", "eps", "centred"):
            setattr(model, name, getattr(plan, name))
        model.layers, model.half, model.gated = len(plan.layers), self._half, len(plan.layers[0].up) == 2
        model.embedding = self._address(plan.embedding.weight)
        model.places = None if plan.places is None else self._address(plan.places.weight)
        model.cosines, model.sines = (None if table is None else table.data_ptr() for table in self._tables)
        model.last, model.head = self._norm(plan.last), self._head.matrix()
        model.vocabulary = model.head.columns
        for layer, products, to in zip(plan.layers, self._products, self._layers, strict=True):
            self._fill(layer, products, to)
        model.layer = ctypes.addressof(self._layers)
        return sum(product.renewed for product in self._every())

    def _fill(self, layer: Layer, products: dict[str, _Product], to: Any) -> None:
        norms = {"before": layer.before, "between": layer.between, "query": layer.query_norm, "key": layer.key_norm}
        for name, norm in norms.items():
            setattr(to, name, self._norm(norm))
        for name, product in products.items():
            setattr(to, name, product.matrix())
        to.window, to.scale = layer.window, layer.scale

    def _norm(self, module: Any) -> _Norm:
        if module is None:
            return _Norm(None, None)
        bias = dict(module.named_parameters()).get("bias")
        return _Norm(self._address(module.weight), None if bias is None else self._address(bias))

    def _address(self, weight: Tensor) -> int:
        """Where its numbers lie as float32; they stay there until the next `sync`."""
        plain = weight.detach().float().contiguous()
        self._kept.append(plain)
        return plain.data_ptr()


class _Product:
    """Weights that are multiplied together: side by side (step 1), or in turn tile by tile (step 2)."""

    def __init__(self, parts: Sequence[Linear], library: Any, half: bool, step: int = 1) -> None:
        self._parts, self._library, self._half, self._step = parts, library, half, step
        shapes = [part.weight().shape for part in parts]
        self._columns, self._depth = sum(shape[0] for shape in shapes), shapes[0][1]
        self.words: int = library.decoder_tiles(*native.sizes(self._columns, self._depth), int(half)) // 4
        """of 4 bytes that its tiles take"""
        self.tiles = torch.zeros(0, dtype=torch.int32)
        self._bias: Tensor | None = None
        self._digests = [0] * len(parts)
        self.renewed = False

    def matrix(self) -> _Matrix:
        """Its present numbers."""
        self.renewed, first = False, 0
        for index, part in enumerate(self._parts):
            weight = part.weight()
            dense = weight if weight.is_contiguous() else weight.T
            if not dense.is_contiguous():
                weight = dense = weight.contiguous()
            columns, depth = weight.shape
            digest = self._library.decoder_digest(native.pointer(dense), *native.sizes(dense.numel()), native.threads())
            if digest != self._digests[index]:
                self._library.decoder_lay(
                    native.pointer(weight),
                    *native.sizes(*weight.stride(), columns, depth, first, self._step),
                    native.pointer(self.tiles),
                    int(self._half),
                    native.threads(),
                )
                self._digests[index], self.renewed = digest, True
            first += 1 if self._step > 1 else columns // _TILE
        self._bias = self._laid_bias()
        address = None if self._bias is None else self._bias.data_ptr()
        return _Matrix(self.tiles.data_ptr(), address, self._columns, self._depth)

    def _laid_bias(self) -> Tensor | None:
        found = [part.bias() for part in self._parts]
        biases = [bias for bias in found if bias is not None]
        if not biases:
            return None
        if self._step > 1:
            return torch.stack([bias.view(-1, _TILE) for bias in biases], 1).flatten().contiguous()
        whole = torch.cat(biases)
        return torch.nn.functional.pad(whole, (0, -len(whole) % (2 * _TILE)))
