"""Kill -9 at any moment, the same command, the same bits."""

from __future__ import annotations

import json
import random
import signal
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import toy_learner

STEPS = 20


def fingerprint(folder: Path) -> dict[str, Any]:
    """Everything that must be the same: weights, moments, generators, lines without their times."""
    last = folder / "checkpoints" / f"step-{STEPS:08d}"
    files = {path.name: path.read_bytes() for path in [*last.glob("*.safetensors"), *folder.glob("model/*")]}
    state = json.loads((last / "state.json").read_text())
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    numbers = [{key: value for key, value in line.items() if not key.startswith("time")} for line in lines]
    return files | {
        "state": {**state, "run": {**state["run"], "seconds": 0, "metrics_bytes": 0}},
        "metrics": numbers,
        "samples": (folder / "samples.jsonl").read_bytes(),
    }


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("through") / "run"
    toy_learner.learn(folder, STEPS)
    return fingerprint(folder)


@pytest.mark.parametrize("trial", range(3))
def test_killed_at_random_moments_ends_in_the_same_bits(
    trial: int, through: dict[str, Any], tmp_path: Path, processes: ForkServerContext
) -> None:
    rng, folder, kills = random.Random(trial), tmp_path / "run", 0
    while not (folder / "done.json").exists():
        process = processes.Process(target=toy_learner.main, args=(str(folder), STEPS))
        process.start()
        if kills < 4:
            wait_for_line(folder, process)
            time.sleep(rng.uniform(0, 0.3))
            process.kill()
        process.join(60)
        kills += process.exitcode == -signal.SIGKILL
        assert process.exitcode in (0, -signal.SIGKILL)
    assert kills >= 1
    assert fingerprint(folder) == through


def wait_for_line(folder: Path, process: Any) -> None:
    """Until the process has taken the lock, so that kills fall into its work and not into its start."""
    deadline = time.monotonic() + 30
    lock = folder / "run.lock"
    while process.is_alive() and time.monotonic() < deadline:
        if lock.exists() and str(process.pid) in lock.read_text():
            return
        time.sleep(0.005)


@pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_dead_at_the_nth_durable_operation_ends_in_the_same_bits(
    stride: int, tmp_path: Path, processes: ForkServerContext
) -> None:
    steps = 6
    toy_learner.learn(tmp_path / "through", steps)
    expected = (tmp_path / "through/model/w.safetensors").read_bytes()
    died, operation = 0, 0
    while True:
        operation += stride
        folder = tmp_path / f"run-{operation}"
        process = processes.Process(target=toy_learner.dying_main, args=(str(folder), steps, operation))
        process.start()
        process.join(60)
        if process.exitcode != 99:
            assert process.exitcode == 0
            break
        died += 1
        toy_learner.learn(folder, steps)
        assert (folder / "model/w.safetensors").read_bytes() == expected
        assert not [*folder.glob(".tmp-*"), *folder.glob("checkpoints/.tmp-*")]
        assert json.loads((folder / "done.json").read_text())["steps"] == steps
    assert died > 10


def test_stopping_at_a_checkpoint_and_going_on_with_more_steps_equals_going_through(tmp_path: Path) -> None:
    toy_learner.learn(tmp_path / "run", 9, eval_every=1)
    toy_learner.learn(tmp_path / "run", STEPS, eval_every=1)
    toy_learner.learn(tmp_path / "through", STEPS, eval_every=1)
    assert fingerprint(tmp_path / "run") == fingerprint(tmp_path / "through")
