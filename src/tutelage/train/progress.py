"""What a person sees while it trains: a bar on a terminal, a plain line now and then elsewhere, JSON when asked."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

_REDRAW = 0.1
_SHOWN = ("loss", "reward/mean", "kl", "accuracy")


class Reporter:
    """Counts steps towards `total` and tells how fast and how long still; everything goes to stderr.

    Redraws from the training thread only: no thread of its own that a fork or a signal could catch holding a lock.

    Example:
        >>> reporter = Reporter(total=100, title="sft")
        >>> reporter.start(0)
        >>> reporter.update(1, {"loss": 2.5})
        >>> reporter.close()
    """

    def __init__(
        self,
        *,
        total: int,
        title: str,
        quiet: bool = False,
        json_lines: bool = False,
        stream: TextIO | None = None,
        interval: float = 10.0,
    ) -> None:
        """
        Args:
            interval: seconds between plain or JSON lines.
        """
        self.total, self.title = total, title
        self.quiet, self.json_lines = quiet, json_lines
        self.stream = stream or sys.stderr
        self.interval = interval
        self._times: deque[tuple[float, int]] = deque([(time.monotonic(), 0)], maxlen=50)
        self._spoken = 0.0
        self._bar: Progress | None = None

    def start(self, done: int) -> None:
        """Draw the bar; `done` steps were done before this process began."""
        self._times = deque([(time.monotonic(), done)], maxlen=50)
        if not self.quiet and not self.json_lines and _terminal(self.stream):
            self._bar = self._open(done)

    def update(self, done: int, metrics: Mapping[str, float]) -> None:
        """Tell that `done` steps are done."""
        now = time.monotonic()
        self._times.append((now, done))
        if self.quiet or (now - self._spoken < (_REDRAW if self._bar else self.interval) and done < self.total):
            return
        self._spoken = now
        if self.json_lines:
            self._json({"progress": self.title, "step": done, "steps": self.total, **self._pace(), **metrics})
        elif self._bar:
            self._bar.update(self._bar.task_ids[0], completed=done, tail=self._tail(metrics), refresh=True)
        else:
            self._print(f"{self.title} {done}/{self.total}  {self._tail(metrics)}")

    def say(self, text: str) -> None:
        """One line of information; nothing when quiet."""
        if self.json_lines:
            self._json({"message": text})
        elif not self.quiet:
            self._print(text)

    def warn(self, text: str) -> None:
        """One line that is shown even when quiet."""
        if self.json_lines:
            self._json({"warning": text})
        else:
            self._print(f"warning: {text}")

    def shout(self, text: str) -> None:
        """One line from inside a signal handler, past all buffers and locks."""
        line = json.dumps({"message": text}) if self.json_lines else text
        with suppress(OSError):
            os.write(self.stream.fileno(), f"\n{line}\n".encode())

    def close(self) -> None:
        """Leave the bar as it stands and give the terminal back; harmless twice."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def rate(self) -> float:
        """Steps per second over the last steps; 0 = not known yet."""
        (first, before), (last, now) = self._times[0], self._times[-1]
        return (now - before) / (last - first) if last > first else 0.0

    def _open(self, done: int) -> Progress:
        tail = TextColumn("{task.completed}/{task.total} {task.fields[tail]}")
        columns = (TextColumn("{task.description}"), BarColumn(), tail)
        bar = Progress(*columns, console=Console(file=self.stream), auto_refresh=False)
        bar.add_task(self.title, total=self.total, completed=done, tail="")
        bar.start()
        return bar

    def _pace(self) -> dict[str, float]:
        rate, done = self.rate(), self._times[-1][1]
        left = round((self.total - done) / rate, 1) if rate else 0.0
        return {"steps_per_second": round(rate, 3), "seconds_left": left} if rate else {}

    def _tail(self, metrics: Mapping[str, float]) -> str:
        rate, done = self.rate(), self._times[-1][1]
        parts = [pace(rate), f"{duration((self.total - done) / rate)} left"] if rate else []
        for name in _SHOWN:
            found = [key for key in metrics if key == name or key.endswith(f"/{name}")]
            parts += [f"{key} {metrics[key]:.4g}" for key in found[:1]]
        return "  ".join(parts)

    def _print(self, text: str) -> None:
        if self._bar:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=self.stream, flush=True)

    def _json(self, row: Mapping[str, Any]) -> None:
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        print(json.dumps(plain, ensure_ascii=False), file=self.stream, flush=True)


def duration(seconds: float) -> str:
    """125 → "2m05s"."""
    whole = round(max(0.0, seconds))
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{whole % 60:02d}s" if minutes else f"{whole}s"


def counted(number: int, thing: str) -> str:
    """1, "step" → "1 step"; 2 → "2 steps"."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def pace(rate: float) -> str:
    """Steps per second as people say it: "3.2 steps/s" or "4.1 s/step"."""
    return f"{rate:.1f} steps/s" if rate >= 1 else f"{1 / rate:.1f} s/step"


def _terminal(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"
