"""The models below one folder that may be asked for answers, found by walking it: what is not found cannot be named.

No link is followed, and no file counts that lies elsewhere. Nothing of a model is loaded: its folder holds config.json
(an adapter: adapter_config.json) and weights as safetensors, or it says what is missing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

DEEPEST = 6
"""levels of folders below the one that was named"""
MOST = 20_000
"""entries that are looked at; further ones are not found"""
_CONFIG_BYTES = 1_000_000

Problem = Literal["", "no_weights", "unreadable", "gives_scores"]


@dataclass(frozen=True)
class Model:
    """A folder that is, or should be, a model."""

    name: str
    """its path below the folder of models, with /"""
    adapter: bool
    problem: Problem
    """why it cannot answer; empty = it can, as far as its files tell"""
    size: int
    """bytes of weights"""
    changed: float
    """when the newest of its weights was written, in seconds since 1970"""


def models_below(root: Path) -> list[Model]:
    """All that are there, by name; those in a folder that cannot be read are not."""
    left = [MOST]
    return sorted(_walk(root, root.resolve(), "", DEEPEST, left), key=lambda model: model.name)


def _walk(folder: Path, root: Path, name: str, deeper: int, left: list[int]) -> Iterator[Model]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        return
    left[0] -= len(entries)
    files = {entry.name for entry in entries}
    for config in ("adapter_config.json", "config.json"):  # an adapter's folder may hold its base's config as well
        if config in files and name:
            yield _model(folder, root, name, config, [file for file in files if file.endswith(".safetensors")])
            return
    for entry in entries:
        if left[0] <= 0 or not deeper:
            return
        plain = entry.name.isprintable() and not entry.name.startswith(".")  # others could not be shown, or typed
        if plain and entry.is_dir(follow_symlinks=False):
            below = f"{name}/{entry.name}" if name else entry.name
            yield from _walk(folder / entry.name, root, below, deeper - 1, left)


def _model(folder: Path, root: Path, name: str, config: str, weights: Sequence[str]) -> Model:
    adapter = config.startswith("adapter")
    held = [told for file in weights if (told := _inside(folder / file, root)) and told.st_size]
    told = _read(folder / config) if _inside(folder / config, root) else None
    problem: Problem = ""
    if told is None:
        problem = "unreadable"
    elif _gives_scores(told):
        problem = "gives_scores"
    elif not held:
        problem = "no_weights"
    size, changed = sum(file.st_size for file in held), max((file.st_mtime for file in held), default=0.0)
    return Model(name, adapter, problem, size, changed)


def _inside(file: Path, root: Path) -> os.stat_result | None:
    """What the system says of a file, if it really lies below `root`: a link may lead anywhere."""
    try:
        real = file.resolve(strict=True)
        return real.stat() if real.is_relative_to(root) and real.is_file() else None
    except OSError:
        return None


def _read(file: Path) -> dict[str, Any] | None:
    try:
        with file.open("rb") as opened:
            told = json.loads(opened.read(_CONFIG_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return cast(dict[str, Any], told) if isinstance(told, dict) else None


def _gives_scores(config: dict[str, Any]) -> bool:
    """Whether it is a reward model: one number for a text, and no answers."""
    named: Any = config.get("architectures")
    kinds = [str(kind) for kind in cast(list[Any], named)] if isinstance(named, list) else []
    return config.get("task_type") == "SEQ_CLS" or any("SequenceClassification" in kind for kind in kinds)
