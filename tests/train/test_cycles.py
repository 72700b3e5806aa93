"""Tensors go when nothing names them any more: none waits for Python to look for cycles, which it seldom does."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest
from real_runs import rows, train
from torch import Tensor

from tutelage.train.optim import Optimizer

AGAIN = {"engine": "plain", "gradient_checkpointing": "on"}
ANSWERS = {"max_new_tokens": 8, "reward": "real_runs:reward", "critic_init": "zero"}


@pytest.mark.parametrize(
    ("command", "more"), [("sft", {}), ("sft", AGAIN), ("dpo", {}), ("ppo", ANSWERS), ("ppo", ANSWERS | AGAIN)]
)
def test_no_tensor_of_a_step_is_held_by_a_cycle(
    command: str, more: dict[str, Any], tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows(command)), encoding="utf-8")
    real, found, steps = Optimizer.step, list[Any](), 0

    def step(self: Optimizer, *given: Any) -> dict[str, float]:
        nonlocal steps
        steps += 1
        gc.collect()
        found.extend(each for each in gc.garbage if isinstance(each, Tensor))
        gc.garbage.clear()
        if steps == 2:  # what the start leaves is gone
            gc.freeze()  # so that the next looks are at what is new
            gc.set_debug(gc.DEBUG_SAVEALL)
        return real(self, *given)

    monkeypatch.setattr(Optimizer, "step", step)
    flags = {"model": str(tiny_model), "data": str(data), "out": str(tmp_path / "out"), "steps": 4, "batch_size": 4}
    try:
        train(command, {**flags, **more, "save_every": 2})
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.unfreeze()
    assert steps >= 4 and not found
