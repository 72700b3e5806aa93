"""A command on a leash: it is the command, and it is gone when whoever holds its stdin is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from sampling_room import processes, until
from tutelage import __version__

LEASH = (sys.executable, "-P", "-m", "tutelage.cli._leash")


def test_it_is_the_command_and_its_exit_code():
    for words, code, said in ((["--version"], 0, f"tutelage {__version__}\n"), (["nonsense"], 2, "")):
        with subprocess.Popen(
            [*LEASH, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as held:
            assert held.stdout is not None
            assert (held.stdout.read(), held.wait(60)) == (said, code)


def test_it_ends_when_its_stdin_does(tmp_path: Path):
    db = tmp_path / "held.db"
    with subprocess.Popen(
        [*LEASH, "rate", "serve", "--db", str(db), "--port", "0", "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as held:
        assert held.stdout is not None and held.stdin is not None
        assert held.stdout.readline()
        assert os.getpriority(os.PRIO_PROCESS, held.pid) > os.getpriority(os.PRIO_PROCESS, 0), "others come first"
        held.stdin.close()
        assert held.wait(30) == 143


def test_it_ends_with_whoever_started_it_however_they_end(tmp_path: Path):
    db = tmp_path / "orphan.db"
    words = [*LEASH, "rate", "serve", "--db", str(db), "--port", "0"]
    program = f"import subprocess; p = subprocess.Popen({words!r}, stdin=subprocess.PIPE); p.wait()"
    with subprocess.Popen([sys.executable, "-c", program], start_new_session=True, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline()
        assert processes("_leash", str(db))
        holder.send_signal(signal.SIGKILL)
        until(lambda: not processes("_leash", str(db)), "the command has ended too")
