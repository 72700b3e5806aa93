"""The name under which a run asks people, kept in its folder beside where that folder lies: a copy asks as another."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILE = "run.people"


def asker(folder: Path, warn: Callable[[str], None]) -> str:
    """The run's name: made once, the same after every restart and when the folder is moved on its disk.

    A folder that lies elsewhere and is another one (by device and inode) is a copy. It gets a name of its own: under
    one name two runs would cancel each other's batches and learn from each other's answers.
    """
    path = folder / FILE
    folder.mkdir(parents=True, exist_ok=True)
    there = folder.stat()
    here: dict[str, Any] = {"path": str(folder.resolve()), "device": there.st_dev, "inode": there.st_ino}
    told = _read(path)
    name = str(told.get("name", ""))
    if name and _elsewhere(told, here):
        warn(
            f"{folder} is a copy of {told['path']}: it asks people under a name of its own. Answers that they judged "
            f"for the other run count here too and are not asked about again; what still waits there waits for that run"
        )
        name = ""
    now = {"name": name or uuid.uuid4().hex, **here}
    if now != told:
        draft = path.with_name(f".tmp-people-{os.getpid()}")
        draft.write_text(json.dumps(now), encoding="utf-8")
        draft.replace(path)
    return now["name"]


def _read(path: Path) -> dict[str, Any]:
    """What is kept; of older runs the bare name."""
    if not path.exists():
        return {}
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if text.startswith("{") else {"name": text}


def _elsewhere(told: dict[str, Any], here: dict[str, Any]) -> bool:
    """Neither the same path (a folder put back from a backup) nor the same folder (one that was moved)."""
    same = all(told.get(key) == here[key] for key in ("device", "inode"))
    return "path" in told and told["path"] != here["path"] and not same
