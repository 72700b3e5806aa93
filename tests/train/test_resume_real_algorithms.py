"""Kill -9 in the middle of pretrain, sft, sft with LoRA, reward, dpo and ppo: the same command, the same bits."""

from __future__ import annotations

import json
import signal
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
from real_runs import rows, train

pytestmark = pytest.mark.slow
COMMANDS: dict[str, dict[str, Any]] = {
    "pretrain": {"max_length": 64},
    "sft": {},
    "sft-lora": {"lora": True},
    "reward": {},
    "dpo": {},
    "ppo": {"max_new_tokens": 8, "reward": "real_runs:reward", "critic_init": "zero"},
}


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_in_the_middle_it_ends_in_the_same_bits(
    name: str, tmp_path: Path, tiny_model: Path, processes: ForkServerContext
) -> None:
    command = name.partition("-")[0]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows(command)), encoding="utf-8")
    flags = {"model": str(tiny_model), "data": str(data), "steps": 12, "batch_size": 4, "save_every": 2, "seed": 3}
    flags |= COMMANDS[name]

    killed = {**flags, "out": str(tmp_path / "killed")}
    for lines in (1, 5, 8):
        process = processes.Process(target=train, args=(command, killed))
        process.start()
        kill_after(lines, tmp_path / "killed/metrics.jsonl", process)
        process.join(120)
        assert process.exitcode in (0, -signal.SIGKILL)
    process = processes.Process(target=train, args=(command, killed))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    process = processes.Process(target=train, args=(command, {**flags, "out": str(tmp_path / "through")}))
    process.start()
    process.join(120)
    assert process.exitcode == 0

    assert bits(tmp_path / "killed") == bits(tmp_path / "through")


def kill_after(lines: int, journal: Path, process: Any) -> None:
    """SIGKILL as soon as the journal has more than `lines` lines."""
    deadline = time.monotonic() + 120
    while process.is_alive() and time.monotonic() < deadline:
        if journal.exists() and journal.read_bytes().count(b"\n") > lines:
            process.kill()
            return
        time.sleep(0.002)


def bits(run: Path) -> dict[str, Any]:
    """All weights and moments, and the numbers of every step."""
    last = run / "checkpoints/step-00000012"
    files = {path.name: path.read_bytes() for path in [*last.glob("*.safetensors"), *run.glob("model/*.safetensors")]}
    assert len(files) >= 3
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return files | {"metrics": [{k: v for k, v in line.items() if not k.startswith("time")} for line in lines]}
