"""Out of memory: the same batch in smaller parts, to the same gradient, and remembered over a restart."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tutelage.algorithms import TrainConfig
from tutelage.batches import Loss, TokenBatch
from tutelage.train.optim import Optimizer


class Narrow:
    """An algorithm whose memory holds `room` tokens at a time."""

    def __init__(self, room: int, error: Exception) -> None:
        torch.manual_seed(0)
        self.room, self.error = room, error
        self.model = nn.Linear(1, 1)
        self.seen: list[int] = []

    def modules(self) -> dict[str, nn.Module]:
        return {"model": self.model}

    def learning_rates(self) -> dict[str, float]:
        return {"model": 0.1}

    def loss(self, batch: TokenBatch) -> Loss:
        if len(batch.tokens) > self.room:
            raise self.error
        self.seen.append(len(batch.tokens))
        total = self.model(batch.tokens[:, None].float() / 100).square().mean()
        return Loss(total, torch.tensor(float(len(batch.tokens))), {})


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory."),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
]


def batch() -> TokenBatch:
    return TokenBatch.of([(list(range(length)), [False] + [True] * (length - 1)) for length in (30, 20, 10, 25, 15)])


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_the_step_is_that_of_the_whole_batch_and_smaller_parts_stay(error, caplog):
    roomy, narrow = Narrow(1000, error), Narrow(40, error)
    steps = [Optimizer(algorithm, TrainConfig(), 10) for algorithm in (roomy, narrow)]
    for optimizer, algorithm in zip(steps, (roomy, narrow), strict=True):
        optimizer.begin(5)
        optimizer.step(algorithm, batch())
    assert roomy.seen == [100] and max(narrow.seen) <= 40
    for ours, theirs in zip(narrow.model.parameters(), roomy.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    assert "memory does not suffice" in caplog.text
    again = Optimizer(narrow, TrainConfig(), 10)
    again.restore(steps[1].state())
    caplog.clear()
    again.step(narrow, batch())
    assert not caplog.text, "after a restart parts are small at once"


def test_when_not_even_one_element_fits_it_says_what_to_do():
    narrow = Narrow(29, MemoryError())
    with pytest.raises(MemoryError, match="lower --max-length"):
        Optimizer(narrow, TrainConfig(), 10).step(narrow, batch())


def test_other_errors_are_not_taken_for_want_of_memory():
    narrow = Narrow(29, RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        Optimizer(narrow, TrainConfig(), 10).step(narrow, batch())
