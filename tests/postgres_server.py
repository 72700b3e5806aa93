"""A PostgreSQL of the tests' own: found on this machine, started on a free port in a new folder, stopped at the end."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def server() -> Iterator[str]:
    """The SQLAlchemy URL of an empty server; skips, saying why, where there is no PostgreSQL."""
    programs = _programs()
    user = _user()
    with tempfile.TemporaryDirectory(prefix="tutelage-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, user)
        data, port = folder / "data", _free_port()
        _run([str(programs / "initdb"), "-D", str(data), "-A", "trust", "-U", "tutelage", "-E", "UTF8"], user)
        options = f"-p {port} -k {folder} -h 127.0.0.1 -c fsync=off -c max_connections=120"
        control = [str(programs / "pg_ctl"), "-D", str(data), "-w"]
        _run([*control, "-l", str(folder / "log"), "-o", options, "start"], user)
        try:
            yield f"postgresql+psycopg://tutelage@127.0.0.1:{port}/postgres"
        finally:
            _run([*control, "-m", "immediate", "stop"], user)


def _programs() -> Path:
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("NOT TESTED ON POSTGRESQL: psycopg is not installed (pip install 'tutelage[postgres]')")
    found = [Path(path).resolve().parent for path in [shutil.which("initdb") or ""] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in found:
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    pytest.skip("NOT TESTED ON POSTGRESQL: no initdb on this machine (apt-get install postgresql)")


def _user() -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _run(command: list[str], user: str | None) -> None:
    done = subprocess.run(
        command, user=user, capture_output=True, text=True, check=False, cwd="/", stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
