"""The state of every global random generator as JSON, to be put back last, just before the first step."""

from __future__ import annotations

import base64
import random
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy
import torch


def seed(number: int) -> None:
    """Give every global generator a known beginning, whatever process it is."""
    random.seed(number)
    numpy.random.seed(number % 2**32)
    torch.manual_seed(number)


def capture() -> dict[str, Any]:
    """The states of Python's, NumPy's and torch's generators (CUDA's too, where one is in use)."""
    version, words, gauss = random.getstate()
    legacy: Any = numpy.random.get_state(legacy=False)
    state: dict[str, Any] = {
        "python": [version, list(words), gauss],
        "numpy": {
            "key": base64.b64encode(legacy["state"]["key"].astype("<u4").tobytes()).decode(),
            "pos": int(legacy["state"]["pos"]),
            "has_gauss": int(legacy["has_gauss"]),
            "gauss": float(legacy["gauss"]),
        },
        "torch": _text(torch.get_rng_state()),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = [_text(one) for one in torch.cuda.get_rng_state_all()]
    return state


def restore(state: dict[str, Any]) -> None:
    """Put back what `capture` took."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    kept = state["numpy"]
    key = numpy.frombuffer(base64.b64decode(kept["key"]), dtype="<u4").astype(numpy.uint32)
    numpy.random.set_state(("MT19937", key, kept["pos"], kept["has_gauss"], kept["gauss"]))
    torch.set_rng_state(_tensor(state["torch"]))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([_tensor(one) for one in state["cuda"]])


@contextmanager
def untouched() -> Generator[None]:
    """Whatever the block draws, training goes on as if it had not run."""
    before = capture()
    try:
        yield
    finally:
        restore(before)


def _text(state: torch.Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode()


def _tensor(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
