"""Everything a run says: to its journals, to TensorBoard, and to the person in front of the screen."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.train import durable
from tutelage.train.health import Alarm
from tutelage.train.metrics import Events, Journal
from tutelage.train.progress import Reporter


class Record:
    """The voices of one run, opened together and closed together.

    `metrics.jsonl` holds lines of numbers `{"step", "time", "loss", …}` and lines of events
    `{"step", "time", "event": "alarm" | "warning", "name", "message", …}`.
    """

    def __init__(self, folder: Path, reporter: Reporter) -> None:
        self.folder, self.reporter = folder, reporter
        self.metrics = Journal(folder / "metrics.jsonl")
        self.samples = Journal(folder / "samples.jsonl")
        self._events: Events | None = None
        self._last: dict[str, Any] = {}

    def rewind(self, metrics_bytes: int, samples_bytes: int, step: int) -> None:
        """Forget what was written after the checkpoint of `step` steps done."""
        whole = [self.metrics.truncate(metrics_bytes), self.samples.truncate(samples_bytes)]
        self._events = Events(self.folder / "events", step)
        if not all(whole):
            message = "metrics.jsonl or samples.jsonl lost lines that the checkpoint remembers"
            self.event(step, 0.0, "warning", "lost-lines", message)

    def numbers(self, step: int, seconds: float, row: Mapping[str, float]) -> None:
        """One line of metrics after `step` steps done."""
        self._last = {"step": step, "time": round(seconds, 3), **row}
        self.metrics.append(self._last)
        if self._events:
            self._events.append(step, {name: value for name, value in row.items() if math.isfinite(value)})

    def texts(self, step: int, rows: list[dict[str, Any]]) -> None:
        """Samples after `step` steps done."""
        for row in rows:
            self.samples.append({"step": step, **row})

    def event(self, step: int, seconds: float, kind: str, name: str, message: str, **more: Any) -> None:
        """One line of `metrics.jsonl` that is not a measurement, also shown to the person."""
        row = {"step": step, "time": round(seconds, 3), "event": kind, "name": name, "message": message, **more}
        self.metrics.append(row)
        self.reporter.warn(message if "advice" not in more else f"{message}; {more['advice']}")

    def alarm(self, alarm: Alarm, seconds: float) -> None:
        """An alarm, with its advice."""
        message = f"step {alarm.step}: {alarm.message}"
        self.event(alarm.step, seconds, "alarm", alarm.name, message, advice=alarm.advice)

    def crash(self, error: Exception) -> Path:
        """Write the traceback, the notes of the error (its culprit) and the last numbers; no texts of the data."""
        path = self.folder / f"crash-{time.strftime('%Y%m%d-%H%M%S')}.txt"
        report = "".join(traceback.format_exception(error))
        durable.write_text(path, f"{report}\nlast metrics: {self._last}\n")
        return path

    def close(self) -> None:
        """Close everything; harmless twice."""
        self.reporter.close()
        self.metrics.close()
        self.samples.close()
        if self._events:
            self._events.close()
