"""Sampled answers as a file that grows: killed at any moment, the same command goes on; at the end it gets its name."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tutelage.errors import CannotCreateError, TryAgainError, UsageError
from tutelage.train.durable import guarded, sync_folder
from tutelage.types import Prompt, Sample, Text


class Draft:
    """`OUT.partial`, opened for appending rows of one run; only one process at a time.

    Args:
        out: where the finished file will lie.
        run: what the rows must carry to be gone on from; rows of another run are thrown away.
    """

    def __init__(self, out: Path, run: str) -> None:
        self.out, self.run = out, run
        self.path = out.with_name(out.name + ".partial")
        self.done = 0
        """rows that are there already"""
        self.foreign = False
        """another run had begun; what it left was thrown away"""

    @contextmanager
    def opened(self) -> Generator[Draft]:
        """Hold the file.

        Raises:
            TryAgainError: another process writes it. CannotCreateError, DeniedError, DiskError: it cannot be written.
        """
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise CannotCreateError(
                "its folder cannot be created", where=str(self.out), fix="choose another --out"
            ) from error
        with guarded(self.path):
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._lock(handle)
            found = self.path.read_bytes()
            self.done, size = _whole_rows(found, self.run)
            self.foreign = bool(found) and not size
            os.ftruncate(handle, size)
            os.lseek(handle, 0, os.SEEK_END)
            self._handle = handle
            yield self
        finally:
            os.close(handle)

    def _lock(self, handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TryAgainError(
                "another process is sampling into it", where=str(self.path), fix="wait for it"
            ) from error

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows; they are on the disk when this returns."""
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        with guarded(self.path, len(data)):
            while data:
                data = data[os.write(self._handle, data) :]
            os.fsync(self._handle)
        self.done += len(rows)

    def finish(self) -> None:
        """Give it its final name."""
        with guarded(self.out):
            self.path.replace(self.out)
            sync_folder(self.out.parent)


def finished(out: Path, run: str, count: int) -> bool:
    """Whether `out` already holds all rows of this run.

    Raises:
        UsageError: it holds something else, which is not ours to overwrite.
    """
    if not out.exists():
        return False
    if out.is_dir():
        raise UsageError(f"'{out}' is a folder", fix=f"--out {out}/answers.jsonl")
    found, size = _whole_rows(out.read_bytes(), run)
    if found == count and size == out.stat().st_size:
        return True
    raise UsageError(
        f"'{out}' exists and was not made by this command, model and data",
        fix="choose another --out, or remove the file",
    )


def row_of(sample: Sample, run: str) -> dict[str, Any]:
    """A sample as a line of the file."""
    return {
        "id": sample.id,
        "prompt_id": sample.prompt.id,
        "prompt": jsonable(sample.prompt.content),
        "completion": sample.text,
        "finish": sample.finish,
        "model": sample.model,
        "checkpoint": sample.checkpoint,
        "seed": sample.seed,
        "run": run,
        "meta": dict(sample.prompt.meta),
    }


def jsonable(content: Text) -> str | list[dict[str, str]]:
    """A prompt as JSON: a string, or messages."""
    if isinstance(content, str):
        return content
    return [{"role": message.role, "content": message.content} for message in content]


def weights_of(model: str) -> bytes:
    """SHA-256 of each file of weights in a model's folder, one after the other; nothing of a hub id."""
    folder, found = Path(model), b""
    for file in sorted(folder.glob("*.safetensors")) if folder.is_dir() else []:
        with file.open("rb") as opened:
            found += hashlib.file_digest(opened, "sha256").digest()
    return found


def called(model: str, checkpoint: str) -> str:
    """Who wrote an answer: the model's name, and which checkpoint lay in its folder by the digest of its weights."""
    return f"{model}@{checkpoint[:12]}" if Path(model).is_dir() else model


def fingerprint(model: str, weights: bytes, prompts: Sequence[Prompt], settings: Mapping[str, Any]) -> str:
    """12 hex digits that change when the model's weights, the prompts or the sampling settings do."""
    digest = hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode())
    for prompt in prompts:
        digest.update(json.dumps([prompt.id, jsonable(prompt.content)], ensure_ascii=False).encode())
    digest.update(weights)
    if not Path(model).is_dir():
        digest.update(model.encode())
    return digest.hexdigest()[:12]


def _whole_rows(data: bytes, run: str) -> tuple[int, int]:
    """How many whole rows of `run` stand at the start of `data`, and how many bytes they take."""
    count = size = 0
    for line in data.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not isinstance(row, dict) or row.get("run") != run:
            break
        count, size = count + 1, size + len(line)
    return count, size
