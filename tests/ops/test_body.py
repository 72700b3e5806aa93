"""What stands between the products of a block, in C++, against PyTorch's own formulas: any size, both formats."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tutelage.ops import body, native

KINDS = (torch.float32, torch.bfloat16)
NEAR = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


@pytest.fixture(autouse=True)
def compiled():
    if not native.available("body"):
        pytest.skip(f"NOT TESTED: {native.why_not('body')}")


def noise(*shape: int, kind: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).mul(2).to(kind)


def near(found: Tensor | None, wanted: Tensor | None, kind: torch.dtype) -> None:
    assert found is not None and wanted is not None
    scale = float(wanted.abs().max())
    torch.testing.assert_close(found.float(), wanted.float(), atol=NEAR[kind] * scale, rtol=NEAR[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [1, 15, 16, 31, 48, 100])
def test_activations_and_their_gradients_are_exact_at_every_width(width: int, kind: torch.dtype):
    both, back = noise(7, 2 * width, kind=kind), noise(7, width, kind=kind)
    exact = both.float().requires_grad_()
    gate, up = exact.chunk(2, dim=1)
    wanted = functional.silu(gate) * up
    (slope,) = torch.autograd.grad(wanted, exact, back.float())
    out, d_both = body.gated_backward(both, back)
    near(body.gated(both), wanted.detach(), kind)
    near(out, wanted.detach(), kind)
    near(d_both, slope, kind)

    exact = both.float().requires_grad_()
    wanted = functional.gelu(exact, approximate="tanh")
    back = noise(7, 2 * width, kind=kind)
    (slope,) = torch.autograd.grad(wanted, exact, back.float())
    out, d_both = body.gelu_backward(both, back)
    near(body.gelu(both), wanted.detach(), kind)
    near(out, wanted.detach(), kind)
    near(d_both, slope, kind)


def test_activations_of_huge_numbers_stay_finite():
    huge = torch.tensor([[-1e30, -1e4, -90.0, 90.0, 1e4, 3e3, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]])
    assert body.gated(huge)[0].tolist() == pytest.approx([0.0, 0.0, 0.0, 90.0, 1e4, 3e3], abs=1e-6)
    assert torch.isfinite(torch.cat(body.gated_backward(huge, torch.ones(1, 6)), dim=1)).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize("depth", [2, 8, 16, 32, 48, 64, 96, 256])
def test_queries_and_keys_are_normed_and_rotated_as_the_formula_says(depth: int, normed: bool, kind: torch.dtype):
    rows, heads, shared = 70, 3, 2
    angles = noise(rows, depth // 2).repeat(1, 2)
    weights = (noise(depth), noise(depth) + 1) if normed else (None, None)
    turn = body.Turn(heads, shared, depth, angles.cos(), angles.sin(), *weights, 1e-6)
    raw, back = noise(rows, heads + 2 * shared, depth, kind=kind), noise(rows, heads + 2 * shared, depth, kind=kind)

    exact = raw[:, : heads + shared].float().requires_grad_()
    known = [None if weight is None else weight.clone().requires_grad_() for weight in weights]
    value = exact
    if normed:
        scaled = exact * (exact.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
        value = torch.cat([scaled[:, :heads] * known[0], scaled[:, heads:] * known[1]], dim=1)
    left, right = value.chunk(2, dim=-1)
    wanted = value * turn.cosine[:, None] + torch.cat([-right, left], dim=-1) * turn.sine[:, None]
    near(body.turned(turn, raw), wanted.detach(), kind)

    asked = [exact, *(weight for weight in known if weight is not None)]
    slopes = torch.autograd.grad(wanted, asked, back[:, : heads + shared].float())
    d_raw = back.clone()
    found = body.turned_backward(turn, raw, d_raw)
    near(d_raw[:, : heads + shared], slopes[0], kind)
    assert torch.equal(d_raw[:, heads + shared :], back[:, heads + shared :])
    for norm, slope in zip(found, slopes[1:] or (None, None), strict=True):
        assert (norm is None) == (slope is None)
        if slope is not None:
            near(norm, slope, kind)
