"""The optimiser step: rates that are a function of the step, parts that join exactly, norms held module by module."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests_support import batch_of, random_rows
from tutelage.algorithms import TrainConfig
from tutelage.algorithms._likelihood import token_loss
from tutelage.batches import Loss, Prompted, TokenBatch
from tutelage.errors import DivergedError
from tutelage.models.load import load_policy, load_scorer
from tutelage.models.lora import LoRA
from tutelage.ops import native
from tutelage.ops.adamw import AdamW
from tutelage.train.optim import Optimizer, parts, schedule

PLAIN = TrainConfig(learning_rate=0.1, warmup=0.0, schedule="constant", max_grad_norm=0.0)


@dataclass(frozen=True)
class Points:
    """Rows with a weight each; a row's size is how many tokens it pretends to have."""

    inputs: Tensor
    weights: Tensor
    tokens: list[int]

    def __len__(self) -> int:
        return len(self.inputs)

    def sizes(self) -> list[int]:
        return self.tokens

    def prompts(self) -> list[Prompted]:
        return [Prompted(0, bytes([row])) for row in range(len(self))]

    def select(self, rows: Sequence[int]) -> Points:
        return Points(self.inputs[list(rows)], self.weights[list(rows)], [self.tokens[row] for row in rows])


class Line:
    """Two modules that are pulled to 0: `small` a hundred times more gently than `large`."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.small, self.large = nn.Linear(3, 1), nn.Linear(3, 1)
        self.large.bias.requires_grad_(False)
        self.calls: list[list[int]] = []

    def modules(self) -> dict[str, nn.Module]:
        return {"small": self.small, "large": self.large}

    def learning_rates(self) -> dict[str, float]:
        return {"small": 0.1, "large": 0.2}

    def loss(self, batch: Points) -> Loss:
        self.calls.append(batch.tokens)
        each = 0.01 * self.small(batch.inputs)[:, 0].square() + self.large(batch.inputs)[:, 0].square()
        total = (each * batch.weights).sum() / batch.weights.sum()
        return Loss(total, batch.weights.sum(), {"loss/each": each.detach().mean(), "rows": float(len(batch))})


def sized(tokens: list[int]) -> Points:
    return Points(torch.zeros(len(tokens), 3), torch.ones(len(tokens)), tokens)


def points(count: int = 8) -> Points:
    draw = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, 3, generator=draw)
    return Points(inputs, 0.5 + torch.arange(count) % 3, [1 + index % 4 for index in range(count)])


def gradients(optimizer: Optimizer) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in optimizer.names.items() if p.grad is not None}


@pytest.mark.parametrize(
    ("kind", "shares"),
    [
        ("constant", [0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
        ("cosine", [0.5, 1, *(0.5 * (1 + math.cos(math.pi * k / 8)) for k in range(8))]),
    ],
)
def test_a_schedule_rises_and_falls_as_it_says(kind: str, shares: list[float]) -> None:
    assert [schedule(step, 10, 0.2, kind) for step in range(10)] == pytest.approx(shares)
    assert schedule(0, 10, 0.0, kind) == 1.0 and schedule(0, 1, 0.03, kind) == 1.0
    assert all(0 < schedule(step, 10, 1.0, kind) <= 1 for step in range(10)), "a warm-up over the whole run"


def test_the_rate_is_a_function_of_the_step_and_each_module_has_its_own_peak() -> None:
    optimizer = Optimizer(Line(), replace(PLAIN, schedule="linear"), steps=4)
    for step, share in [(3, 0.25), (0, 1.0), (2, 0.5)]:
        assert optimizer.begin(step) == pytest.approx(share)
        rates = {group["peak"]: group["lr"] for group in optimizer.adam.param_groups}
        assert rates == pytest.approx({0.1: 0.1 * share, 0.2: 0.2 * share})


def test_parts_hold_every_row_once_and_no_more_than_fits() -> None:
    sizes = [5, 1, 9, 3, 3, 7, 2]
    for limit in (1, 5, 8, 12, 29, 30, 100):
        cut = list(parts(sized(sizes), limit))
        assert sorted(row for rows in cut for row in rows) == list(range(len(sizes)))
        assert all(sum(sizes[row] for row in rows) <= limit or len(rows) == 1 for rows in cut)
        assert max(range(len(sizes)), key=sizes.__getitem__) in cut[0], "the largest comes first"
    assert list(parts(sized(sizes), 30)) == [[0, 1, 2, 3, 4, 5, 6]], "what fits is left in its order"


@pytest.mark.parametrize("limit", [1, 4, 7, 11])
def test_parts_of_uneven_weight_join_to_the_gradient_of_the_whole(limit: int) -> None:
    whole, cut = Line(), Line()
    one, other = Optimizer(whole, PLAIN, 1), Optimizer(cut, replace(PLAIN, tokens_per_part=limit), 1)
    wanted, found = one.step(whole, points()), other.step(cut, points())
    assert len(whole.calls) == 1 and len(cut.calls) > 1
    batch = points()
    each = 0.01 * whole.small(batch.inputs)[:, 0].square() + whole.large(batch.inputs)[:, 0].square()
    by_hand = torch.autograd.grad((each * batch.weights).sum() / batch.weights.sum(), whole.small.weight)[0]
    torch.testing.assert_close(gradients(one)["small.weight"], by_hand)
    for name, gradient in gradients(one).items():
        torch.testing.assert_close(gradients(other)[name], gradient, atol=1e-6, rtol=1e-6)
    assert found["loss"] == pytest.approx(wanted["loss"]) and found["gradient/large"] == pytest.approx(
        wanted["gradient/large"]
    )


def test_a_large_gradient_of_one_module_does_not_shrink_the_other() -> None:
    free, held = Line(), Line()
    loose, tight = Optimizer(free, PLAIN, 1), Optimizer(held, replace(PLAIN, max_grad_norm=0.5), 1)
    norms, told = loose.step(free, points()), tight.step(held, points())
    assert norms["gradient/large"] > 0.5 > norms["gradient/small"] > 0
    assert told["gradient/large"] == pytest.approx(norms["gradient/large"]), "what is reported is the norm before"
    now, before = gradients(tight), gradients(loose)
    assert float(now["large.weight"].norm()) == pytest.approx(0.5)
    torch.testing.assert_close(now["small.weight"], before["small.weight"])
    torch.testing.assert_close(now["large.weight"], before["large.weight"] * (0.5 / norms["gradient/large"]))


def test_only_matrices_decay_and_what_is_frozen_stays() -> None:
    line = Line()
    optimizer = Optimizer(line, replace(PLAIN, weight_decay=0.5), 1)
    assert set(optimizer.names) == {"small.weight", "small.bias", "large.weight"}
    decays = {id(p): group["weight_decay"] for group in optimizer.adam.param_groups for p in group["params"]}
    assert (decays[id(line.small.weight)], decays[id(line.small.bias)]) == (0.5, 0.0)


@pytest.mark.parametrize("spoilt", ["loss", "gradient", "weights"])
def test_a_step_that_went_wrong_changes_nothing(spoilt: str) -> None:
    line, batch = Line(), points()
    optimizer = Optimizer(line, PLAIN, 1)
    optimizer.begin(0)
    if spoilt == "loss":
        batch.inputs[3, 1] = float("nan")
    elif spoilt == "gradient":
        line.small.weight.register_hook(lambda gradient: gradient * float("inf"))
    else:
        batch.weights.zero_()
    before = {name: value.clone() for name, value in optimizer.names.items()}
    with pytest.raises(DivergedError) as caught:
        optimizer.step(line, batch)
    assert caught.value.fix and "Points of 8" in "".join(caught.value.__notes__), "the culprit is described"
    assert all(torch.equal(value, before[name]) for name, value in optimizer.names.items())
    assert optimizer.tensors() == {}, "no moment was touched"


def test_moments_come_back_bit_for_bit() -> None:
    line, other = Line(), Line()
    optimizer, again = Optimizer(line, PLAIN, 4), Optimizer(other, PLAIN, 4)
    for step in range(2):
        optimizer.begin(step)
        optimizer.step(line, points())
    kept = {name: value.clone() for name, value in optimizer.tensors().items()}
    assert {name.rpartition("/")[2] for name in kept} == {"exp_avg", "exp_avg_sq", "step"}
    other.small.load_state_dict(line.small.state_dict())
    other.large.load_state_dict(line.large.state_dict())
    again.load_tensors(kept)
    again.restore(optimizer.state())
    for one, learner in ((optimizer, line), (again, other)):
        one.begin(2)
        one.step(learner, points())
    assert all(torch.equal(value, again.tensors()[name]) for name, value in optimizer.tensors().items())
    assert all(torch.equal(value, again.names[name]) for name, value in optimizer.names.items())


@pytest.mark.parametrize("kind", ["policy", "scorer"])
def test_under_lora_only_the_adapter_and_a_scorers_head_learn(kind: str, tiny_model: Any) -> None:
    load = load_policy if kind == "policy" else load_scorer
    module = load(str(tiny_model), lora=LoRA(rank=2))

    class Owner:
        def modules(self) -> dict[str, nn.Module]:
            return {kind: module}

        def learning_rates(self) -> dict[str, float]:
            return {kind: 1e-3}

    names = list(Optimizer(Owner(), PLAIN, 1).names)
    heads = [name for name in names if "lora_" not in name]
    assert any("lora_A" in name for name in names) and len(heads) == (0 if kind == "policy" else 1), heads


class Taught:
    """A policy that learns a few sequences by heart."""

    def __init__(self, folder: Any, dtype: str) -> None:
        self.policy = load_policy(str(folder), dtype=dtype, device="cpu", engine="fast")

    def modules(self) -> dict[str, nn.Module]:
        return {"policy": self.policy}

    def learning_rates(self) -> dict[str, float]:
        return {"policy": 1e-2}

    def loss(self, batch: TokenBatch) -> Loss:
        return token_loss(self.policy, batch)


def taught(folder: Any, config: TrainConfig, dtype: str, loop: bool = True) -> tuple[Taught, Optimizer]:
    """One that has taken three steps by our own loop, or by PyTorch's AdamW."""
    learner = Taught(folder, dtype)
    optimizer = Optimizer(learner, config, 3)
    assert isinstance(optimizer.adam, AdamW)
    if not loop:
        betas, eps = (config.adam_beta1, config.adam_beta2), config.adam_eps
        optimizer.adam = torch.optim.AdamW(optimizer.adam.param_groups, betas=betas, eps=eps, fused=True)
    for step in range(3):
        optimizer.begin(step)
        norms = optimizer.step(learner, batch_of(random_rows((20, 3, 11))))
        assert norms["gradient/policy"] > 0.05, "clipping does something"
    return learner, optimizer


