"""Every loss against other people's numbers, by hand, and at the extremes where others gave inf or NaN."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from tutelage.ops import losses
from tutelage.ops.masked import masked_mean, masked_sum

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


def aggregate(loss: Tensor, mask: Tensor, how: str) -> Tensor:
    if how == "token-mean":
        return masked_mean(loss, mask)
    if how == "seq-mean-token-mean":
        return masked_mean(loss, mask, dim=1).mean()
    total = masked_sum(loss, mask, dim=1).mean()
    return total / loss.shape[1] if how == "seq-mean-token-sum-norm" else total


def test_clipped_surrogate_equals_other_implementations(golden: Golden) -> None:
    for case in golden("ppo_policy_loss"):
        logp, mask = case["logp"].clone().requires_grad_(), case["mask"].bool()
        per_token = losses.clipped_surrogate(logp, case["old_logp"], case["adv"], case["clip_low"], case["clip_high"])
        loss = aggregate(per_token, mask, case["agg"])
        (gradient,) = torch.autograd.grad(loss, logp)
        assert loss.item() == pytest.approx(case["loss"], abs=1e-5)
        torch.testing.assert_close(gradient, case["grad"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("ratio", "adv", "expected", "gradient_flows"),
    [
        (1.0, 2.0, -2.0, True),
        (1.5, 2.0, -2.4, False),  # good token, already up by more than the clip
        (0.5, 2.0, -1.0, True),  # good token that fell: always pulled back up
        (0.5, -2.0, 1.6, False),  # bad token, already down
        (1.5, -2.0, 3.0, True),  # bad token that rose: always pushed down
    ],
)
def test_clipped_surrogate_by_hand(ratio: float, adv: float, expected: float, gradient_flows: bool) -> None:
    logp = torch.tensor([math.log(ratio) - 1], requires_grad=True)
    arguments = logp, torch.tensor([-1.0]), torch.tensor([adv])
    loss = losses.clipped_surrogate(*arguments)
    loss.sum().backward()
    assert logp.grad is not None
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert (logp.grad.item() != 0) == gradient_flows
    assert losses.was_clipped(*arguments).item() != gradient_flows


def test_on_policy_the_surrogate_is_the_policy_gradient() -> None:
    logp, adv = torch.randn(5, dtype=torch.float64, requires_grad=True), torch.randn(5, dtype=torch.float64)
    ours = torch.autograd.grad(losses.clipped_surrogate(logp, logp, adv).sum(), logp)[0]
    torch.testing.assert_close(ours, torch.autograd.grad(losses.policy_gradient(logp, adv).sum(), logp)[0])
    torch.testing.assert_close(ours, -adv)


@pytest.mark.parametrize("adv", [1.0, -1.0])
@pytest.mark.parametrize("gap", [1000.0, -1000.0])
def test_an_outlier_ratio_gives_no_nan(gap: float, adv: float) -> None:
    logp = torch.tensor([gap], requires_grad=True)
    loss = losses.clipped_surrogate(logp, torch.zeros(1), torch.tensor([adv]))
    loss.sum().backward()
    assert logp.grad is not None
    assert torch.isfinite(loss).all()
    assert torch.isfinite(logp.grad).all()


def test_value_loss_equals_other_implementations(golden: Golden) -> None:
    for case in golden("ppo_value_loss"):
        per_token = losses.clipped_value(case["v"], case["old_v"], case["ret"], case["clip"])
        assert masked_mean(per_token, case["mask"]).item() == pytest.approx(case["loss"], abs=1e-5)


def test_value_loss_by_hand() -> None:
    values, old, returns = torch.tensor([1.0, 1.0]), torch.tensor([0.0, 0.0]), torch.tensor([1.0, -1.0])
    assert losses.clipped_value(values, old, returns, 0.2).tolist() == pytest.approx([0.32, 2.0])
    assert losses.clipped_value(values, old, returns, None).tolist() == [0.0, 2.0]


def test_reward_model_losses_equal_other_implementations(golden: Golden) -> None:
    case = golden("reward_models")
    chosen, rejected = case["chosen"], case["rejected"]
    plain = losses.bradley_terry(chosen, rejected).mean()
    assert plain.item() == pytest.approx(case["bt"], abs=1e-5)
    margin = losses.bradley_terry(chosen, rejected, case["margin"]).mean()
    assert margin.item() == pytest.approx(case["bt_margin"], abs=1e-5)
    centred = plain + 0.01 * losses.centering(chosen, rejected).mean()
    assert centred.item() == pytest.approx(case["bt_center_0_01"], abs=1e-5)
    # the golden number is the mean over the rows, each with its own ranking
    ranking = losses.plackett_luce(case["pl_scores"], case["pl_ranking"])
    assert case["pl_nll"] == pytest.approx(ranking.mean().item(), abs=1e-5)


def test_plackett_luce_by_hand_and_with_shorter_rankings() -> None:
    scores = torch.log(torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]))
    got = losses.plackett_luce(scores, torch.tensor([[2, 0, 1], [2, 0, -1]]))
    assert got.exp().tolist() == pytest.approx([1 / (3 / 6 * 1 / 3), 1 / (3 / 4)])


def test_plackett_luce_of_two_is_bradley_terry() -> None:
    scores = torch.randn(6, 2, dtype=torch.float64)
    order = torch.tensor([[1, 0]]).expand(6, 2)
    torch.testing.assert_close(losses.plackett_luce(scores, order), losses.bradley_terry(scores[:, 1], scores[:, 0]))


def test_padded_rankings_give_finite_gradients() -> None:
    scores = torch.randn(1, 4, requires_grad=True)
    losses.plackett_luce(scores, torch.tensor([[3, 1, -1, -1]])).sum().backward()
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()
    assert scores.grad[0, [0, 2]].tolist() == [0, 0]


def test_a_thousand_nats_apart_is_a_thousand_not_infinity() -> None:
    far = torch.tensor([-1000.0])
    assert losses.bradley_terry(far, -far).item() == 2000
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


def test_nll_is_minus_the_log_probability() -> None:
    assert losses.nll(torch.tensor([-1.5])).item() == 1.5


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
