"""One run folder, one writer: a lock that the operating system releases when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from pathlib import Path
from typing import Any

from tutelage.errors import DiskError, TryAgainError
from tutelage.train.durable import guarded


class Lock:
    """`flock` on `run.lock`, with the holder's pid and host inside for people to read.

    The file stays when the run ends: removing it would let two processes each hold "the" lock on different files.

    Example:
        >>> lock = Lock(Path("RUN/run.lock"))
        >>> lock.acquire()
        >>> lock.release()

    Args:
        held, other: what to say to whom comes second: what the holder is doing, and what else to choose.
        where: what is locked, in that sentence; by default the folder of the lock.
    """

    def __init__(
        self, path: Path, held: str = "this run is being written", other: str = "another --out", where: str = ""
    ) -> None:
        self.path, self.held, self.other = path, held, other
        self.where = where or str(path.parent)
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock, or say who has it.

        Raises:
            TryAgainError: another living process holds it.
        """
        with guarded(self.path):
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take(handle)
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle
        self.tell()

    def tell(self, **facts: str) -> None:
        """Write who holds it, and what else is to be known of the holder (where it listens, say)."""
        assert self._handle is not None, "the lock is held"
        told = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), **facts}).encode()
        with guarded(self.path):
            os.pwrite(self._handle, told, 0)
            os.ftruncate(self._handle, len(told))

    def confirm(self) -> None:
        """Make sure that the folder of this lock is still the one that was locked.

        A process that goes on after its folder was removed would write a second run's folder full of its own
        checkpoints, by name, while its journals lie in files that nobody sees any more.

        Raises:
            DiskError: the folder was removed, or removed and made again by another process.
        """
        try:
            there: os.stat_result | None = self.path.stat()
        except OSError:
            there = None
        if self._handle is None or (there and os.path.samestat(there, os.fstat(self._handle))):
            return
        raise DiskError(
            "the run folder was removed or replaced while this run was writing it: nothing more is saved there",
            where=str(self.path.parent),
            fix="stop a run before its folder is removed; start it again in a new --out",
        )

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None

    def _take(self, handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(handle)
            held = error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
            # some network filesystems have no flock: there the pid must do
            if held or _alive(holder):
                raise self._busy(holder) from error

    def _busy(self, holder: dict[str, Any]) -> TryAgainError:
        who = f"pid {holder['pid']} on {holder['host']}" if holder else "another process"
        fix = f"wait until it ends, or choose {self.other}"
        if holder and holder["host"] == socket.gethostname():
            fix = f"wait until it ends, stop it with `kill {holder['pid']}`, or choose {self.other}"
        return TryAgainError(f"{self.held} by {who}", where=self.where, fix=fix)


def _holder(handle: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(handle, 4096, 0))
    except ValueError:
        return {}
    return found if isinstance(found, dict) and {"pid", "host"} <= found.keys() else {}


def _alive(holder: dict[str, Any]) -> bool:
    if not holder:
        return False
    if holder["host"] != socket.gethostname():
        return True
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return int(holder["pid"]) != os.getpid()
