"""The price of a constraint: its steps by hand, its memory, its limits, and what the sign of a cost model learns."""

from __future__ import annotations

import json
import math

import pytest
import torch

from tutelage.ops.lagrange import Multiplier, constrained_advantages, harm_sign, swings, violation_rate


def test_a_step_of_the_multiplier_is_gradient_descent_on_its_logarithm() -> None:
    price = Multiplier(limit=0.1, start=2.0, rate=0.05, memory=0.0)
    log = torch.tensor(2.0, dtype=torch.float64).log().requires_grad_()
    for cost in (0.7, 0.3, -0.4, 0.1):
        price.update(cost)
        (-(cost - 0.1) * log.exp()).backward()  # safe-rlhf's loss of log λ
        with torch.no_grad():
            log -= 0.05 * log.grad
            log.grad = None
        assert price.value == pytest.approx(float(log.detach().exp()), rel=1e-12)


def test_the_average_forgets_without_being_drawn_towards_zero() -> None:
    price = Multiplier(limit=0.0, memory=0.9)
    assert price.average == 0.0
    price.update(2.0)
    assert price.average == pytest.approx(2.0)
    price.update(1.0)
    assert price.average == pytest.approx((0.9 * 2.0 + 1.0) / 1.9)


def test_too_much_cost_raises_the_price_and_too_little_lowers_it() -> None:
    up, down = Multiplier(limit=0.1), Multiplier(limit=0.1)
    for _ in range(5):
        up.update(0.5)
        down.update(-0.5)
    assert up.value > 1 > down.value > 0


def test_the_price_stays_between_its_limits_and_leaves_the_lowest() -> None:
    price = Multiplier(limit=0.0, rate=1.0, highest=3.0, memory=0.0)
    for _ in range(20):
        price.update(1.0)
    assert price.value == pytest.approx(3.0)
    for _ in range(3000):
        price.update(-5.0)
    assert price.value == pytest.approx(1e-3)
    for _ in range(3000):
        price.update(5.0)
    assert price.value > 0.1


@pytest.mark.parametrize("odd", [{"start": 0.0}, {"start": 20.0}, {"rate": 0.0}, {"memory": 1.0}])
def test_settings_without_sense_are_refused(odd: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        Multiplier(limit=0.0, **odd)


def test_the_state_comes_back_from_json_bit_for_bit() -> None:
    through, resumed = Multiplier(limit=0.1), Multiplier(limit=0.1)
    for cost in (0.3, 1 / 3, 0.01):
        through.update(cost)
    resumed.restore(json.loads(json.dumps(through.state())))
    for cost in (0.9, -0.2):
        through.update(cost)
        resumed.update(cost)
    assert resumed.value == through.value and resumed.state() == through.state()


def test_turning_round_is_counted_and_noise_is_not() -> None:
    wave = [math.sin(step / 3) for step in range(60)]
    assert 5 <= swings(wave, 0.5) <= 7
    assert swings([0.01 * value for value in wave], 0.5) == 0
    assert swings([step / 10 for step in range(60)], 0.5) == 0
    assert swings([], 0.5) == 0


def test_the_mix_takes_costs_away_and_its_scale_does_not_grow_with_the_price() -> None:
    reward, cost = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert constrained_advantages(reward, cost, 0.0).tolist() == [[1.0, 0.0]]
    assert constrained_advantages(reward, cost, 3.0).tolist() == [[0.25, -0.75]]
    with pytest.raises(ValueError, match="≥ 0"):
        constrained_advantages(reward, cost, -1.0)
    with pytest.raises(ValueError, match="alike"):
        constrained_advantages(reward, cost[:, :1], 1.0)


def test_the_sign_pulls_unsafe_above_zero_safe_below_and_leaves_the_unknown_alone() -> None:
    cost = torch.tensor([0.5, 0.5, 0.5], requires_grad=True)
    loss = harm_sign(cost, torch.tensor([1.0, -1.0, 0.0]))
    assert loss.tolist() == pytest.approx([math.log1p(math.exp(-0.5)), math.log1p(math.exp(0.5)), 0.0])
    loss.sum().backward()
    assert cost.grad is not None
    assert cost.grad[0] < 0 < cost.grad[1] and float(cost.grad[2]) == 0.0


def test_the_violation_rate_counts_what_lies_above() -> None:
    assert float(violation_rate(torch.tensor([0.0, 0.5, 1.0, -1.0]), 0.0)) == 0.5
    assert float(violation_rate(torch.tensor([0.0, 0.5, 1.0, -1.0]), 0.5)) == 0.25
