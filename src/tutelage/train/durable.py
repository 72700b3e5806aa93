"""Files written so that after a crash there is the old one or the new one, never half of one."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tutelage.errors import DeniedError, DiskError, TutelageError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def guarded(path: Path, needed: int = 0) -> Generator[None]:
    """Run a block that writes to `path`; what the operating system refuses becomes an error with the way out.

    Args:
        needed: bytes about to be written, named in the message when the disk is full; 0 = unknown.

    Raises:
        DiskError: the disk is full or reading or writing failed; DeniedError: permission is missing.
    """
    try:
        yield
    except TutelageError:
        raise
    except OSError as error:
        raise _translated(error.errno, error.strerror or str(error), path, needed) from error
    except Exception as error:
        # safetensors reports the operating system's errors as text only
        if type(error).__name__ != "SafetensorError" or "os error" not in str(error):
            raise
        code = next((code for code in _FULL | _DENIED if f"os error {code}" in str(error)), None)
        raise _translated(code, str(error), path, needed) from error


def free_bytes(path: Path) -> int:
    """Bytes still free on the disk that holds `path` (or its nearest existing parent)."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def full_disk(path: Path, needed: int) -> DiskError:
    """The error for a disk without room for `needed` bytes at `path`."""
    wanted = f"{human(needed)} needed, " if needed else ""
    return DiskError(
        f"disk full: {wanted}{human(free_bytes(path))} free",
        where=str(path),
        fix="free some space, then run the same command again: it goes on from the last checkpoint",
    )


def human(size: int) -> str:
    """1536 → "1.5 KiB"."""
    value = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def sync_file(path: Path) -> None:
    """Push a file's bytes to the disk itself."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Push a folder's list of names to the disk itself; renames are durable only after this."""
    sync_file(folder)


def sync_tree(folder: Path) -> None:
    """Push everything below `folder` to the disk, files first."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if not path.is_symlink():
            sync_file(path)
    sync_folder(folder)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in one step that survives a power cut."""
    data = text.encode()
    with guarded(path, len(data)):
        draft = path.with_name(f".tmp-{path.name}-{os.getpid()}")
        try:
            draft.write_bytes(data)
            sync_file(draft)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(path.parent)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace `path` by `value` as indented JSON, in one step that survives a power cut."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def swap_folder(draft: Path, target: Path) -> None:
    """Put the finished folder `draft` in the place of `target`; an older `target` goes only once the new one is in."""
    old = target.with_name(f".tmp-old-{target.name}-{os.getpid()}")
    if target.exists():
        target.rename(old)
    draft.rename(target)
    sync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what a killed process left half-written (`.tmp-*`) directly under `folder`."""
    for path in folder.glob(".tmp-*"):
        with guarded(path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _translated(code: int | None, text: str, path: Path, needed: int) -> TutelageError:
    if code in _FULL:
        return full_disk(path, needed)
    if code in _DENIED:
        fix = "choose another --out, or mend the permissions"
        return DeniedError(f"cannot write: {text}", where=str(path), fix=fix)
    return DiskError(f"reading or writing failed: {text}", where=str(path), fix="check the disk, then run again")
