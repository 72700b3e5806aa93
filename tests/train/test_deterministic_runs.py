"""`--deterministic` refuses nothing that training needs, and on a processor changes no bit: runs repeat without it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from real_runs import rows, train
from safetensors.torch import load_file

MORE: dict[str, dict[str, Any]] = {
    "sft": {"gradient_checkpointing": "on"},
    "reward": {},
    "dpo": {},
    "ppo": {"max_new_tokens": 8, "reward": "real_runs:reward", "critic_init": "zero"},
}


@pytest.mark.parametrize("engine", ["auto", "plain"])
@pytest.mark.parametrize("command", MORE)
def test_the_weights_are_those_of_a_run_without_it(command: str, engine: str, tmp_path: Path, tiny_model: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows(command)), encoding="utf-8")
    flags = {"model": str(tiny_model), "data": str(data), "steps": 2, "batch_size": 4, "engine": engine}
    found = list[dict[str, torch.Tensor]]()
    for deterministic in (True, False):
        out = tmp_path / str(deterministic)
        train(command, {**flags, **MORE[command], "deterministic": deterministic, "out": str(out)})
        found.append(load_file(out / "model/model.safetensors"))
        assert not torch.are_deterministic_algorithms_enabled()
    for name, weight in found[0].items():
        assert torch.equal(weight, found[1][name]), name
