"""Where the score lands, what drifting costs, and how the coefficient follows."""

from __future__ import annotations

import pytest
import torch

from tutelage.ops.shaping import AdaptiveKL, FixedKL, at_last, kl_penalty, missing_stop, on_every, overlong

NAN = float("nan")
MASK = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0]]).bool()


def test_the_score_lands_on_the_last_real_token() -> None:
    got = at_last(torch.tensor([1.0, 2.0, 3.0, 4.0]), MASK)
    assert got.tolist() == [[0, 0, 1], [2, 0, 0], [0, 3, 0], [0, 0, 0]]


def test_a_wrong_shape_of_scores_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be \[B\]"):
        at_last(torch.ones(4, 1), MASK)


def test_the_penalty_is_per_token_signed_and_detached() -> None:
    logp = torch.tensor([[-1.0, -2.0, NAN]], requires_grad=True)
    got = kl_penalty(logp, torch.tensor([[-1.5, -1.0, NAN]]), torch.tensor([[1, 1, 0]]), 0.1)
    torch.testing.assert_close(got, torch.tensor([[-0.05, 0.1, 0.0]]))
    assert not got.requires_grad


def test_only_cut_answers_pay() -> None:
    assert missing_stop(1.5, torch.tensor([True, False])).tolist() == [0, -1.5]
    with pytest.raises(ValueError, match="≥ 0"):
        missing_stop(-1.0, torch.tensor([True]))


def test_the_adaptive_coefficient_follows_ziegler() -> None:
    coefficient = AdaptiveKL(target=6.0, horizon=10_000, coef=0.2)
    coefficient.update(kl=60.0, n=512)
    assert coefficient.coef == pytest.approx(0.2 * (1 + 0.2 * 512 / 10_000))
    coefficient.update(kl=5.7, n=512)
    assert coefficient.coef == pytest.approx(0.2 * (1 + 0.2 * 0.0512) * (1 - 0.05 * 0.0512))


def test_the_adaptive_coefficient_stays_positive() -> None:
    coefficient = AdaptiveKL(target=1.0, horizon=10, coef=0.1)
    for _ in range(100):
        coefficient.update(kl=-5.0, n=10_000)
    assert 0 < coefficient.coef < 0.1


@pytest.mark.parametrize("make", [lambda: AdaptiveKL(6.0, 100, 0.2), lambda: FixedKL(0.2)])
def test_a_restored_coefficient_goes_on_the_same(make) -> None:
    one, other = make(), make()
    one.update(9.0, 8)
    other.restore(one.state())
    one.update(1.0, 8)
    other.update(1.0, 8)
    assert one.coef == other.coef


def test_nonsense_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="coef -1"):
        FixedKL(-1)
    with pytest.raises(ValueError, match="target 0"):
        AdaptiveKL(0)


def test_a_number_per_answer_stands_on_all_its_tokens() -> None:
    got = on_every(torch.tensor([1.0, 2.0, 3.0, 4.0]), MASK)
    assert got.tolist() == [[1, 1, 1], [2, 0, 0], [0, 3, 0], [0, 0, 0]]


def test_the_overlong_price_rises_over_the_last_tokens() -> None:
    assert overlong(torch.tensor([1, 6, 7, 8, 10]), limit=10, margin=4).tolist() == [0, 0, -0.25, -0.5, -1.0]
    with pytest.raises(ValueError, match="margin 11"):
        overlong(torch.tensor([1]), limit=10, margin=11)
