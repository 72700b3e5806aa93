"""Signals: the first asks the run to end after the step, the second Ctrl-C ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class Interrupt:
    """Remembers that SIGINT, SIGTERM or SIGHUP came.

    Example:
        >>> interrupt = Interrupt(lambda name: print(f"{name}: saving"))
        >>> interrupt.install()
        >>> interrupt.leave()  # nothing came: nothing happens
        >>> interrupt.remove()
    """

    def __init__(self, told: Callable[[str], None]) -> None:
        """
        Args:
            told: called with the signal's name when it comes.
        """
        self.asked: signal.Signals | None = None
        self._told = told
        self._before: dict[signal.Signals, Any] = {}

    def install(self) -> None:
        """Listen; only the main thread can, and what the parent told us to ignore (nohup) stays ignored."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._heard)

    def remove(self) -> None:
        """Put the handlers back that were there before."""
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before = {}

    def leave(self) -> None:
        """End the process if a signal asked for it.

        Raises:
            KeyboardInterrupt: after Ctrl-C; SystemExit: 143 after SIGTERM, 129 after SIGHUP.
        """
        if self.asked is signal.SIGINT:
            raise KeyboardInterrupt
        if self.asked is not None:
            raise SystemExit(128 + self.asked)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self.asked = signal.Signals(number)
        # the kernel ends the process at the second Ctrl-C, even in the middle of a long computation
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        self._told(self.asked.name)
