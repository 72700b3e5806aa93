"""Preference accuracy, calibration and the length-only baseline."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tutelage.eval.preference import accuracy, calibration, length_only
from tutelage.types import Preference


def test_equal_scores_count_half() -> None:
    assert accuracy([1.0, -1.0, 0.0, 2.0]).value == 0.625


def test_pairs_of_one_ranking_are_one_group() -> None:
    margins = [1.0, 1.0, 1.0, -1.0, -1.0, -1.0] * 20
    grouped = accuracy(margins, [index // 3 for index in range(120)])
    alone = accuracy(margins)
    assert grouped.n == 40 and grouped.low is not None and alone.low is not None and grouped.low < alone.low


def test_a_margin_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        accuracy([math.nan])


def test_a_scorer_that_is_as_sure_as_it_is_right_is_calibrated() -> None:
    rng = np.random.default_rng(0)
    strength = rng.exponential(1.5, 20000)
    right = rng.random(20000) < 1 / (1 + np.exp(-strength))
    assert calibration(np.where(right, strength, -strength).tolist()).ece < 0.015


def test_an_overconfident_scorer_is_not() -> None:
    assert math.isclose(calibration([9.0, -9.0]).ece, 1 / (1 + math.exp(-9)) - 0.5)


def test_length_only_learns_its_direction_on_the_training_pairs() -> None:
    longer = Preference("q", "a b c", "a")
    shorter = Preference("q", "字", "字字字")
    assert length_only([longer, longer, shorter]).value == pytest.approx(2 / 3)
    assert length_only([longer, longer, shorter], train=[shorter]).value == pytest.approx(1 / 3)
    assert "shorter" in length_only([longer], train=[shorter]).how
