"""An order to sample and the job that it becomes: what stands in the file of a project, and how a failure is told."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from tutelage.errors import CannotCreateError, DataError, DiskError
from tutelage.types import QuestionKind
from tutelage.web import _pages

_LOG_BYTES = 65_536

State = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
WAITING: tuple[State, ...] = ("queued", "running")
LEFT: tuple[State, ...] = ("failed", "cancelled", "interrupted")
"""Ended with something on the disk: a job that can go on."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a model is asked for, and which questions are then made of its answers."""

    model: str
    """its path below the folder of models"""
    prompts: int
    answers: int
    """for each prompt"""
    max_new_tokens: int
    temperature: float
    seed: int
    kind: QuestionKind
    overlap: int
    per_prompt: int
    size: int

    @property
    def wanted(self) -> int:
        """Answers in all."""
        return self.prompts * self.answers


@dataclass(frozen=True, kw_only=True)
class Job:
    """One order of one project, as far as it is."""

    id: str
    project: str
    actor: str
    order: Order
    state: State
    created: float
    started: float = 0.0
    kept: int = 0
    """answers that were there when it was started last"""
    ended: float = 0.0
    what: str = ""
    """how it failed: in the command's own last words, or by the name of a `RefusedError`"""
    fix: str = ""
    signal: int = 0
    """what killed it; 0 = nothing did"""
    questions: int = 0
    """new ones that were asked"""


class RefusedError(DataError):
    """What cannot be done, by its name among the words of the pages (`admin.sampling.wrong`).

    Args:
        key: its name.
        gaps: what fills the sentence.
    """

    def __init__(self, key: str, **gaps: object) -> None:
        self.key, self.gaps = key, gaps
        super().__init__(self.said(_pages.words("en")["admin"]))

    def said(self, words: Mapping[str, Any]) -> str:
        """The sentence in the language of `words` (those of the admin)."""
        gaps = self.gaps | ({"kind": words["kinds"][self.gaps["kind"]]} if "kind" in self.gaps else {})
        return words["sampling"]["wrong"][self.key].format(**gaps)


class TakenError(RefusedError):
    """The job is not in the state that this takes: another is under way, or it is over."""


class TooFastError(RefusedError):
    """Models are loaded too often."""


def load(file: Path) -> Job | None:
    """The job in a file; None where there is none that this version knows."""
    try:
        told: Any = json.loads(file.read_text(encoding="utf-8"))
        return Job(**(told | {"order": Order(**told["order"])}))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def keep(job: Job, file: Path) -> None:
    """Write what is known of a job."""
    write(file, json.dumps(asdict(job), ensure_ascii=False))


def write(file: Path, text: str) -> None:
    """A file that nobody else reads, and that is there whole or not at all.

    Raises:
        DiskError, CannotCreateError: it cannot be written.
    """
    made = file.with_name(f"{file.name}.new")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(private(made), "w", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        made.replace(file)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO)
        kind = DiskError if full else CannotCreateError
        raise kind(f"cannot write: {error.strerror}", where=str(file), fix="make room, or check the rights") from error


def last_words(folder: Path) -> tuple[str, str]:
    """What went wrong and the way out, as the command said last; its prompts are called by what they are."""
    try:
        with (folder / "log").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_BYTES))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return "", ""
    told = next((found for line in reversed(lines) if (found := _error(line))), None)
    if told is None:
        return _short(" ".join(lines[-3:]), folder), ""
    place = f" ({told['where']})" if told.get("where") else ""
    return _short(f"{told['error']}{place}", folder), _short(str(told.get("fix") or ""), folder)


def _error(line: str) -> Mapping[str, Any] | None:
    try:
        told: Any = json.loads(line) if line.startswith('{"error"') else None
    except ValueError:
        return None
    return cast(Mapping[str, Any], told) if isinstance(told, dict) else None


def private(file: Path) -> int:
    """A handle on a new file, or an emptied one, that only its owner reads."""
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)


def _short(text: str, folder: Path) -> str:
    return text.replace(str(folder / "prompts.jsonl"), "prompts").replace(f"{folder}/", "")[:1000]


def signal_name(number: int) -> str:
    """`SIGKILL` for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
