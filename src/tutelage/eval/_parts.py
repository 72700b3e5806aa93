"""Parts of an evaluation kept as they are finished, so that an interrupted one goes on with what is missing."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tutelage.types import Text

T = TypeVar("T")
_CONTENT = ("*.safetensors", "*.json")


class Parts:
    """A folder of JSON files, one per part, each named by everything that its content depends on.

    Example:
        >>> parts = Parts(Path("runs/eval/parts"))
        >>> parts.get("reward", ["runs/rm/model", answers], lambda: score(answers))
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str, depends: Any, make: Callable[[], T]) -> T:
        """The part's JSON value; made, and kept, if no file holds it whole."""
        path = self.folder / f"{name}-{mark(depends)}.json"
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
        value = make()
        write_whole(path, json.dumps(value, ensure_ascii=False, allow_nan=False))
        return value


def mark(depends: Any) -> str:
    """12 hex digits that change with any of the JSON values in `depends`."""
    return hashlib.sha256(json.dumps(depends, ensure_ascii=False, sort_keys=True).encode()).hexdigest()[:12]


def model_mark(path: str) -> str:
    """Changes when a model folder's weights, config or tokenizer do; the name itself for a hub id."""
    folder = Path(path)
    if not folder.is_dir():
        return path
    digest = hashlib.sha256()
    for file in sorted(file for pattern in _CONTENT for file in folder.glob(pattern)):
        with file.open("rb") as opened:
            digest.update(file.name.encode() + hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:12]


def text_json(content: Text) -> Any:
    """A prompt as JSON: a string, or messages."""
    return content if isinstance(content, str) else [[message.role, message.content] for message in content]


def write_whole(path: Path, text: str) -> None:
    """Replace `path` by `text`: after a crash there is the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def lines(rows: Sequence[Any]) -> str:
    """Rows as JSONL."""
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
