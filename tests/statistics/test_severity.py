"""Raters' scales: a severe and a mild rater who agree come out equal, and few scores make nobody extreme."""

from __future__ import annotations

import pytest

from tutelage.statistics.severity import rater_scales


def test_a_severe_and_a_mild_rater_who_agree_in_order_get_the_same_standard_scores() -> None:
    severe, mild = [0.0, 0.1, 0.2] * 50, [0.6, 0.7, 0.8] * 50
    scales = rater_scales([("s", "a", x) for x in severe] + [("m", "a", x) for x in mild], prior=0)
    for low, high in zip(severe, mild, strict=True):
        assert scales["s", "a"].standard(low) == pytest.approx(scales["m", "a"].standard(high))
    assert scales["s", "a"].mean == pytest.approx(0.1) and scales["s", "a"].scores == 150


def test_a_rater_of_one_score_is_drawn_to_everybody() -> None:
    scales = rater_scales([("a", "x", 0.4)] * 50 + [("a", "x", 0.6)] * 50 + [("b", "x", 1.0)], prior=10)
    everyone = scales["", "x"]
    assert everyone.mean < scales["b", "x"].mean < 0.6
    assert 0 < scales["b", "x"].standard(1.0) < everyone.standard(1.0), "one high score is mostly the answer's merit"
    assert scales["a", "x"].mean == pytest.approx((50 + 10 * everyone.mean) / 110)


def test_equal_scores_are_no_division_by_nothing() -> None:
    assert rater_scales([("a", "x", 0.5)] * 3)["a", "x"].standard(0.5) == 0
    assert rater_scales([]) == {}
