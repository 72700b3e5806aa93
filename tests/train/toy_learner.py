"""A learner of a few dozen weights on which the run folder is tried: dropout, critic, state, evaluation and all."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tutelage.errors import TutelageError
from tutelage.train.run import Run


class Toy:
    """Regression with dropout: its numbers depend on weights, moments, the global generator and `calls`."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.policy = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.BatchNorm1d(8), nn.Linear(8, 1))
        self.frozen = nn.Linear(1, 1)
        self.policy[0].bias.requires_grad_(False)
        self.calls = 0
        self.reason: str | None = None
        self.spoil_at = -1

    def loss(self, step: int) -> Tensor:
        self.calls += 1
        inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        loss = (self.policy(inputs)[:, 0] - inputs.sum(1)).square().mean()
        return loss * float("nan") if step == self.spoil_at else loss

    def modules(self) -> dict[str, nn.Module]:
        return {"policy": self.policy}

    def state(self) -> dict[str, Any]:
        return {"calls": self.calls}

    def restore(self, state: dict[str, Any]) -> None:
        self.calls = state["calls"]

    def texts(self) -> list[dict[str, Any]]:
        return [{"prompt": "问", "completion": f"answer {self.calls}"}]

    def stop(self) -> str | None:
        return self.reason

    def evaluate(self) -> dict[str, float]:
        return {"eval/draw": float(torch.rand(()))}

    def export(self, folder: Path) -> None:
        save_file(
            {name: value.contiguous() for name, value in self.policy.state_dict().items()}, folder / "w.safetensors"
        )


class Adam:
    """torch's Adam in the clothes that a run expects."""

    def __init__(self, toy: Toy) -> None:
        self.names = {name: p for name, p in toy.policy.named_parameters() if p.requires_grad}
        self.adam = torch.optim.Adam(self.names.values(), lr=0.01)

    def step(self, loss: Tensor) -> None:
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()

    def tensors(self) -> dict[str, Tensor]:
        return {f"{n}/{key}": v for n, p in self.names.items() for key, v in self.adam.state.get(p, {}).items()}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        for path, value in tensors.items():
            name, _, key = path.rpartition("/")
            self.adam.state[self.names[name]][key] = value

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        pass


def options(steps: int, **more: Any) -> dict[str, Any]:
    """What `Run` wants to know."""
    config = {"learning_rate": 1e-5, "data": "", "nested": {"names": ["一", "b"]}, "steps": steps}
    defaults = {"command": "toy", "config": config, "origins": {"nested.names": "flag --names"}, "steps": steps}
    return {**defaults, "save_every": 3, "eval_every": 5, "quiet": True, **more}


def learn(
    folder: Path, steps: int = 20, *, toy: Toy | None = None, each: Callable[[int], None] | None = None, **more: Any
) -> Toy:
    """The loop of train/loop.py in short; `each` is called inside every step."""
    torch.set_num_threads(1)
    toy = toy or Toy()
    adam = Adam(toy)
    with Run(folder, **options(steps, **more)) as run:
        if run.done:
            return toy
        run.resume(toy, adam)
        for step in run.steps():
            loss = toy.loss(step)
            adam.step(loss)
            if each:
                each(step)
            run.finish(step, toy, adam, {"loss": float(loss.detach()), "time/step": time.monotonic()})
        run.complete(toy)
    return toy


def slow(step: int) -> None:
    """Makes a step long enough to be hit by a signal."""
    time.sleep(0.02)


def main(folder: str, steps: int) -> None:
    """Run as a process of its own, with the exit codes of the command line."""
    try:
        learn(Path(folder), steps, each=slow, quiet=False)
    except KeyboardInterrupt:
        sys.exit(130)
    except TutelageError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


def dying_main(folder: str, steps: int, operation: int) -> None:
    """Die at the n-th operation that makes something durable, as if the power went."""
    import os

    left = operation

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def operate(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os._exit(99)
            return real(*args, **kwargs)

        return operate

    for name in ("fsync", "rename", "replace", "mkdir", "rmdir", "unlink", "ftruncate"):
        setattr(os, name, counted(getattr(os, name)))
    learn(Path(folder), steps)
