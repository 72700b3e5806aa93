"""What tests of sampling from the pages share: a shelf of models, a server that may use them, an admin who waits."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tutelage.web._settings import Sampler

COMMAND = (sys.executable, "-P", "-m", "tutelage.cli._leash", "sample")
PATIENCE = 120.0
"""Seconds until something that takes seconds must have happened, however busy the machine is."""


def shelf(folder: Path, model: Path) -> Path:
    """`folder` with a model, a reward model, half a model, and a link to one elsewhere."""
    shutil.copytree(model, folder / "sft" / "model")
    shutil.copytree(model, folder / "rm")
    told = json.loads((folder / "rm" / "config.json").read_text())
    (folder / "rm" / "config.json").write_text(json.dumps(told | {"architectures": ["LlamaForSequenceClassification"]}))
    (folder / "half").mkdir()
    (folder / "half" / "config.json").write_text("{}")
    (folder / "torn").mkdir()
    (folder / "torn" / "config.json").write_text("{")
    (folder / "linked").symlink_to(model, target_is_directory=True)
    return folder


def sampler(folder: Path, models: Path, command: tuple[str, ...] = COMMAND) -> Sampler:
    return Sampler(command, models, folder / "ratings.db.sampling")


def rows(count: int, words: str = "Line") -> list[dict[str, Any]]:
    return [{"prompt": f"{words} {number}:", "meta": {"n": number}} for number in range(count)]


def jsonl(found: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found).encode()


def until(look: Callable[[], Any], what: str) -> Any:
    """Look until there is something; what was seen."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {PATIENCE:g} s: {what}")


def processes(*words: str) -> list[int]:
    """Processes whose command line holds all these words."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            told = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            gone = (entry / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        except OSError:
            continue
        if not gone and all(word in told for word in words):
            found.append(int(entry.name))
    return found
