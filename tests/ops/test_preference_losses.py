"""Every preference loss against other people's numbers, by hand, and at the extremes where others gave inf or NaN."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from tutelage.ops import preference_losses as losses

Golden = Callable[[str], Any]

PAIR_LOSSES: Mapping[str, Callable[..., Tensor]] = {
    "sigmoid": losses.dpo,
    "cdpo": losses.dpo,
    "robust": losses.robust,
    "ipo": losses.ipo,
    "hinge": losses.hinge,
    "exo_pair": losses.exo,
    "nca_pair": losses.nca,
    "sppo_hard": losses.sppo,
    "apo_zero": losses.apo_zero,
    "apo_down": losses.apo_down,
    "discopop": losses.discopop,
    "sigmoid_norm": losses.dpo,
}
SMOOTHED = ("cdpo", "robust", "exo_pair")
PER_TOKEN = ("ipo", "sigmoid_norm")


def test_a_thousand_nats_apart_is_a_thousand_not_infinity() -> None:
    far = torch.tensor([-1000.0])
    assert losses.dpo(far, -far, far * 0, far * 0, beta=1.0).item() == 2000


@pytest.mark.parametrize("kind", sorted(PAIR_LOSSES))
def test_preference_losses_equal_other_implementations(golden: Golden, kind: str) -> None:
    cases = [case for case in golden("dpo_family") if case["kind"] == kind]
    assert cases
    for case in cases:
        per_token = [case["len_c"], case["len_r"]] * 2 if kind in PER_TOKEN else [1] * 4
        leaf = case["pc"].clone().requires_grad_()
        sums = [x / n for x, n in zip((leaf, case["pr"], case["rc"], case["rr"]), per_token, strict=True)]
        extra = [case["label_smoothing"]] if kind in SMOOTHED else []
        loss = PAIR_LOSSES[kind](*sums, case["beta"], *extra).mean()
        assert loss.item() == pytest.approx(case["loss"], rel=1e-4)
        if "grad_pc" in case:
            (gradient,) = torch.autograd.grad(loss, leaf)
            torch.testing.assert_close(gradient, case["grad_pc"], rtol=1e-4, atol=1e-7)


def test_reference_free_losses_equal_other_implementations(golden: Golden) -> None:
    for case in golden("dpo_family"):
        if case["kind"] == "simpo":
            loss = losses.simpo(case["avg_c"], case["avg_r"], case["beta"], case["gamma"]).mean()
        elif case["kind"] == "orpo_or_term":
            loss = case["beta"] * losses.orpo(case["avg_c"], case["avg_r"]).mean()
        else:
            continue
        assert loss.item() == pytest.approx(case["loss"], rel=1e-4)


def test_dpo_starts_at_ln_two() -> None:
    same = torch.tensor([-7.0, -3.0])
    assert losses.dpo(same, same - 2, same, same - 2).tolist() == pytest.approx([math.log(2)] * 2)


def test_a_tensor_of_label_smoothing_is_a_soft_label_per_pair() -> None:
    pairs = [torch.tensor(x) for x in ([-1.0, -2.0], [-2.0, -1.0], [-1.5, -1.5], [-1.5, -1.5])]
    soft = losses.dpo(*pairs, 0.5, torch.tensor([0.0, 1.0]))
    assert soft.tolist() == pytest.approx([math.log1p(math.exp(-0.5))] * 2)


def test_no_gradient_reaches_the_reference() -> None:
    sums = [torch.randn(3, requires_grad=True) for _ in range(4)]
    torch.stack([PAIR_LOSSES[kind](*sums).sum() for kind in PAIR_LOSSES]).sum().backward()
    assert sums[0].grad is not None
    assert sums[2].grad is None
    assert sums[3].grad is None


@pytest.mark.parametrize("avg", [-1e-9, -1e-4, -0.69, -0.7, -30.0])
def test_orpo_is_finite_near_certainty(avg: float) -> None:
    sure = torch.tensor([avg], requires_grad=True)
    loss = losses.orpo(sure, torch.tensor([-2.0]))
    loss.sum().backward()
    assert sure.grad is not None
    assert torch.isfinite(loss).all()
    assert torch.isfinite(sure.grad).all()
    exact = torch.tensor([min(avg, -1e-7), -2.0], dtype=torch.float64)
    odds = exact - torch.log(-torch.expm1(exact))
    assert loss.item() == pytest.approx(torch.nn.functional.softplus(odds[1] - odds[0]).item(), rel=1e-4, abs=1e-6)


def test_kto_by_hand() -> None:
    gap, label = torch.tensor([2.0, 2.0]), torch.tensor([True, False])
    got = losses.kto(gap, label, torch.tensor(1.0), beta=0.5)
    assert got.tolist() == pytest.approx([1 / (1 + math.exp(0.5)), 1 / (1 + math.exp(-0.5))])
    below = losses.kto(gap, label, torch.tensor(-3.0), beta=0.5)
    assert below.tolist() == pytest.approx(losses.kto(gap, label, torch.tensor(0.0), beta=0.5).tolist())


@pytest.mark.parametrize(("loss", "smoothing"), [(losses.robust, 0.5), (losses.exo, 0.0)])
def test_smoothing_without_a_finite_loss_is_refused(loss: Callable[..., Tensor], smoothing: float) -> None:
    with pytest.raises(ValueError, match="label_smoothing"):
        loss(*torch.zeros(4, 1), 0.1, smoothing)


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


A, B, SOFT = 1.2, -0.7, 0.1  # chosen and rejected log-ratios, label smoothing
H = A - B
BY_HAND: Mapping[str, Callable[[float], float]] = {
    "cdpo": lambda b: -(1 - SOFT) * math.log(sigma(b * H)) - SOFT * math.log(sigma(-b * H)),
    "robust": lambda b: (-(1 - SOFT) * math.log(sigma(b * H)) + SOFT * math.log(sigma(-b * H))) / (1 - 2 * SOFT),
    "ipo": lambda b: (H - 1 / (2 * b)) ** 2,
    "hinge": lambda b: max(0.0, 1 - b * H),
    "exo_pair": lambda b: (
        sigma(b * H) * math.log(sigma(b * H) / (1 - SOFT)) + sigma(-b * H) * math.log(sigma(-b * H) / SOFT)
    ),
    "nca_pair": lambda b: -math.log(sigma(b * A)) - 0.5 * math.log(sigma(-b * A)) - 0.5 * math.log(sigma(-b * B)),
    "sppo_hard": lambda b: (A - 0.5 / b) ** 2 + (B + 0.5 / b) ** 2,
    "apo_zero": lambda b: 1 - sigma(b * A) + sigma(b * B),
    "apo_down": lambda b: sigma(b * A) + 1 - sigma(b * H),
    "discopop": lambda b: -(1 - sigma(b * H / 0.05)) * math.log(sigma(b * H)) + sigma(b * H / 0.05) * math.exp(-b * H),
}


@pytest.mark.parametrize("beta", [0.1, 2.0])
@pytest.mark.parametrize("kind", BY_HAND)
def test_preference_losses_by_hand(kind: str, beta: float) -> None:
    sums = [torch.tensor([x], dtype=torch.float64) for x in (A - 5, B - 6, -5.0, -6.0)]
    loss = PAIR_LOSSES[kind](*sums, beta, *([SOFT] if kind in SMOOTHED else []))
    assert loss.item() == pytest.approx(BY_HAND[kind](beta), rel=1e-9, abs=1e-12)


def test_simpo_by_hand() -> None:
    got = losses.simpo(torch.tensor([-1.0]), torch.tensor([-1.5]), beta=2.0, gamma=0.4)
    assert got.item() == pytest.approx(-math.log(sigma(0.6)))


NAMES: Mapping[str, losses.PairLoss] = {"cdpo": "sigmoid", "ipo": "ipo_avg", "sigmoid": "sigmoid", "robust": "robust"}


@pytest.mark.parametrize("kind", sorted(PAIR_LOSSES))
def test_the_losses_by_their_names_equal_other_implementations(golden: Golden, kind: str) -> None:
    name: Any = NAMES.get(kind, kind)
    for case in (case for case in golden("dpo_family") if case["kind"] == kind):
        leaf = case["pc"].clone().requires_grad_()
        sums = leaf, case["pr"], case["rc"], case["rr"]
        if name in losses.PER_TOKEN:
            c, r = case["len_c"], case["len_r"]
            sums = leaf / c, case["pr"] / r, case["rc"] / c, case["rr"] / r
        loss = losses.pair_loss(name, sums, case["beta"], case["label_smoothing"]).mean()
        assert loss.item() == pytest.approx(case["loss"], rel=1e-4)
        if "grad_pc" in case:
            (gradient,) = torch.autograd.grad(loss, leaf)
            torch.testing.assert_close(gradient, case["grad_pc"], rtol=1e-4, atol=1e-7)


def test_cpo_by_hand() -> None:
    got = losses.cpo(torch.tensor([-3.0]), torch.tensor([-5.0]), beta=0.5, margin=0.4, label_smoothing=0.1)
    assert got.item() == pytest.approx(-0.9 * math.log(sigma(0.6)) - 0.1 * math.log(sigma(-0.6)))


def test_a_label_wrong_twice_is_right() -> None:
    assert losses.doubt(1.0, 1.0) == 0 and losses.doubt(0.3, 0.0) == 0.3 and losses.doubt(0.5, 0.2) == 0.5
