"""Until when a rating server waits: its rater is done, the time is over, or somebody presses Enter in the terminal."""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections.abc import Callable

from tutelage.errors import DiskError, ServiceError, TryAgainError

GRACE = 4.0
"""Seconds for which nothing must be left: the last answer may still be taken back."""
_POLL = 0.5


class Until:
    """Watches in a thread of its own, and says once why the waiting is over.

    Args:
        left: how many answers are still wanted; None = does not end by itself.
        seconds: how long to wait; 0 = for ever.
        end: called when it is over, from the other thread.
        by_hand: Enter or Ctrl-D in the terminal ends it too.
    """

    def __init__(
        self, left: Callable[[], int] | None, seconds: float, end: Callable[[], None], *, by_hand: bool = False
    ) -> None:
        self.left, self.seconds, self.end, self.by_hand = left, seconds, end, by_hand
        self.reason = ""
        """why it is over; empty as long as it is not"""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer; returns when nothing is looked at any more."""
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        began, done_since = time.monotonic(), None
        watching = self.by_hand and terminal_is_ours()
        grace = 0.0  # who comes when all is done need not wait
        while not self._stopped.is_set():
            now = time.monotonic()
            if self.left is not None and self._wanted():
                done_since, grace = None, GRACE
            elif self.left is not None and done_since is None:
                done_since = now
            if done_since is not None and now - done_since >= grace:
                self.reason = "done"
            elif self.seconds and now - began >= self.seconds:
                self.reason = "the time is over"
            elif watching and _pressed(_POLL):
                self.reason = "going on without waiting"
            if self.reason:
                self.end()
                return
            if not watching:
                self._stopped.wait(_POLL)

    def _wanted(self) -> bool:
        """Whether answers are still wanted; as long as the database cannot say, they are."""
        try:
            return self.left is not None and self.left() > 0
        except (TryAgainError, ServiceError, DiskError):
            return True


def terminal_is_ours() -> bool:
    """Whether a person may press Enter here: standard input is a terminal, and this program stands in its foreground.

    A program in the background that reads from its terminal is stopped by the system.
    """
    try:
        handle = sys.stdin.fileno()
        return os.isatty(handle) and os.tcgetpgrp(handle) == os.getpgrp()
    except (OSError, ValueError, AttributeError):  # no standard input, or one that is no file
        return False


def _pressed(seconds: float) -> bool:
    """Whether a line (or the end of the input) came within `seconds`."""
    handle = sys.stdin.fileno()
    if not select.select([handle], [], [], seconds)[0]:
        return False
    if not terminal_is_ours():  # put into the background meanwhile: what is typed is for others
        time.sleep(seconds)
        return False
    os.read(handle, 4096)
    return True
