"""A run whose layers are computed again ends with the weights of one that keeps all in them, also from the middle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from real_runs import rows, train
from safetensors.torch import load_file
from torch import Tensor

from tutelage.train.optim import Optimizer

MORE: dict[str, dict[str, Any]] = {
    "dpo": {"lora": True},
    "ppo": {"max_new_tokens": 8, "reward": "real_runs:reward", "critic_init": "zero"},
}


def asked(command: str, model: Path, folder: Path) -> dict[str, Any]:
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows(command)), encoding="utf-8")
    return {"model": str(model), "data": str(data), "steps": 3, "batch_size": 4, **MORE.get(command, {})}


def weights(run: Path) -> dict[str, Tensor]:
    (file,) = (run / "model").glob("*.safetensors")
    return load_file(file)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(weight, other[name]) for name, weight in one.items())


@pytest.mark.parametrize("engine", ["auto", "plain"])
@pytest.mark.parametrize("command", MORE)
def test_the_weights_are_those_of_a_run_that_keeps_all(
    command: str, engine: str, tmp_path: Path, tiny_model: Path
) -> None:
    flags = asked(command, tiny_model, tmp_path) | {"engine": engine}
    for how in ("off", "on"):
        train(command, {**flags, "gradient_checkpointing": how, "out": str(tmp_path / how)})
    assert same(weights(tmp_path / "off"), weights(tmp_path / "on"))


def test_a_run_that_ended_for_want_of_memory_goes_on_with_layers_computed_again(
    tmp_path: Path, tiny_model: Path
) -> None:
    flags = asked("sft", tiny_model, tmp_path) | {"save_every": 1}
    train("sft", {**flags, "out": str(tmp_path / "whole")})
    real, steps = Optimizer.step, 0

    def step(self: Optimizer, *given: Any) -> dict[str, float]:
        nonlocal steps
        steps += 1
        if steps == 3:
            raise MemoryError
        return real(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Optimizer, "step", step)
        with pytest.raises(MemoryError):
            train("sft", {**flags, "out": str(tmp_path / "ended")})
    train("sft", {**flags, "out": str(tmp_path / "ended"), "gradient_checkpointing": "on"})
    assert steps == 3 and same(weights(tmp_path / "whole"), weights(tmp_path / "ended"))
