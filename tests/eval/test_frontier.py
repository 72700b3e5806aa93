"""Score against KL: the verdict on over-optimisation."""

from __future__ import annotations

from tutelage.eval.frontier import Point, frontier, points_of


def test_gold_falling_while_the_proxy_rises_is_over_optimisation() -> None:
    found = frontier([Point(0, 0.0, 0.0, 0.5), Point(1, 2.0, 1.0, 0.8), Point(2, 9.0, 2.0, 0.6)])
    assert found.over_optimised and found.best == Point(1, 2.0, 1.0, 0.8) and abs(found.lost - 0.2) < 1e-12


def test_both_rising_or_a_fall_within_noise_is_not() -> None:
    assert not frontier([Point(0, 0.0, 0.0, 0.5), Point(1, 2.0, 1.0, 0.8)]).over_optimised
    assert not frontier([Point(0, 0.0, 0.0, 0.80), Point(1, 2.0, 1.0, 0.79)]).over_optimised


def test_without_gold_there_is_no_verdict() -> None:
    found = frontier([Point(0, 0.0, 0.0, None)])
    assert found.best is None and not found.over_optimised


def test_points_come_from_rows_that_hold_what_is_needed() -> None:
    rows = [{"step": 0, "kl": 0.0, "r": 1}, {"step": 1, "r": 2.0}, {"step": 2, "kl": 1.0, "gold": 0.5}, {"kl": 2}]
    assert points_of(rows, "kl", "r", "gold") == [Point(0, 0.0, 1.0, None), Point(2, 1.0, None, 0.5)]
