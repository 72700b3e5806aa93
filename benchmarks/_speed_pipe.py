"""The pipe between speed.py and one side (standard library alone): rounds are asked for one by one, in turn.

side → {"ready": …}          once its warm-up is done
runner → {"round": r}        begin
side → {"wall": …, "cpu": …} the round is over
runner → end of file         go
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PIPES = "SPEED_PIPES"


class Gate:
    """One side's end of the pipe, and its clock."""

    def __init__(self, warm: int, steps: int) -> None:
        reading, writing = (int(word) for word in os.environ[PIPES].split(","))
        self._in, self._out = os.fdopen(reading, "r"), os.fdopen(writing, "w")
        self.warm, self.steps = warm, steps
        self.began = time.perf_counter()
        self._from: tuple[float, float, int] = (0.0, 0.0, 0)

    def boundary(self, done: int, facts: Callable[[], dict[str, Any]]) -> None:
        """Called before each step; at the end of the warm-up and of each round it waits for the runner.

        Args:
            facts: what the side knows of the steps since it was last asked.
        """
        if done < self.warm or (done - self.warm) % self.steps:
            return
        if done == self.warm:
            facts()
            self.ready()
        else:
            self.report(facts())

    def ready(self, **more: Any) -> None:
        """The warm-up is over; waits for the first round."""
        self._tell({"ready": time.perf_counter() - self.began} | more)

    def report(self, facts: dict[str, Any]) -> None:
        """A round is over; waits for the next."""
        _arrive()
        wall, cpu, faults = (now - then for now, then in zip(_now(), self._from, strict=True))
        on_device = device_gib()
        peak = peak_gib() if on_device is None else on_device
        found = {"wall": wall, "cpu": cpu, "faults": faults, "peak_gib": peak}
        self._tell(found | {"resident_gib": resident_gib()} | facts)

    def _tell(self, message: dict[str, Any]) -> None:
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()
        if not self._in.readline():
            os._exit(0)  # nothing of a peer's own ending is wanted
        _arrive()
        self._from = _now()


def _now() -> tuple[float, float, int]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), used.ru_utime + used.ru_stime, used.ru_minflt


def _cuda() -> Any:
    """torch.cuda where this process has used it; nothing is imported for it."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def _arrive() -> None:
    """Wait for what a GPU was asked to do, so that a clock tells of work and not of asking."""
    if cuda := _cuda():
        cuda.synchronize()


def device_gib() -> float | None:
    """The most GPU memory that tensors of this process ever held; None where it uses no GPU."""
    cuda = _cuda()
    return None if cuda is None else cuda.max_memory_allocated() / 2**30


def peak_gib() -> float:
    """The most memory that this process ever held (resident). Linux alone: `ru_maxrss` begins with the parent's."""
    told = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(told.split("VmHWM:")[1].split()[0]) / 2**20


def resident_gib() -> float:
    """What it holds now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize() / 2**30
