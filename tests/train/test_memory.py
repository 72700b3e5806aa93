"""Out of memory: the same batch in smaller parts, to the same gradient, and remembered over a restart."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tutelage.algorithms import TrainConfig
from tutelage.batches import Loss, TokenBatch
from tutelage.models.load import load_policy
from tutelage.models.policy import Policy
from tutelage.ops import memory
from tutelage.train.optim import Optimizer
from tutelage.train.room import shape_of


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


class Speaks(Narrow):
    """A language model, whose memory is estimated."""

    def __init__(self, policy) -> None:
        super().__init__(10**6, MemoryError())
        self.policy = policy

    def modules(self) -> dict[str, nn.Module]:
        return {"policy": self.policy}

    def learning_rates(self) -> dict[str, float]:
        return {"policy": 0.1}


def test_parts_are_what_free_memory_holds_and_stay_so_over_a_restart(tiny_model, monkeypatch):
    policy = load_policy(str(tiny_model), device="cpu")
    found = dict[int, int]()
    for mib in (8, 64, 4096):
        monkeypatch.setattr(memory, "free_bytes", lambda mib=mib: mib * 2**20)
        optimizer = Optimizer(Speaks(policy), TrainConfig(), 10)
        found[mib] = policy.room.tokens
        assert optimizer.state() == {"tokens_per_part": found[mib]}
    assert found[8] < found[64] < found[4096] == 8192 and all(size & (size - 1) == 0 for size in found.values())
    optimizer.restore({"tokens_per_part": found[64]})
    assert policy.room.tokens == found[64], "what is asked without a gradient is cut as before too"
    Optimizer(Speaks(policy), TrainConfig(tokens_per_part=300), 10)
    assert policy.room.tokens == 300


def test_an_estimate_leaves_room_for_gradients_and_moments():
    shape = memory.Shape(10**6, 10**6, layers=4, width=64, inner=256, number_bytes=4)
    needed = 14 * 10**6
    assert memory.tokens_that_fit([shape], needed, 8192) == 256, "parts never vanish: one row is tried, then halved"
    assert memory.tokens_that_fit([shape], needed + 2 * 1024 * shape.per_token, 8192) == 1024
    assert memory.tokens_that_fit([shape] * 2, 2 * needed + 4 * 1024 * shape.per_token, 8192) == 1024
    assert memory.tokens_that_fit([shape], needed + 2 * 1024 * shape.per_token - 2, 8192) == 512


def test_a_row_that_does_not_fit_is_learned_with_its_layers_computed_again(tiny_model, monkeypatch, caplog):
    policy = load_policy(str(tiny_model), device="cpu")
    shape = shape_of(policy)
    free = shape.trained * 12 + shape.parameters * 2 + 2 * 60 * shape.per_token
    monkeypatch.setattr(memory, "free_bytes", lambda: free)
    fits = memory.fitting([shape], free)
    assert fits == 60
    learner = Teaches(policy)
    optimizer = Optimizer(learner, TrainConfig(tokens_per_part=fits), 10)
    optimizer.step(learner, rows_of(fits // 2, fits // 2))
    assert learner.again == [False], "all of it fits"
    optimizer.step(learner, rows_of(fits + 1, 5))
    assert learner.again == [False, True, False], "the long one alone, then the short one"
    assert caplog.text.count("computed again") == 1


def test_memory_that_runs_out_at_one_element_is_tried_again_with_layers_computed_again(tiny_model):
    for setting, happens in (("auto", [False, True]), ("off", [False]), ("on", [True])):
        learner = Teaches(load_policy(str(tiny_model), device="cpu"), fails=1)
        optimizer = Optimizer(learner, TrainConfig(gradient_checkpointing=setting), 10)
        if setting != "auto":
            with pytest.raises(MemoryError, match="lower --max-length"):
                optimizer.step(learner, rows_of(50))
        else:
            optimizer.step(learner, rows_of(50))
        assert learner.again == happens
    never = Teaches(load_policy(str(tiny_model), device="cpu"), fails=2)
    with pytest.raises(MemoryError, match="lower --max-length"):
        Optimizer(never, TrainConfig(), 10).step(never, rows_of(50))


def test_layers_are_always_computed_again_where_that_is_asked_for(tiny_model, caplog):
    learner = Teaches(load_policy(str(tiny_model), device="cpu"))
    Optimizer(learner, TrainConfig(gradient_checkpointing="on"), 10).step(learner, rows_of(5))
    assert learner.again == [True] and not caplog.text


class Teaches(Narrow):
    """A language model that learns, and remembers whether its layers were to be computed again."""

    def __init__(self, policy: Policy, fails: int = 0) -> None:
        super().__init__(10**6, MemoryError())
        self.policy, self.fails, self.again = policy, fails, list[bool]()

    def modules(self) -> dict[str, nn.Module]:
        return {"policy": self.policy}

    def learning_rates(self) -> dict[str, float]:
        return {"policy": 0.1}

    def loss(self, batch: TokenBatch) -> Loss:
        self.again.append(self.policy.room.recompute)
        if len(self.again) <= self.fails:
            raise MemoryError
        total = -self.policy.logprobs(batch).logprobs.mean()
        return Loss(total, torch.tensor(float(len(batch.tokens))), {})


def rows_of(*lengths: int) -> TokenBatch:
    return TokenBatch.of([([place % 50 for place in range(n)], [False] + [True] * (n - 1)) for n in lengths])
