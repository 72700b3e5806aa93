"""Checkpoints that are either whole or not there: safetensors + JSON + a manifest of SHA-256, no pickle.

checkpoints/.tmp-00000120-4711/   written and synced file by file, manifest last
    └── rename ──> checkpoints/step-00000120/{module-policy,optimizer}.safetensors, state.json, manifest.json
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tutelage.errors import DataError, DivergedError
from tutelage.train import durable

FORMAT = 1
_NAME = re.compile(r"step-(\d{8,})$")


class Learner(Protocol):
    """What of an algorithm a checkpoint holds."""

    def modules(self) -> dict[str, nn.Module]:
        """Everything that is trained, by name."""
        ...

    def state(self) -> dict[str, Any]:
        """The rest, as JSON (the KL coefficient …)."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` gave."""
        ...


class Updater(Protocol):
    """What of an optimizer a checkpoint holds."""

    def tensors(self) -> dict[str, Tensor]:
        """Moments and the like, by name."""
        ...

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        ...

    def state(self) -> dict[str, Any]:
        """The rest, as JSON (counters …)."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` gave."""
        ...


@dataclass(frozen=True)
class Checkpoint:
    """One folder whose every byte is as it was written."""

    path: Path
    step: int
    """steps done when it was written"""
    facts: Mapping[str, Any]
    """what the writer noted in the manifest: versions, threads, config hash"""


@dataclass(frozen=True)
class Damage:
    """One folder that must not be used, and why."""

    path: Path
    reason: str


