"""Every loss against other people's numbers, by hand, and at the extremes where others gave inf or NaN."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tutelage.ops import losses, reward_losses
from tutelage.ops.logprobs import kl
from tutelage.ops.masked import masked_mean

Golden = Callable[[str], Any]


AGGREGATIONS: dict[str, Any] = {
    "token-mean": "token-mean",
    "seq-mean-token-mean": "sequence-mean",
    "seq-mean-token-sum": "constant",
    "seq-mean-token-sum-norm": "constant",
}
"""The peers' names → ours."""


def test_clipped_surrogate_equals_other_implementations(golden: Golden) -> None:
    for case in golden("ppo_policy_loss"):
        logp, mask = case["logp"].clone().requires_grad_(), case["mask"].bool()
        per_token = losses.clipped_surrogate(logp, case["old_logp"], case["adv"], case["clip_low"], case["clip_high"])
        constant = mask.shape[1] if case["agg"].endswith("norm") else 1
        loss, _ = losses.aggregate(per_token, mask, AGGREGATIONS[case["agg"]], constant)
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


def test_a_dual_clip_bounds_only_bad_tokens_that_have_risen() -> None:
    old, adv = torch.zeros(4), torch.tensor([-2.0, -2.0, 2.0, 2.0])
    logp = torch.tensor([5.0, 1.1, 5.0, 0.5]).log()
    assert losses.clipped_surrogate(logp, old, adv, 0.2, 0.2, 3.0).tolist() == pytest.approx([6.0, 2.2, -2.4, -1.0])
    assert losses.clipped_surrogate(logp, old, adv, 0.2, 0.2).tolist() == pytest.approx([10.0, 2.2, -2.4, -1.0])


def test_a_clipped_weight_keeps_every_tokens_gradient() -> None:
    old, adv = torch.zeros(3), torch.tensor([2.0, 2.0, -1.0])
    logp = torch.tensor([1.5, 0.5, 1.5]).log().requires_grad_()
    losses.clipped_weight(logp, old, adv, 0.2).sum().backward()
    assert logp.grad is not None and logp.grad.tolist() == pytest.approx([-2.4, -1.0, 1.2])
    near = torch.randn(5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(losses.clipped_weight(near, near, torch.ones(5)).sum(), near)
    torch.testing.assert_close(gradient, -torch.ones(5, dtype=torch.float64))


def test_the_ratio_of_an_answer_is_the_sum_or_the_mean_of_its_tokens() -> None:
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]]).bool()
    logp, old = torch.tensor([[1.0, 2.0, 3.0], [4.0, float("nan"), 9.0]]), torch.ones(2, 3)
    assert losses.answer_log_ratio(logp, old, mask, mean=False).tolist() == [3.0, 3.0]
    assert losses.answer_log_ratio(logp, old, mask, mean=True).tolist() == [1.0, 3.0]


@pytest.mark.parametrize(
    ("how", "total", "weight"),
    [("token-mean", 10 / 4, 4.0), ("sequence-mean", (2 + 4) / 2, 2.0), ("constant", (6 + 4) / 2 / 8, 2.0)],
)
def test_aggregation_by_hand_and_in_parts(how: Any, total: float, weight: float) -> None:
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]]).bool()
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, float("nan"), 9.0]])
    found = losses.aggregate(x, mask, how, 8)
    assert [float(value) for value in found] == [total, weight]
    parts = [losses.aggregate(x[row : row + 1], mask[row : row + 1], how, 8) for row in range(2)]
    assert float(sum(part * size for part, size in parts)) / weight == pytest.approx(total)


def test_an_unknown_aggregation_lists_the_choices() -> None:
    with pytest.raises(ValueError, match="sequence-mean"):
        losses.aggregate(torch.ones(1, 1), torch.ones(1, 1), "mean")  # type: ignore[arg-type]


def test_k3_in_the_loss_rests_at_the_forward_kl_optimum_of_a_bandit_and_k2_at_the_right_one() -> None:
    """Two arms, reference ½ and ½, scores 1 and 0, β ½: k3 stops at β·ref/(λ − r), λ = the root of Σ = 1."""
    beta, score = 0.5, torch.tensor([1.0, 0.0], dtype=torch.float64)
    reference = torch.full((2,), 0.5, dtype=torch.float64).log()
    optima = {"k2": torch.softmax(score / beta, 0)}
    multiplier = (1.5 + (1.5**2 - 4 * 0.25) ** 0.5) / 2  # 1 = ¼/(λ − 1) + ¼/λ
    optima["k3"] = beta * 0.5 / (multiplier - score)
    assert float(optima["k2"][0]) == pytest.approx(0.8808, abs=1e-4) and float(optima["k3"].sum()) == pytest.approx(1)
    for where, place in optima.items():
        for kind in optima:
            logits = place.log().requires_grad_()
            logp = torch.log_softmax(logits, 0)
            each = losses.policy_gradient(logp, score) + beta * kl(logp, reference, kind)  # type: ignore[arg-type]
            (gradient,) = torch.autograd.grad((place * each).sum(), logits)
            assert (float(gradient.abs().max()) < 1e-9) == (where == kind), f"{kind} at the optimum of {where}"


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
    plain = reward_losses.bradley_terry(chosen, rejected).mean()
    assert plain.item() == pytest.approx(case["bt"], abs=1e-5)
    margin = reward_losses.bradley_terry(chosen, rejected, case["margin"]).mean()
    assert margin.item() == pytest.approx(case["bt_margin"], abs=1e-5)
    centred = plain + 0.01 * reward_losses.centering(chosen, rejected).mean()
    assert centred.item() == pytest.approx(case["bt_center_0_01"], abs=1e-5)
    # the golden number is the mean over the rows, each with its own ranking
    ranking = reward_losses.plackett_luce(case["pl_scores"], case["pl_ranking"])
    assert case["pl_nll"] == pytest.approx(ranking.mean().item(), abs=1e-5)


def test_plackett_luce_by_hand_and_with_shorter_rankings() -> None:
    scores = torch.log(torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]))
    got = reward_losses.plackett_luce(scores, torch.tensor([[2, 0, 1], [2, 0, -1]]))
    assert got.exp().tolist() == pytest.approx([1 / (3 / 6 * 1 / 3), 1 / (3 / 4)])


def test_plackett_luce_of_two_is_bradley_terry() -> None:
    scores = torch.randn(6, 2, dtype=torch.float64)
    order = torch.tensor([[1, 0]]).expand(6, 2)
    torch.testing.assert_close(
        reward_losses.plackett_luce(scores, order), reward_losses.bradley_terry(scores[:, 1], scores[:, 0])
    )


def test_padded_rankings_give_finite_gradients() -> None:
    scores = torch.randn(1, 4, requires_grad=True)
    reward_losses.plackett_luce(scores, torch.tensor([[3, 1, -1, -1]])).sum().backward()
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()
    assert scores.grad[0, [0, 2]].tolist() == [0, 0]


def test_a_thousand_nats_apart_is_a_thousand_not_infinity() -> None:
    far = torch.tensor([-1000.0])
    assert reward_losses.bradley_terry(far, -far).item() == 2000


def test_nll_is_minus_the_log_probability() -> None:
    assert losses.nll(torch.tensor([-1.5])).item() == 1.5
