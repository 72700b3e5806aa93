"""Where a model comes from: the run's identity (`run.json`, `config.yaml`) and its family tree (`lineage.json`)."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml

import tutelage
from tutelage.errors import UsageError
from tutelage.train import durable

FREE = frozenset(
    {"out", "quiet", "json", "json_lines", "debug", "progress", "dry_run", "steps", "epochs", "max_minutes"}
    | {"log_every", "save_every", "eval_every", "keep", "db", "gradient_checkpointing"}
)
"""Keys that may change between two starts of one run; larger `steps` or `epochs` let it go on."""
_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "peft", "numpy")


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys by dots, values as JSON knows them."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            out |= flat(value, f"{name}.")
        else:
            out[name] = json.loads(json.dumps(value, default=str))
    return out


def config_yaml(command: str, config: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    """The configuration as YAML that `tutelage COMMAND` reads again, with the origin of each value as a comment."""
    return f"# tutelage {command}\n" + "".join(_yaml_lines(config, origins, "", 0))


@cache
def versions() -> dict[str, str]:
    """The versions that decide about bits."""
    found = {"python": platform.python_version(), "tutelage": tutelage.__version__}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def facts(command: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint's manifest notes: resuming is exact only where these agree."""
    kept = {key: value for key, value in flat(config).items() if key not in FREE}
    digest = hashlib.sha256(json.dumps([command, kept], sort_keys=True).encode()).hexdigest()
    return {"config": digest, "threads": torch.get_num_threads(), "world": 1, "versions": versions()}


def identity(
    command: str, config: Mapping[str, Any], steps: int, parents: Sequence[str], known: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What `run.json` holds: which run this folder belongs to, and the SHA-256 of the files it reads."""
    values = flat(config)
    inputs = (known or {}).get("inputs", {})
    files = {key: path for key, path in _named_paths(values).items() if not _is_database(path)}
    return {
        "format": 1,
        "command": command,
        "steps": steps,
        "config": values,
        "parents": list(parents),
        "inputs": {key: _input(path, inputs.get(key)) for key, path in files.items()},
    }


def refuse_another(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Refuse to mix two runs in one folder.

    Raises:
        UsageError: command, configuration or input data differ; the message names them.
    """
    fix = "choose another --out, or give the same values again"
    if before["command"] != now["command"]:
        what = f"this folder holds a run of `tutelage {before['command']}`, not of `tutelage {now['command']}`"
        raise UsageError(what, where=str(folder), fix="choose another --out")
    old, new = before["config"], now["config"]
    differing = sorted(
        key for key in old.keys() | new.keys() if key not in FREE and old.get(key, "unset") != new.get(key, "unset")
    )
    if differing:
        lines = "; ".join(f"{key}: {old.get(key, 'unset')!r} then, {new.get(key, 'unset')!r} now" for key in differing)
        raise UsageError(f"this folder holds a run with another configuration: {lines}", where=str(folder), fix=fix)
    if now["steps"] < before["steps"]:
        what = f"this run was begun for {before['steps']} steps, now {now['steps']} are asked for"
        raise UsageError(what, where=str(folder), fix="give as many or more steps, or choose another --out")
    if before.get("ratings") != now.get("ratings"):
        what = "what the run read of a rating database (ratings.json) is not what it began with"
        raise UsageError(what, where=str(folder), fix="put ratings.json back as it was, or choose another --out")
    for key, there in before["inputs"].items():
        here = now["inputs"].get(key)
        if here is None or here["sha256"] != there["sha256"]:
            what = f"the content of --{key.replace('_', '-')} changed since this run began"
            raise UsageError(what, where=there["path"], fix="put the old content back, or choose another --out")


def family(before: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """What `lineage.json` holds: command, configuration, versions, inputs with SHA-256, parents with theirs."""
    parents = [{"path": path, "lineage": _lineage_of(Path(path))} for path in before["parents"]]
    for key, found in before["inputs"].items():
        if found["folder"]:
            parents.append({"path": found["path"], "key": key, "lineage": _lineage_of(Path(found["path"]))})
    kept = {key: before[key] for key in ("command", "config", "inputs", "ratings") if key in before}
    machine = {"system": platform.platform(), "threads": torch.get_num_threads(), "gpu": torch.cuda.is_available()}
    return {**kept, "parents": parents, "versions": versions(), "machine": machine, **more}


def _lineage_of(path: Path) -> str | None:
    """SHA-256 of the lineage file that goes with a run folder or with the model inside it."""
    for place in (path / "lineage.json", path.parent / "lineage.json"):
        if place.is_file():
            return durable.sha256(place)
    return None


def _named_paths(values: Mapping[str, Any]) -> dict[str, Path]:
    """The values that name something that exists: files to read and model folders."""
    found: dict[str, Path] = {}
    for key, value in values.items():
        several = value if isinstance(value, list) else [value]
        for index, one in enumerate(several):
            if key in FREE or not isinstance(one, str) or not one or len(one) > 1024 or "\n" in one:
                continue
            if ("/" in one or "." in one or key.endswith(("data", "model"))) and _exists(one):
                found[key if not isinstance(value, list) else f"{key}[{index}]"] = Path(one)
    return found


def _is_database(path: Path) -> bool:
    """A rating database grows while it is read: `ratings` says what of it belongs to the run."""
    if not path.is_file():
        return False
    with durable.guarded(path), path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError:  # longer than any file's name
        return False


def _input(path: Path, known: Mapping[str, Any] | None) -> dict[str, Any]:
    """A fingerprint; bytes are hashed again only when size or time of change differ from `known`."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    stamp = [[str(file.relative_to(path)), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    if known and known["stamp"] == stamp:
        return dict(known)
    sums = [durable.sha256(file) for file in files]
    names = [entry[0] for entry in stamp]
    whole = sums[0] if not path.is_dir() else hashlib.sha256(json.dumps([names, sums]).encode()).hexdigest()
    return {"path": str(path), "folder": path.is_dir(), "sha256": whole, "stamp": stamp}


def _yaml_lines(config: Mapping[str, Any], origins: Mapping[str, str], prefix: str, depth: int) -> list[str]:
    lines: list[str] = []
    for key, value in config.items():
        indent, name = "  " * depth, f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{key}:\n", *_yaml_lines(value, origins, f"{name}.", depth + 1)]
            continue
        plain = json.loads(json.dumps(value, default=str))
        dumped = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=2**20)
        text = dumped.removesuffix("...\n").strip()
        origin = " ".join(origins.get(name, "").split())
        lines.append(f"{indent}{key}: {text}" + (f"  # {origin}\n" if origin else "\n"))
    return lines