def save(
    root: Path,
    step: int,
    algorithm: Learner,
    optimizer: Updater,
    *,
    run: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> Path:
    """Write the checkpoint of `step` steps done under `root`, atomically.

    Args:
        run: JSON of the run itself, given back by `load`.
        facts: JSON for the manifest (versions, threads …).

    Raises:
        DivergedError: a weight is no longer finite: what is poisoned is not kept.
        DiskError: no room, or writing failed; the checkpoints before are untouched.
    """
    groups = {f"module-{name}": trained(module) for name, module in algorithm.modules().items()}
    groups["optimizer"] = dict(optimizer.tensors())
    for group, tensors in groups.items():
        _refuse_poison(step, group, tensors)
    state = {"run": dict(run), "algorithm": algorithm.state(), "optimizer": optimizer.state()}
    needed = sum(tensor.nbytes for tensors in groups.values() for tensor in tensors.values()) + 65536
    if needed > durable.free_bytes(root):
        raise durable.full_disk(root, needed)
    draft, target = root / f".tmp-{step:08d}-{os.getpid()}", folder_of(root, step)
    try:
        with durable.guarded(target, needed):
            draft.mkdir(parents=True)
            for group, tensors in groups.items():
                save_file({name: _plain(tensor) for name, tensor in tensors.items()}, draft / f"{group}.safetensors")
            (draft / "state.json").write_text(json.dumps(state, allow_nan=False), encoding="utf-8")
            _seal(draft, step, facts)
            durable.swap_folder(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def newest(root: Path) -> tuple[Checkpoint | None, list[Damage]]:
    """The newest checkpoint that verifies, and the newer ones that do not."""
    damaged: list[Damage] = []
    for path in reversed(_folders(root)):
        found = verify(path)
        if isinstance(found, Checkpoint):
            return found, damaged
        damaged.append(found)
    return None, damaged


def folder_of(root: Path, step: int) -> Path:
    """Where the checkpoint of `step` steps done lies, or would lie."""
    return root / f"step-{step:08d}"


def verify(path: Path) -> Checkpoint | Damage:
    """Compare every file of a checkpoint with its manifest, before a single tensor is read."""
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        seal = manifest.pop("sha256")
        if seal != _digest(manifest):
            return Damage(path, "manifest.json was changed after it was written")
        if manifest["format"] > FORMAT:
            return Damage(path, f"it has format {manifest['format']}, this version of tutelage reads up to {FORMAT}")
        files = manifest["files"]
        present = {file.name for file in path.iterdir()} - {"manifest.json"}
        if present != set(files):
            odd = ", ".join(sorted(present ^ set(files)))
            return Damage(path, f"files missing or too many: {odd}")
        for name, expected in files.items():
            size = (path / name).stat().st_size
            if size != expected["bytes"]:
                return Damage(path, f"{name} has {size} bytes instead of {expected['bytes']}")
            if durable.sha256(path / name) != expected["sha256"]:
                return Damage(path, f"{name} does not match its SHA-256")
        if f"step-{manifest['step']:08d}" != path.name:
            return Damage(path, f"it holds step {manifest['step']}")
        return Checkpoint(path, manifest["step"], manifest["facts"])
    except FileNotFoundError as error:
        return Damage(path, f"{Path(str(error.filename)).name} is missing")
    except OSError as error:
        return Damage(path, f"it cannot be read: {error.strerror}")
    except (ValueError, KeyError, TypeError, AttributeError):
        return Damage(path, "manifest.json is not a manifest")


def load(checkpoint: Checkpoint, algorithm: Learner, optimizer: Updater) -> dict[str, Any]:
    """Put a verified checkpoint back; answers the run's own state that was given to `save`.

    Raises:
        DataError: it belongs to a model of another shape.
    """
    load_weights(checkpoint, algorithm)
    state = json.loads((checkpoint.path / "state.json").read_bytes())
    stored = load_file(checkpoint.path / "optimizer.safetensors")
    # copies: what is loaded is the file itself, mapped into memory
    optimizer.load_tensors({name: tensor.clone() for name, tensor in stored.items()})
    optimizer.restore(state["optimizer"])
    algorithm.restore(state["algorithm"])
    return state["run"]


def load_weights(checkpoint: Checkpoint, algorithm: Learner) -> None:
    """Put back only what is trained, not what training needs to go on.

    Raises:
        DataError: it belongs to a model of another shape.
    """
    modules = algorithm.modules()
    expected = {f"module-{name}.safetensors" for name in modules} | {"optimizer.safetensors"}
    present = {path.name for path in checkpoint.path.glob("*.safetensors")}
    if expected != present:
        raise _foreign(checkpoint, f"it holds {sorted(present)}, this run trains {sorted(expected)}")
    for name, module in modules.items():
        _fill(checkpoint, name, module, load_file(checkpoint.path / f"module-{name}.safetensors"))


def prune(root: Path, keep: int, spare: Collection[int] = ()) -> None:
    """Remove all but the newest `keep` (at least 2) checkpoints and those of the steps `spare`.

    The damaged ones that were set aside go too.
    """
    spared = {folder_of(root, step) for step in spare}
    for path in _folders(root)[: -max(2, keep)]:
        if path not in spared:
            shutil.rmtree(path, ignore_errors=True)
    for path in root.glob("damaged-*"):
        shutil.rmtree(path, ignore_errors=True)


def set_aside(damage: Damage) -> None:
    """Rename a damaged checkpoint so that it is never considered again; `prune` removes it after the next good one."""
    durable.swap_folder(damage.path, damage.path.with_name(f"damaged-{damage.path.name}"))


def trained(module: nn.Module) -> dict[str, Tensor]:
    """The parameters that learn and the persistent buffers, by name; tied ones once."""
    kept = {name: parameter.detach() for name, parameter in module.named_parameters() if parameter.requires_grad}
    parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    persistent = module.state_dict().keys() - parameters
    return kept | {name: buffer for name, buffer in module.named_buffers() if name in persistent}


def _fill(checkpoint: Checkpoint, group: str, module: nn.Module, stored: dict[str, Tensor]) -> None:
    mine = trained(module)
    if mine.keys() != stored.keys():
        odd = ", ".join(sorted(mine.keys() ^ stored.keys())[:5])
        raise _foreign(checkpoint, f"'{group}' differs in {odd}")
    for name, tensor in mine.items():
        if tensor.shape != stored[name].shape or tensor.dtype != stored[name].dtype:
            there = f"{tuple(stored[name].shape)} {stored[name].dtype}"
            raise _foreign(checkpoint, f"'{group}.{name}' is {there} there, {tuple(tensor.shape)} {tensor.dtype} here")
    with torch.no_grad():
        for name, tensor in mine.items():
            tensor.copy_(stored[name])


def _foreign(checkpoint: Checkpoint, reason: str) -> DataError:
    return DataError(
        f"this checkpoint does not fit the model: {reason}",
        where=str(checkpoint.path),
        fix="give the --model and --lora flags that the run began with, or choose another --out",
    )


def _seal(draft: Path, step: int, facts: Mapping[str, Any]) -> None:
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(draft.iterdir()):
        durable.sync_file(path)
        files[path.name] = {"bytes": path.stat().st_size, "sha256": durable.sha256(path)}
    manifest: dict[str, Any] = {"format": FORMAT, "step": step, "facts": dict(facts), "files": files}
    manifest["sha256"] = _digest(manifest)
    durable.write_json(draft / "manifest.json", manifest)


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()


def _refuse_poison(step: int, group: str, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise DivergedError(
                f"{group}: '{name}' is no longer finite after step {step}; nothing was saved",
                fix="lower --learning-rate; the last checkpoint before it is intact",
            )


def _folders(root: Path) -> list[Path]:
    return sorted(_steps(root), key=lambda path: int(path.name.partition("-")[2]))


def _steps(root: Path) -> Iterator[Path]:
    return (path for path in root.glob("step-*") if _NAME.match(path.name) and path.is_dir())
