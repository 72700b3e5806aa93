"""What a verb says to the person or program in front of it: lines, tables, progress, and one JSON result."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TextIO, TypeVar

T = TypeVar("T")
_WHOLE = 12
"""Characters of a cell that are never broken over two lines."""


class Bar(Protocol):
    """A running progress display."""

    def advance(self, count: int = 1) -> None:
        """`count` more are done."""
        ...


@dataclass(frozen=True, kw_only=True)
class UI:
    """Passed to every verb.

    stdout carries what was asked for (lines and tables, or with `--json` nothing but JSON lines);
    stderr carries warnings and progress.

    Example:
        >>> ui = UI()
        >>> ui.say("3 rows")
        3 rows
        >>> for row in ui.track(rows, "scoring"):
        ...     score(row)
    """

    quiet: bool = False
    """`--quiet`: no lines, tables or progress; warnings and errors stay"""
    json_lines: bool = False
    """`--json`: stdout is one JSON object per result"""
    dry_run: bool = False
    """`--dry-run`: check everything, change nothing"""
    debug: bool = False
    """`--debug`: tracebacks"""
    interval: float = 10.0
    """seconds between progress lines when not on a terminal"""

    def say(self, text: str) -> None:
        """A line for people (to stderr with `--json`, nowhere with `--quiet`)."""
        if not self.quiet:
            _print(text, sys.stderr if self.json_lines else sys.stdout)

    def warn(self, text: str) -> None:
        """A line that must be seen, whatever the mode."""
        _print(f"warning: {text}", sys.stderr)

    def table(self, rows: Sequence[Mapping[str, Any]], title: str = "") -> None:
        """Rows under the union of their keys; numbers to four digits; for people only."""
        if self.quiet or self.json_lines or not rows:
            return
        from rich.table import Table

        columns = list(dict.fromkeys(key for row in rows for key in row))
        table = Table(title=title or None, title_justify="left")
        for column in columns:
            numeric = all(isinstance(row.get(column), (int, float, type(None))) for row in rows)
            words = [_cell(row.get(column)) for row in rows] + column.split()
            widest = max(len(word) for word in words)
            justify = "right" if numeric else "left"
            table.add_column(column, justify=justify, overflow="fold", min_width=min(widest, _WHOLE))
        for row in rows:
            table.add_row(*(_cell(row.get(column)) for column in columns))
        _console(sys.stdout).print(table)

    def result(self, values: Mapping[str, Any]) -> None:
        """The machine-readable outcome: one JSON line on stdout with `--json`, else nothing (say it in words too)."""
        if self.json_lines:
            _print(json.dumps(values, ensure_ascii=False, default=str), sys.stdout)

    def track(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        """Go through `items` with a bar, rate and remaining time (plain lines when not on a terminal)."""
        if total is None and isinstance(items, Sequence):
            total = len(items)
        with self.progress(description, total) as bar:
            for item in items:
                yield item
                bar.advance()

    @contextmanager
    def progress(self, description: str, total: int | None = None) -> Generator[Bar, None, None]:
        """A bar to advance by hand: `with ui.progress("sampling", 100) as bar: bar.advance(8)`."""
        if self.quiet or self.json_lines:
            yield _Silent()
        elif sys.stderr.isatty():
            with _rich_bar(description, total) as bar:
                yield bar
        else:
            lines = _Lines(description, total, self.interval)
            yield lines
            lines.close()


class _Silent:
    def advance(self, count: int = 1) -> None:
        pass


class _Lines:
    """Progress as plain lines, one per interval and one at the end."""

    def __init__(self, description: str, total: int | None, interval: float) -> None:
        self.description, self.total, self.interval = description, total, interval
        self.done = 0
        self.began = self.spoke = time.monotonic()

    def advance(self, count: int = 1) -> None:
        self.done += count
        if time.monotonic() - self.spoke >= self.interval:
            self.spoke = time.monotonic()
            _print(self.line(), sys.stderr)

    def line(self) -> str:
        seconds = max(time.monotonic() - self.began, 1e-9)
        rate = self.done / seconds
        if not self.total:
            return f"{self.description}: {self.done} ({rate:.3g}/s)"
        left = f", {duration((self.total - self.done) / rate)} left" if 0 < self.done < self.total else ""
        return f"{self.description}: {self.done}/{self.total} ({self.done / self.total:.0%}, {rate:.3g}/s{left})"

    def close(self) -> None:
        if time.monotonic() - self.began >= 1.0:  # what took no time needs no line
            _print(f"{self.line()} in {duration(time.monotonic() - self.began)}", sys.stderr)


@contextmanager
def _rich_bar(description: str, total: int | None) -> Generator[Bar, None, None]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    @dataclass
    class Shown:
        bar: Progress
        task: Any

        def advance(self, count: int = 1) -> None:
            self.bar.advance(self.task, count)
            speed = self.bar.tasks[0].speed
            self.bar.update(self.task, rate=f"{speed:.3g}/s" if speed else "")

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=_console(sys.stderr)) as bar:
        yield Shown(bar, bar.add_task(description, total=total, rate=""))


def counted(number: int, thing: str) -> str:
    """1, "step" → "1 step"; 2 → "2 steps"."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def duration(seconds: float) -> str:
    """`75` as `1m15s`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def _console(stream: TextIO) -> Any:
    from rich.console import Console

    return Console(file=stream, highlight=False, soft_wrap=not stream.isatty())


def _print(text: str, stream: TextIO) -> None:
    print(text, file=stream, flush=True)


def _cell(value: Any) -> str:
    from rich.markup import escape

    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return escape(str(value))
