"""What weights hash to: one name for the same numbers, in memory, on any device, and saved and loaded again.

name dtype shape SHA-256(bytes)   of each parameter and kept buffer ─ by name ─► SHA-256 ─► 32 hex digits
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

_DIGITS = 32


def weights_digest(module: nn.Module, known: dict[str, bytes]) -> str:
    """32 hex digits of everything in `module` that learning or a file could change.

    Args:
        known: hashes of frozen weights, kept by the caller: under an adapter the base is read once, not at every step.
    """
    found = _weights(module)
    frozen = {name for name, weight in module.named_parameters() if not weight.requires_grad}
    for name in known.keys() - frozen:
        del known[name]  # it learns by now
    wanted = {name: weight for name, weight in found.items() if name not in known}
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:  # hashing lets go of the interpreter's lock
        hashes = dict(zip(wanted, threads.map(_hash, wanted.values()), strict=True))
    known |= {name: told for name, told in hashes.items() if name in frozen}
    whole = hashlib.sha256()
    for name, weight in sorted(found.items(), key=lambda one: one[0]):
        whole.update(f"\0{name} {weight.dtype} {tuple(weight.shape)}\0".encode())
        whole.update(hashes.get(name) or known[name])
    return whole.hexdigest()[:_DIGITS]


def _weights(module: nn.Module) -> dict[str, Tensor]:
    """Parameters, tied ones once, and the buffers that a file would hold."""
    every = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    kept = module.state_dict().keys() - every
    return dict(module.named_parameters()) | {name: one for name, one in module.named_buffers() if name in kept}


def _hash(weight: Tensor) -> bytes:
    flat: Any = weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(memoryview(flat)).digest()