@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_our_own_loop_takes_the_steps_that_pytorch_takes(clip: float, tiny_model: Any) -> None:
    if reason := native.why_not("adamw") or native.why_not("body"):
        pytest.skip(f"NOT TESTED: {reason}")
    config = replace(PLAIN, max_grad_norm=clip, weight_decay=0.1, adam_eps=1e-6)
    _, ours = taught(tiny_model, config, "float32")
    _, theirs = taught(tiny_model, config, "float32", loop=False)
    assert ours.tensors().keys() == theirs.tensors().keys()
    for name, value in theirs.names.items():
        assert (ours.names[name] - value).norm() <= 1e-4 * value.norm(), name
    for name, value in theirs.tensors().items():
        assert (ours.tensors()[name] - value).norm() <= 1e-4 * value.norm(), name


def test_the_step_renews_the_copies_that_products_read(tiny_model: Any) -> None:
    if reason := native.why_not("adamw") or native.why_not("body"):
        pytest.skip(f"NOT TESTED: {reason}")
    learner, optimizer = taught(tiny_model, PLAIN, "bfloat16")
    copies = learner.policy.copies
    assert copies is not None
    targets = copies.targets()
    assert len(targets) >= 7 * 2 + 1, "the products of two layers, and the head"
    for weight, place in targets.items():
        assert torch.equal(place, weight.bfloat16()), "as a cast makes them"
    for place in targets.values():
        place.zero_()
    batch = batch_of(random_rows((30,)))

    def spread() -> float:
        return float(learner.policy.logprobs(batch).logprobs.detach().std())

    assert spread() < 1e-6, "they are read as the step left them, not made anew"
    optimizer.adam.step()  # by itself, it tells nobody what it wrote
    assert spread() > 1e-3, "so they are made anew"


def test_a_loop_that_cannot_be_had_is_told_of(
    tiny_model: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    learner = Taught(tiny_model, "float32")
    monkeypatch.setattr(native, "why_not", lambda name: f"no {name} today")
    assert type(Optimizer(learner, PLAIN, 1).adam) is torch.optim.AdamW
    assert "no adamw today" in caplog.text
    learner.policy.choose("plain")
    caplog.clear()
    assert type(Optimizer(learner, PLAIN, 1).adam) is torch.optim.AdamW and not caplog.text
