"""Signals: finish the step, save, leave with the agreed code; a second Ctrl-C leaves at once."""

from __future__ import annotations

import json
import os
import signal
import time
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from toy_learner import learn, main

STEPS = 150


def started(processes: ForkServerContext, folder: Path) -> BaseProcess:
    """A run that has written some lines."""
    process = processes.Process(target=main, args=(str(folder), STEPS))
    process.start()
    journal, deadline = folder / "metrics.jsonl", time.monotonic() + 60
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= 4):
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.005)
    return process


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["INT", "TERM", "HUP"]
)
def test_a_signal_ends_the_run_after_the_step_with_a_checkpoint_of_it(
    number: int, code: int, tmp_path: Path, processes: ForkServerContext
) -> None:
    process = started(processes, tmp_path / "run")
    assert process.pid
    signal_sent = time.monotonic()
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == code
    assert time.monotonic() - signal_sent < 10
    written = [json.loads(line)["step"] for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    newest = sorted((tmp_path / "run/checkpoints").iterdir())[-1].name
    assert newest == f"step-{written[-1]:08d}"


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path: Path, processes: ForkServerContext) -> None:
    process = started(processes, tmp_path / "run")
    process.terminate()
    process.join(60)
    assert process.exitcode == 143
    learn(tmp_path / "run", STEPS)
    learn(tmp_path / "through", STEPS)
    assert (tmp_path / "run/model/w.safetensors").read_bytes() == (
        tmp_path / "through/model/w.safetensors"
    ).read_bytes()


def test_a_second_interrupt_leaves_at_once_and_harms_nothing(tmp_path: Path, processes: ForkServerContext) -> None:
    process = started(processes, tmp_path / "run")
    assert process.pid
    os.kill(process.pid, signal.SIGSTOP)
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGCONT)
    time.sleep(0.005)
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    # 130 when the step was done before the second one came
    assert process.exitcode in (-signal.SIGINT, 130)
    learn(tmp_path / "run", STEPS)
    assert json.loads((tmp_path / "run/done.json").read_text())["steps"] == STEPS
