"""The secret of one installation: random bytes in a file that only its owner can read, made at the first start."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from pathlib import Path

from tutelage.errors import CannotCreateError, DeniedError

BYTES = 32


def place(url: str, given: str = "") -> Path:
    """Where the secret of a database lies: beside its file, or below the user's state folder for a server."""
    if given:
        return Path(given)
    if "://" not in url:
        return Path(f"{url}.secret")
    if url.startswith("sqlite:///"):
        return Path(f"{url.removeprefix('sqlite:///')}.secret")
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "tutelage" / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.secret"


def secret_at(path: Path) -> bytes:
    """The secret in that file, which is made (0600) when it is not there.

    Raises:
        DeniedError: others can read it, or we cannot. CannotCreateError: it cannot be made, or holds something else.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return _read(path)
    except OSError as error:
        raise CannotCreateError(f"cannot make the secret: {error.strerror}", where=str(path)) from error
    with os.fdopen(handle, "wb") as file:
        file.write(secrets.token_bytes(BYTES))
        file.flush()
        os.fsync(file.fileno())
    return _read(path)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            found = file.read(BYTES + 1)
    except OSError as error:
        raise DeniedError(f"cannot read the secret: {error.strerror}", where=str(path)) from error
    if mode & 0o077:
        fix = f"chmod 600 {path}; remove it if others may have read it (everybody must then be invited again)"
        raise DeniedError(f"others can read the secret (mode {mode:04o})", where=str(path), fix=fix)
    if len(found) != BYTES:
        fix = "remove it if it is a leftover; a new one is made, and everybody must be invited again"
        raise CannotCreateError(f"this is no secret: {len(found)} bytes, not {BYTES}", where=str(path), fix=fix)
    return found
