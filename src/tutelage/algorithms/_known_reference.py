"""What the frozen reference says of every pair, found out once before training and kept in the run folder.

weights + config + tokens + dtype + engine ─ sha256 ─► RUN/reference/KEY.safetensors   chosen [N], rejected [N]

The reference is the policy before its first step, so no copy of it is made, or held while training.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tutelage.algorithms._base import EncodedPair, Rows
from tutelage.algorithms._pairs import batch_of
from tutelage.algorithms._preference import sides
from tutelage.batches import PairBatch, ScoredPairs
from tutelage.errors import DiskError
from tutelage.models.policy import Policy
from tutelage.models.reference import Reference

_FORMAT = b"tutelage reference 1"
_NO_MATTER = ("_name_or_path", "transformers_version")
"""What a model's config says of other things than what it computes."""


class KnownReference:
    """Looks up, pair by pair, what a reference said before training."""

    def __init__(
        self, policy: Policy, rows: Rows[EncodedPair], batch_size: int, folder: Path, say: Callable[[str], None]
    ) -> None:
        """
        Args:
            policy: as it is before its first step (its adapter, if it has one, is switched off meanwhile).
            rows: all that will be asked for.
            batch_size: pairs at a time; those of one step go together, as they will in training.
            folder: where the numbers are kept; other files in it are numbers of other weights or rows, and go.

        Raises:
            DiskError: they cannot be written.
        """
        self._pairs = [*rows.rows, *rows.held_out]
        self._places = {id(pair): place for place, pair in enumerate(self._pairs)}
        key = _key(policy, self._pairs)
        file = folder / f"{key}.safetensors"
        found = _read(file, len(self._pairs))
        if found is None:
            found = self._ask(Reference(policy, copied=False), rows, batch_size)
            _write(file, found)
            say(f"what the reference says of {len(self._pairs)} pairs was computed, and is kept in {file}")
        else:
            say(f"what the reference says of {len(self._pairs)} pairs is read from {file}")
        self._chosen, self._rejected = found

    def scored(self, rows: Sequence[EncodedPair], pairs: PairBatch) -> ScoredPairs:
        """`pairs`, the batch of `rows`, with what the reference said of them."""
        places = torch.tensor([self._places[id(row)] for row in rows])
        known = {name: getattr(pairs, name) for name in ("chosen", "rejected", "margin", "weight")}
        return ScoredPairs(**known, ref_chosen=self._chosen[places], ref_rejected=self._rejected[places])

    @torch.no_grad()
    def _ask(self, reference: Reference, rows: Rows[EncodedPair], batch_size: int) -> tuple[Tensor, Tensor]:
        chosen, rejected = (torch.full((len(self._pairs),), torch.nan) for _ in range(2))
        for asked in _batches(rows, batch_size):
            said = sides(reference, batch_of(asked))
            places = torch.tensor([self._places[id(row)] for row in asked])
            new = chosen[places].isnan()  # a row that two steps share keeps what the first one found
            for kept, found in ((chosen, said.chosen), (rejected, said.rejected)):
                kept[places[new]] = found.float().cpu()[new]
        return chosen, rejected


def _batches(rows: Rows[EncodedPair], batch_size: int) -> Iterator[Sequence[EncodedPair]]:
    """The steps of the first pass over the rows, then the held-out ones as evaluation reads them."""
    left = {id(row) for row in rows.rows}
    step = 0
    while left:
        batch = rows.batch(step)
        yield batch
        left -= {id(row) for row in batch}
        step += 1
    yield from (rows.held_out[at : at + batch_size] for at in range(0, len(rows.held_out), batch_size))


def _key(policy: Policy, pairs: Sequence[EncodedPair]) -> str:
    """SHA-256 of all that decides: every weight, what is computed with them, and every token with its mask."""
    digest = hashlib.sha256(_FORMAT)
    about = {name: value for name, value in policy.core.config.to_dict().items() if name not in _NO_MATTER}
    digest.update(json.dumps(about, sort_keys=True, default=str).encode())
    digest.update(f"{policy.engine} {policy.compute_dtype} {policy.device.type} {len(pairs)}".encode())
    for name, weight in sorted(policy.core.state_dict().items()):
        digest.update(f"\0{name} {weight.dtype} {tuple(weight.shape)}\0".encode())
        digest.update(_bytes(weight))
    for pair in pairs:
        for side in (pair.chosen, pair.rejected):
            digest.update(_bytes(torch.tensor([len(side), *side.tokens, *side.mask])))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    flat: Any = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return memoryview(flat)


def _read(file: Path, count: int) -> tuple[Tensor, Tensor] | None:
    """None where there is no such file, or only what an accident left of it."""
    try:
        opened: Any = safe_open(str(file), framework="pt")
        with opened as found:
            sides = found.get_tensor("chosen"), found.get_tensor("rejected")
    except (OSError, SafetensorError):
        return None
    whole = all(side.shape == (count,) and side.dtype == torch.float32 and not side.isnan().any() for side in sides)
    return sides if whole else None


def _write(file: Path, sides: tuple[Tensor, Tensor]) -> None:
    """Whole or not at all; what older keys left goes."""
    draft = file.with_name(f".tmp-{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({"chosen": sides[0], "rejected": sides[1]}, str(draft))
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        draft.replace(file)
        for old in file.parent.iterdir():
            if old != file:
                old.unlink()
    except (OSError, SafetensorError) as error:
        raise DiskError(f"the reference's numbers cannot be written: {error}", where=str(file)) from error
