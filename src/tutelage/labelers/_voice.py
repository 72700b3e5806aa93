"""What a run says while it waits for people: how many have judged, how long still, and where to rate."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from tutelage.store.batches import Batch, Batches

Say = Callable[[str], None]
_SAY_EVERY = 60.0
_SAY_NEWS = 10.0


class Voice:
    """Says how the waiting goes: at once, when there is news (not more than every 10 s), and every minute."""

    def __init__(self, url: str, batches: Batches, say: Say, warn: Say) -> None:
        self.url, self.batches, self.say, self.warn = url, batches, say, warn
        self._last: tuple[float, int] | None = None

    def tell(self, batch: Batch) -> None:
        """Say it, if it is time to."""
        now = time.monotonic()
        if self._last is None:
            self._few(batch)
        else:
            since, missing = self._last
            if now - since < (_SAY_NEWS if batch.missing != missing else _SAY_EVERY):
                return
        self._last = (now, batch.missing)
        judged = f"waiting for people: {batch.settled} of {batch.items} {_things(batch)} judged"
        self.say(f"{judged}, {_deadline(batch)}, {_address(self.url, batch.project)}")

    def end(self, batch: Batch) -> None:
        """Say how it ended, where it was waited for."""
        if self._last is not None:
            self.say(f"people have judged {batch.items - batch.silent} of {batch.items} {_things(batch)}")

    def _few(self, batch: Batch) -> None:
        there = self.batches.raters(batch.project)
        if there < batch.wanted:
            self.warn(
                f"each answer wants {batch.wanted} rater{'s' * (batch.wanted > 1)}, and project {batch.project} has "
                f"{there}: "
                f"tutelage rate invite --db {self.url} --project {batch.project} --count {batch.wanted - there}"
            )


def _things(batch: Batch) -> str:
    return "pairs" if batch.kind == "pair" else "answers"


def _deadline(batch: Batch) -> str:
    if batch.seconds_left > 0:
        left = round(batch.seconds_left)
        return f"deadline in {left // 60}:{left % 60:02d}"
    if batch.late == "train":
        return "deadline over: goes on as soon as one prompt's answers are judged"
    return "deadline over, waiting on"


def _address(url: str, project: str) -> str:
    """Where to rate: as the server of this database says in its lock, else how to start one."""
    base = served_at(url)
    return f"rate at {base}" if base else f"rate with `tutelage rate serve --db {url} --project {project}`"


def served_at(url: str) -> str:
    """The address of the server that runs on this database file now, as its lock says; empty where none does."""
    file = url.removeprefix("sqlite:///")
    try:
        told = json.loads(Path(f"{Path(file).resolve()}.lock").read_bytes()) if "://" not in file else {}
        os.kill(int(told["pid"]), 0)
        return str(told["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
