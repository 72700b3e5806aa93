"""Two runs on one folder: the second is told who is first."""

from __future__ import annotations

import json
import os
import socket
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from toy_learner import learn, main

from tutelage.errors import DiskError, TryAgainError
from tutelage.train.lock import Lock


def test_the_second_run_is_refused_with_the_pid_of_the_first(tmp_path: Path, processes: ForkServerContext) -> None:
    process = processes.Process(target=main, args=(str(tmp_path / "run"), 10_000))
    process.start()
    lock = tmp_path / "run/run.lock"
    deadline = time.monotonic() + 60
    while not (lock.exists() and str(process.pid) in lock.read_text()):
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(TryAgainError, match=f"pid {process.pid} on {socket.gethostname()}") as caught:
        learn(tmp_path / "run", 10_000)
    assert caught.value.exit_code == 75
    assert f"kill {process.pid}" in str(caught.value)
    process.kill()
    process.join(60)


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    path.write_text(json.dumps({"pid": 2**22 + 1, "host": socket.gethostname()}))
    lock = Lock(path)
    lock.acquire()
    assert json.loads(path.read_text())["pid"] == os.getpid()
    lock.release()
    assert path.read_text() == ""
    lock.release()


def test_even_the_same_process_cannot_hold_it_twice(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / "run.lock"), Lock(tmp_path / "run.lock")
    first.acquire()
    with pytest.raises(TryAgainError):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


@pytest.mark.parametrize("made_again", [False, True])
def test_a_run_whose_folder_was_removed_writes_nothing_into_the_next_one(made_again: bool, tmp_path: Path) -> None:
    lock = Lock(tmp_path / "run.lock")
    lock.acquire()
    lock.confirm()
    (tmp_path / "run.lock").unlink()
    other = Lock(tmp_path / "run.lock")
    if made_again:
        other.acquire()
        other.confirm()
    with pytest.raises(DiskError, match="removed or replaced") as told:
        lock.confirm()
    assert told.value.exit_code == 74 and told.value.where == str(tmp_path)
    lock.release()
    other.release()
