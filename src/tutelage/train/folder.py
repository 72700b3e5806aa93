"""Making and recognising a run folder: whose run it holds, and whether that run is done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.errors import CannotCreateError, DataError, DeniedError, TutelageError
from tutelage.train import durable, lineage

_OURS = (
    "run.",
    "start",
    ".tmp-",
    "config.yaml",
    "metrics.jsonl",
    "samples.jsonl",
    "events",
    "checkpoints",
    "crash-",
    "given.jsonl",
    "ratings.json",
)
RATINGS = "ratings.json"
"""what the rating databases that a run reads held when it began (`labelers._feedback`)"""
TIME_LIMIT = "time limit"


def make(folder: Path) -> None:
    """Make the run folder (0700), or accept one that is ours or empty.

    Raises:
        CannotCreateError: it is a file, holds other things, or its parent is not a folder; DeniedError: no permission.
    """
    try:
        if folder.is_file():
            raise CannotCreateError(
                "the run folder cannot be created: a file has its name", where=str(folder), fix="choose another --out"
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if not (folder / "run.json").exists():
            _refuse_strangers(folder)
            folder.chmod(0o700)
        (folder / "checkpoints").mkdir(exist_ok=True)
    except TutelageError:
        raise
    except PermissionError as error:
        what = f"the run folder cannot be created: {error.strerror}"
        fix = "choose another --out, or mend the permissions"
        raise DeniedError(what, where=str(error.filename), fix=fix) from error
    except OSError as error:
        what = f"the run folder cannot be created: {error.strerror}"
        raise CannotCreateError(what, where=str(error.filename), fix="choose another --out") from error


def claim(
    folder: Path,
    *,
    command: str,
    config: Mapping[str, Any],
    origins: Mapping[str, str],
    steps: int,
    parents: tuple[str, ...],
) -> dict[str, Any]:
    """Write `run.json` and `config.yaml`, unless the folder holds another run; answers the run's identity.

    A start of the same command that failed before anything was learned holds nothing: it is written over.

    Raises:
        UsageError: it holds another command's run, or one with another configuration or other input data.
    """
    before = read_json(folder / "run.json")
    if before and before["command"] == command and not _holds_work(folder):
        before = None
    now = lineage.identity(command, config, steps, parents, before)
    if ratings := read_json(folder / RATINGS):
        now["ratings"] = ratings
    if before:
        lineage.refuse_another(before, now, folder)
    durable.write_text(folder / "config.yaml", lineage.config_yaml(command, config, origins))
    durable.write_json(folder / "run.json", now)
    return now


def forget_failed_start(folder: Path) -> None:
    """Where nothing was learned yet, what was judged since the failed start counts; call it under the folder's lock."""
    if not _holds_work(folder):
        (folder / RATINGS).unlink(missing_ok=True)


def completed(folder: Path, *, steps: int, max_minutes: float) -> bool:
    """Whether `done.json` says that the run is done, also for `steps` steps and `max_minutes`."""
    mark = read_json(folder / "done.json")
    if not mark or steps > mark["planned"]:
        return False
    more_time = max_minutes == 0 or max_minutes > mark["max_minutes"]
    return not (str(mark["reason"]).startswith(TIME_LIMIT) and more_time)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file of ours; None when there is no such file.

    Raises:
        DataError: the file is not what we wrote.
    """
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        fix = "remove it if you trust the rest of the folder, or choose another --out"
        raise DataError(f"not the JSON that was written here: {error}", where=str(path), fix=fix) from error
    return found


def _holds_work(folder: Path) -> bool:
    return any(any(folder.glob(name)) for name in ("checkpoints/*", "start", "model", "done.json"))


def _refuse_strangers(folder: Path) -> None:
    odd = sorted(path.name for path in folder.iterdir() if not path.name.startswith(_OURS))
    if odd:
        what = f"--out is not a run folder and not empty: it holds {', '.join(odd[:3])}"
        raise CannotCreateError(what, where=str(folder), fix="choose an empty or new folder")
