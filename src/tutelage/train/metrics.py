"""The run's written memory: one line per step in `metrics.jsonl`, texts in `samples.jsonl`, TensorBoard's `events/`.

A line is one `write()`; a line torn by a crash is cut off at the next start, together with every line that is newer
than the checkpoint, so no step appears twice.
"""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from tutelage.train import durable


class Journal:
    """An append-only JSONL file.

    Example:
        >>> with_lines = Journal(Path("RUN/metrics.jsonl"))
        >>> with_lines.append({"step": 1, "loss": 2.5})
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with durable.guarded(path):
            self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one line; numbers that are not finite become null.

        Raises:
            DiskError: the disk is full; the line is taken back whole.
        """
        line = (json.dumps(_finite(row), ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "replace")
        before = self.size()
        with durable.guarded(self.path, len(line)):
            if os.write(self._handle, line) != len(line):
                os.ftruncate(self._handle, before)
                raise durable.full_disk(self.path, len(line))

    def size(self) -> int:
        """Bytes so far: what a checkpoint remembers."""
        return os.fstat(self._handle).st_size

    def sync(self) -> None:
        """Push the lines to the disk itself."""
        with durable.guarded(self.path):
            os.fsync(self._handle)

    def truncate(self, size: int) -> bool:
        """Forget everything after `size` bytes; False when the file is shorter than that (lines were lost)."""
        whole = self.size() >= size
        if whole:
            with durable.guarded(self.path):
                os.ftruncate(self._handle, size)
        return whole

    def close(self) -> None:
        """Close the file; harmless twice."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a journal; a torn last one is left out."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield json.loads(line)


class Events:
    """The same numbers for TensorBoard, written without a thread of its own.

    Args:
        first: steps done so far; TensorBoard forgets what an earlier process wrote after them.
    """

    def __init__(self, folder: Path, first: int) -> None:
        # generated modules, whose names no type checker sees
        events: Any = import_module("tensorboard.compat.proto.event_pb2")
        record_writer: Any = import_module("tensorboard.summary.writer.record_writer")
        self._event: Any = events.Event
        self._summary: Any = import_module("tensorboard.compat.proto.summary_pb2").Summary
        self.path = folder / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        with durable.guarded(self.path):
            folder.mkdir(exist_ok=True)
            self._file = self.path.open("wb")
            self._writer: Any = record_writer.RecordWriter(self._file)
            self._write(file_version="brain.Event:2")
            start = events.SessionLog(status=events.SessionLog.START)
            self._write(step=first + 1, session_log=start)

    def append(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write the numbers of one step."""
        values = [self._summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        with durable.guarded(self.path):
            self._write(step=step, summary=self._summary(value=values))

    def close(self) -> None:
        """Close the file; harmless twice."""
        with durable.guarded(self.path):
            self._file.close()

    def _write(self, **fields: Any) -> None:
        self._writer.write(self._event(wall_time=time.time(), **fields).SerializeToString())
        self._file.flush()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
