"""AdamW in one pass against PyTorch's: weights, moments, scaled gradients, copies, and bits under any threads."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from tutelage.ops import adamw, native
from tutelage.ops.adamw import AdamW

SHAPES = [(3,), (1,), (33, 31), (130, 257), ()]


@pytest.fixture(autouse=True)
def compiled():
    if not native.available("adamw"):
        pytest.skip(native.why_not("adamw"))


def parameters() -> list[Tensor]:
    draw = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=draw).requires_grad_() for shape in SHAPES]


def groups(of: list[Tensor]) -> list[dict[str, object]]:
    return [{"params": of[:2], "lr": 3e-3, "weight_decay": 0.0}, {"params": of[2:], "lr": 1e-2, "weight_decay": 0.1}]


def gradients(step: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(100 + step)
    return [torch.randn(shape, generator=draw) * 10.0 ** (2 * place - 4) for place, shape in enumerate(SHAPES)]


def learn(optimizer: torch.optim.Optimizer, of: list[Tensor], step: int, share: float = 1.0) -> None:
    for place, (parameter, gradient) in enumerate(zip(of, gradients(step), strict=True)):
        parameter.grad = None if (place + step) % 4 == 3 else gradient * share  # now and then there is none
    optimizer.step()


def test_weights_and_moments_are_those_of_pytorchs_fused_adamw() -> None:
    ours, theirs = parameters(), parameters()
    one = AdamW(groups(ours), betas=(0.9, 0.95), eps=1e-8)
    other = torch.optim.AdamW(groups(theirs), betas=(0.9, 0.95), eps=1e-8, fused=True)
    for group in one.param_groups:
        group["share"] = 0.25
    for step in range(6):
        learn(one, ours, step)
        learn(other, theirs, step, share=0.25)
    for found, wanted, start in zip(ours, theirs, parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
        assert (found - start).norm() > 1e-3, "it moved"
        assert one.state[found].keys() == other.state[wanted].keys()
        for key, value in other.state[wanted].items():
            torch.testing.assert_close(one.state[found][key], value, rtol=1e-6, atol=1e-6 * float(value.abs().max()))


def test_each_goes_on_from_the_others_state() -> None:
    ours, theirs = parameters(), parameters()
    one, other = AdamW(groups(ours)), torch.optim.AdamW(groups(theirs), fused=True)
    learn(other, theirs, 0)
    one.load_state_dict(copy.deepcopy(other.state_dict()))
    with torch.no_grad():
        for found, wanted in zip(ours, theirs, strict=True):
            found.copy_(wanted)
    learn(one, ours, 1)
    learn(other, theirs, 1)
    for found, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    other.load_state_dict(one.state_dict())


def test_bits_depend_on_no_threads_and_copies_are_the_rounded_weights() -> None:
    before, seen = torch.get_num_threads(), list[list[Tensor]]()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            of = parameters()
            optimizer = AdamW(groups(of))
            copies = {parameter: torch.zeros(parameter.shape, dtype=torch.bfloat16) for parameter in of[1:]}
            optimizer.copies = copies
            learn(optimizer, of, 0)
            assert all(torch.equal(made, parameter.bfloat16()) for parameter, made in list(copies.items())[:2])
            assert not copies[of[3]].any(), "without a gradient nothing is written"
            seen.append([*of, torch.tensor(adamw.total_norm(gradients(1)), dtype=torch.float64)])
    finally:
        torch.set_num_threads(before)
    for one in seen[1:]:
        assert all(torch.equal(value, first) for value, first in zip(one, seen[0], strict=True))


def test_the_norm_is_exact_and_tells_what_is_not_finite() -> None:
    many = gradients(2)
    exact = math.sqrt(sum(float(each.double().square().sum()) for each in many))
    assert adamw.total_norm(many) == pytest.approx(exact, rel=1e-12)
    assert adamw.total_norm([torch.ones(7, 5).T[1:]]) == pytest.approx(math.sqrt(28)), "whatever its layout"
    assert adamw.total_norm([]) == 0.0
    for bad in (float("inf"), float("nan")):
        many[3][100, 200] = bad
        assert not math.isfinite(adamw.total_norm(many))


def test_what_the_loop_does_not_know_is_told() -> None:
    assert adamw.why_not(parameters()) == ""
    assert "float64" in adamw.why_not([torch.zeros(2, dtype=torch.float64)])
    with pytest.raises(ValueError, match="amsgrad"):
        AdamW(parameters(), amsgrad=True).step()
