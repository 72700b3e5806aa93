"""A PostgreSQL of the tests' own: found on this machine, started on a free port in a new folder, stopped at the end.

One server for each process of the tests (fixture `postgres_url` of conftest.py), a new database for each test.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def server() -> Iterator[str]:
    """The SQLAlchemy URL of an empty server; skips, saying why, where there is no PostgreSQL."""
    with restartable() as (url, _):
        yield url


@contextmanager
def restartable() -> Iterator[tuple[str, Callable[[str], None]]]:
    """The URL of an empty server, and what stops, starts and restarts it ("stop", "start", "restart")."""
    programs = _programs()
    user = _user()
    with tempfile.TemporaryDirectory(prefix="tutelage-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, user)
        data, port = folder / "data", _free_port()
        _run([str(programs / "initdb"), "-D", str(data), "-A", "trust", "-U", "tutelage", "-E", "UTF8"], user)
        options = f"-p {port} -k {folder} -h 127.0.0.1 -c fsync=off -c full_page_writes=off -c max_connections=120"
        control = [str(programs / "pg_ctl"), "-D", str(data), "-w"]

        def act(what: str) -> None:
            how = ["-m", "fast"] if what != "start" else []
            begin = ["-l", str(folder / "log"), "-o", options] if what != "stop" else []
            _run([*control, *how, *begin, what], user)

        act("start")
        try:
            yield f"postgresql+psycopg://tutelage@127.0.0.1:{port}/postgres", act
        finally:
            _run([*control, "-m", "immediate", "stop"], user)


@contextmanager
def database(server_url: str) -> Iterator[str]:
    """The URL of a new empty database on a server."""
    import psycopg

    name = f"t{uuid.uuid4().hex}"
    plain = server_url.replace("+psycopg", "")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
    yield server_url.rpartition("/")[0] + f"/{name}"
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _programs() -> Path:
    """The newest server's programs: on the path, where pg_config says, where Debian and Homebrew put them."""
    found = [Path(path).resolve().parent for path in [shutil.which("initdb") or ""] if path]
    if config := shutil.which("pg_config"):
        found.append(Path(subprocess.run([config, "--bindir"], capture_output=True, text=True).stdout.strip()))
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/opt/homebrew/opt").glob("postgresql*/bin")]
    found += sorted(places, key=lambda place: [int(part) for part in re.findall(r"\d+", str(place))], reverse=True)
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
