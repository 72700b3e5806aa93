"""`--deterministic` refuses nothing that training needs, and on a processor changes no bit: runs repeat without it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from real_runs import rows, train
from safetensors.torch import load_file

from tutelage.errors import UsageError
from tutelage.train._fixed_order import fixed_order

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


def test_what_pytorch_refuses_is_one_clear_error_and_other_errors_stay_as_they_are() -> None:
    with (
        pytest.raises(UsageError, match="put_ does not have a deterministic implementation\n") as found,
        fixed_order(True),
    ):
        torch.zeros(4).put_(torch.tensor([0, 1]), torch.ones(2))
    assert found.value.where == "--deterministic" and "leave it out" in str(found.value.fix)
    with pytest.raises(RuntimeError, match="size"), fixed_order(True):
        torch.dot(torch.zeros(2), torch.zeros(3))
    assert not torch.are_deterministic_algorithms_enabled()
