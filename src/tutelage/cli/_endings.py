"""How a command ends: errors become a message on stderr and an exit code; a bug also leaves a traceback in a file."""

from __future__ import annotations

import errno
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from tutelage.errors import DeniedError, DiskError, MissingInputError, TutelageError

EXIT_CODES = {
    0: "fine", 1: "a bug in tutelage", 2: "wrong flag, key or combination", 65: "bad data", 66: "missing input",
    69: "a service does not answer", 70: "not finite, or training diverged", 73: "cannot create an output",
    74: "disk or I/O", 75: "held by another process, try again", 77: "no permission",
    130: "stopped by Ctrl-C", 141: "the reader of a pipe went away", 143: "stopped by SIGTERM",
}  # fmt: skip

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
_SECRET = ("TOKEN", "KEY", "SECRET", "PASSWORD")


def guarded(call: Callable[[], int], *, debug: bool = False, json_lines: bool = False) -> int:
    """Call it; whatever happens, the answer is an exit code."""
    try:
        return call()
    except TutelageError as error:
        return _tell(error, debug, json_lines)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return int(end.code or 0)
    except BrokenPipeError:
        # Critical: Python flushes stdout once more at exit, and would complain about the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:  # the last resort of the whole program: nothing may end in a bare traceback
        known = _known(error)
        return _tell(known, debug, json_lines) if known else _bug(error, debug, json_lines)


def _known(error: Exception) -> TutelageError | None:
    """An operating system error in the words of `errors.py`, or None."""
    if not isinstance(error, OSError) or error.errno is None:
        return None
    where = str(error.filename) if error.filename else None
    reason = error.strerror or str(error)
    if error.errno in _DISK:
        return DiskError(reason, where=where, fix="make room (or mend the disk), then run the same command again")
    if error.errno in (errno.EACCES, errno.EPERM):
        return DeniedError(reason, where=where, fix="choose a place that you may read and write")
    if error.errno == errno.ENOENT and where:
        return MissingInputError(f"there is no '{where}'")
    return None


def _tell(error: TutelageError, debug: bool, json_lines: bool) -> int:
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    details = [note for note in getattr(error, "__notes__", []) if note.startswith("details: ")]
    print("\n  ".join([f"error: {error}", *details]), file=sys.stderr)
    if json_lines:
        report = {"error": error.what, "where": error.where, "fix": error.fix, "exit_code": error.exit_code}
        print(json.dumps(report, ensure_ascii=False), flush=True)
    return error.exit_code


def _bug(error: Exception, debug: bool, json_lines: bool) -> int:
    text = without_secrets("".join(traceback.format_exception(error)))
    first = (str(error).strip().splitlines() or [""])[0][:300]
    what = without_secrets(f"{type(error).__name__}: {first}" if first else type(error).__name__)
    if debug:
        print(text, file=sys.stderr)
    bug = TutelageError(what, where=f"the traceback is in {_save(text)}", fix=_advice(error))
    return _tell(bug, False, json_lines)


def _advice(error: Exception) -> str:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "not enough memory: shorten --max-length, or set --tokens-per-part lower"
    return "this is a bug of ours: please report it with that file (--debug shows it here)"


def _save(text: str) -> str:
    """Write the traceback where only its owner reads it."""
    try:
        handle, name = tempfile.mkstemp(prefix="tutelage-crash-", suffix=".txt")
        os.close(handle)
        Path(name).write_text(text, encoding="utf-8")
    except OSError:
        return "no file (the temporary folder cannot be written); add --debug to see it"
    return name


def without_secrets(text: str) -> str:
    """`text` without the values of environment variables that are named like secrets."""
    for name, value in os.environ.items():
        if len(value) >= 8 and any(name.upper().endswith(word) for word in _SECRET):
            text = text.replace(value, f"<{name}>")
    return text
