"""The fused head against the plain one, in values and gradients; KL estimators against golden values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tutelage.ops import logprobs, native
from tutelage.ops.logprobs import kl, linear_logprobs, token_logprobs


def head(rows: int, width: int, vocabulary: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    """hidden, weight, bias (leaves), targets and a gradient to send back."""
    rng = torch.Generator().manual_seed(rows + vocabulary)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype).requires_grad_()

    targets = torch.randint(vocabulary, (rows,), generator=rng)
    return draw(rows, width), draw(vocabulary, width), draw(vocabulary), targets, draw(rows).detach()


def both(rows: int, temperature: float, chunk: int | None, dtype: torch.dtype, bias: bool = True):
    """(logp, entropy, gradients…) of the fused head and of the plain one."""
    hidden, weight, offset, targets, back = head(rows, 8, 31, dtype)
    leaves = (hidden, weight, offset) if bias else (hidden, weight)
    fused = linear_logprobs(hidden, weight, targets, temperature, offset if bias else None, chunk)
    plain = token_logprobs(hidden @ weight.T + (offset if bias else 0), targets, temperature)
    return [
        (*(tensor.detach() for tensor in out), *torch.autograd.grad((out[0] * back).sum(), leaves))
        for out in (fused, plain)
    ]


def test_token_logprobs_equal_numpy_term_by_term() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5], [-3.0, 0.0, 3.0]])
    logp, entropy = token_logprobs(logits, torch.tensor([1, 0]), temperature=0.7)
    for row, target in enumerate([1, 0]):
        exps = np.exp(logits[row].double().numpy() / 0.7)
        p = exps / exps.sum()
        assert logp[row].item() == pytest.approx(np.log(p[target]), rel=1e-5)
        assert entropy[row].item() == pytest.approx(-(p * np.log(p)).sum(), rel=1e-5)


def test_entropy_is_taken_at_the_temperature() -> None:
    # entropy at T = 1 while the policy is at T = 0.5 was 1 nat off in OpenRLHF#1319
    logits = torch.randn(4, 9)
    at_half = token_logprobs(logits, torch.zeros(4, dtype=torch.int64), 0.5)[1]
    torch.testing.assert_close(at_half, torch.distributions.Categorical(logits=logits / 0.5).entropy())


def test_a_forbidden_token_adds_no_nan_to_the_entropy() -> None:
    entropy = token_logprobs(torch.tensor([[0.0, 0.0, -torch.inf]]), torch.tensor([0]))[1]
    assert entropy.item() == pytest.approx(np.log(2))


def test_bfloat16_logits_are_normalised_in_float32() -> None:
    logits = 4 * torch.randn(50, 200)
    got = token_logprobs(logits.bfloat16(), torch.zeros(50, dtype=torch.int64))[0]
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, token_logprobs(logits.bfloat16().float(), torch.zeros(50, dtype=torch.int64))[0])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("chunk", [None, 1, 4])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("kept_bytes", [0, 2**30])
def test_the_fused_head_equals_the_plain_one(
    monkeypatch: pytest.MonkeyPatch, kept_bytes: int, temperature: float, chunk: int | None, bias: bool
) -> None:
    monkeypatch.setattr(logprobs, "_KEPT_BYTES", kept_bytes)  # probabilities computed again, or kept
    for got, expected in zip(*both(10, temperature, chunk, torch.float64, bias), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-12, rtol=0)
    for got, expected in zip(*both(10, temperature, chunk, torch.float32, bias), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kept_bytes", [0, 2**30])
def test_bfloat16_stays_as_close_as_the_plain_head(monkeypatch: pytest.MonkeyPatch, kept_bytes: int) -> None:
    monkeypatch.setattr(logprobs, "_KEPT_BYTES", kept_bytes)
    fused, plain = both(40, 0.7, 7, torch.bfloat16, bias=False)
    exact = both(40, 0.7, 7, torch.float64, bias=False)[1]
    assert fused[0].dtype == torch.float32
    assert [gradient.dtype for gradient in fused[2:]] == [torch.bfloat16] * 2
    for mine, theirs, truth in zip(fused, plain, exact, strict=True):
        error, allowed = (mine.double() - truth).abs().max(), (theirs.double() - truth).abs().max()
        assert error <= 1.5 * allowed + 1e-3


def test_a_confident_token_keeps_its_small_gradient_in_bfloat16() -> None:
    # p = 0.999: kept as P in bfloat16 it would round to 1 and the gradient of the target's row would vanish.
    hidden = torch.tensor([[1.0]], dtype=torch.bfloat16)
    weight = torch.tensor([[7.0], [0.0]], dtype=torch.bfloat16, requires_grad=True)
    linear_logprobs(hidden, weight, torch.tensor([0]))[0].sum().backward()
    assert weight.grad is not None
    assert weight.grad[0].item() == pytest.approx(1 / (1 + np.exp(7)), rel=0.01)


def test_under_autocast_masters_stay_float32() -> None:
    hidden, weight, _, targets, back = head(20, 8, 31)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logp, entropy = linear_logprobs(hidden, weight, targets)
    gradients = torch.autograd.grad((logp * back).sum(), (hidden, weight))
    assert {logp.dtype, entropy.dtype, *(gradient.dtype for gradient in gradients)} == {torch.float32}
    torch.testing.assert_close(logp, linear_logprobs(hidden, weight, targets)[0], atol=0.1, rtol=0)


def test_gradients_agree_with_finite_differences() -> None:
    hidden, weight, bias, targets, _ = head(5, 3, 7, torch.float64)
    assert torch.autograd.gradcheck(
        lambda h, w, b: linear_logprobs(h, w, targets, 0.8, b, chunk=2)[0], (hidden, weight, bias)
    )


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_only_what_asks_for_a_gradient_gets_one(wanted: tuple[bool, bool, bool]) -> None:
    hidden, weight, bias, targets, back = head(6, 4, 9)
    for leaf, want in zip((hidden, weight, bias), wanted, strict=True):
        leaf.requires_grad_(want)
    (linear_logprobs(hidden, weight, targets, 1.0, bias)[0] * back).sum().backward()
    assert tuple(leaf.grad is not None for leaf in (hidden, weight, bias)) == wanted


def test_entropy_can_be_left_out_and_never_carries_a_gradient() -> None:
    hidden, weight, _, targets, _ = head(6, 4, 9)
    logp, entropy = linear_logprobs(hidden, weight, targets)
    assert not entropy.requires_grad
    again, nothing = linear_logprobs(hidden, weight, targets, entropy=False)
    assert nothing.shape == (0,)
    assert torch.equal(again, logp)


def test_without_gradients_the_values_are_the_same_bits() -> None:
    hidden, weight, bias, targets, _ = head(300, 8, 31)
    with torch.no_grad():
        frozen = linear_logprobs(hidden, weight, targets, 0.9, bias)
    for got, expected in zip(frozen, linear_logprobs(hidden, weight, targets, 0.9, bias), strict=True):
        assert torch.equal(got, expected.detach())


def test_no_rows_give_no_values_and_no_gradient() -> None:
    hidden, weight, _, targets, _ = head(0, 4, 9)
    logp, entropy = linear_logprobs(hidden, weight, targets)
    logp.sum().backward()
    assert logp.shape == entropy.shape == (0,)
    assert weight.grad is not None
    assert (weight.grad == 0).all()


def test_extreme_logits_stay_finite() -> None:
    hidden, weight, _, targets, back = head(8, 4, 9)
    out = linear_logprobs(hidden * 1e4, weight, targets)
    (out[0] * back).sum().backward()
    assert hidden.grad is not None
    assert all(torch.isfinite(tensor).all() for tensor in (*out, hidden.grad))


def test_a_temperature_of_zero_is_refused() -> None:
    hidden, weight, _, targets, _ = head(2, 4, 9)
    with pytest.raises(ValueError, match="temperature 0"):
        linear_logprobs(hidden, weight, targets, temperature=0)


def test_shapes_that_do_not_fit_are_named() -> None:
    hidden, weight, _, targets, _ = head(2, 4, 9)
    with pytest.raises(ValueError, match=r"targets \(1,\)"):
        linear_logprobs(hidden, weight, targets[:1])


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
def test_kl_equals_other_implementations(golden: Callable[[str], Any], kind: Any) -> None:
    case = golden("kl")
    torch.testing.assert_close(kl(case["logp"], case["ref"], kind), case[kind], atol=1e-5, rtol=0)


def test_k1_and_k3_are_unbiased_and_k3_is_never_negative() -> None:
    rng = torch.Generator().manual_seed(0)
    policy, reference = torch.log_softmax(torch.randn(2, 6, dtype=torch.float64, generator=rng), -1)
    exact = (policy.exp() * (policy - reference)).sum()
    for kind in ("k1", "k3"):
        assert (policy.exp() * kl(policy, reference, kind)).sum() == pytest.approx(exact.item())
    assert (kl(policy, reference, "k3") >= 0).all()
    assert kl(torch.tensor([-1.0]), torch.tensor([-1.0 - 1e-4]), "k3").item() == pytest.approx(5e-9, rel=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kept", [True, False])
def test_our_own_loop_gives_the_numbers_and_gradients_of_torchs(dtype, kept, monkeypatch):
    if not native.available("head"):
        pytest.skip(f"NOT TESTED: {native.why_not('head')}")
    monkeypatch.setattr(logprobs, "_KEPT_BYTES", 2**28 if kept else 0)
    hidden, weight, _, targets, back = head(1100, 16, 77)
    found = list[list[Tensor]]()
    for fast in (True, False):
        leaves = [x.detach().to(dtype).requires_grad_() for x in (hidden, weight)]
        logp, entropy = linear_logprobs(*leaves, targets, 0.7, fast=fast)
        found.append([logp.detach(), entropy, *torch.autograd.grad((logp * back).sum(), leaves)])
    near = {"atol": 2e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.3, "rtol": 0.05}
    for index, (ours, theirs) in enumerate(zip(*found, strict=True)):
        torch.testing.assert_close(ours, theirs, **({"atol": 1e-5, "rtol": 1e-5} if index < 2 else near))
    with torch.no_grad():
        assert torch.equal(linear_logprobs(*leaves, targets, 0.7, fast=True)[0], found[0][0])


def test_our_own_loop_stands_logits_without_bounds():
    if not native.available("head"):
        pytest.skip(f"NOT TESTED: {native.why_not('head')}")
    hidden, weight = torch.tensor([[1e4, 0.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.5, 1.0]])
    logp, entropy = linear_logprobs(hidden, weight, torch.tensor([0, 1]), fast=True)
    assert logp.tolist() == pytest.approx([0.0, -np.log(3)]) and entropy.tolist() == pytest.approx([0.0, np.log(3)])
