"""The 95% intervals: closed forms, coverage by simulation, and clusters."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tutelage.eval._base import Measure, bootstrap_gain, bootstrap_mean, standard_error, wilson


def test_wilson_equals_the_published_example() -> None:
    """Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662."""
    low, high = wilson(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


def test_wilson_of_all_wins_is_not_certain() -> None:
    low, high = wilson(20, 20)
    assert high == 1.0 and 0.83 < low < 0.84


def test_wilson_of_no_wins_begins_at_zero_exactly() -> None:
    assert [wilson(0, n)[0] for n in range(1, 50)] == [0.0] * 49


@pytest.mark.parametrize(("wins", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_proportion(wins: float, n: int) -> None:
    with pytest.raises(ValueError, match="proportion"):
        wilson(wins, n)


def test_bootstrap_of_independent_values_is_close_to_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 400).tolist()
    found = bootstrap_mean(values)
    half = 1.96 * standard_error(values)
    assert found.low is not None and found.high is not None
    assert math.isclose(found.value, float(np.mean(values)))
    assert abs(found.value - half - found.low) < 0.02 and abs(found.value + half - found.high) < 0.02


def test_copies_of_a_value_in_one_cluster_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(2).normal(size=60).tolist()
    once = bootstrap_mean(values)
    copied = bootstrap_mean(values * 5, list(range(60)) * 5)
    assert copied.n == 60 and once.low is not None and copied.low is not None
    assert math.isclose(once.low, copied.low, abs_tol=1e-12)


def test_the_interval_holds_the_truth_about_95_times_of_100_with_clusters() -> None:
    held = 0
    for trial in range(300):
        rng = np.random.default_rng(trial)
        shared = np.repeat(rng.normal(size=60), 4)
        values = (shared + rng.normal(size=240)).tolist()
        found = bootstrap_mean(values, np.repeat(np.arange(60), 4).tolist(), seed=trial)
        held += found.low is not None and found.high is not None and found.low <= 0.0 <= found.high
    assert 0.90 <= held / 300 <= 0.985


def test_weights_count() -> None:
    assert bootstrap_mean([0.0, 1.0], weights=[1.0, 3.0]).value == 0.75


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(6).normal(size=30).tolist()
    assert bootstrap_mean(values, seed=4) == bootstrap_mean(values, seed=4)
    assert bootstrap_mean(values, seed=4) != bootstrap_mean(values, seed=5)


def test_a_single_cluster_has_no_interval() -> None:
    found = bootstrap_mean([0.2, 0.4], ["p", "p"])
    assert found.low is None and found.high is None and found.n == 1


def test_a_paired_gain_is_sharper_than_two_separate_intervals() -> None:
    base = np.random.default_rng(3).normal(size=100)
    gain = bootstrap_gain(base.tolist(), (base + 0.1).tolist())
    assert gain.low is not None and math.isclose(gain.value, 0.1) and gain.low > 0.09


def test_unpaired_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        bootstrap_gain([1.0], [1.0, 2.0])


def test_a_measure_survives_json_and_never_writes_nan() -> None:
    measure = Measure(0.5, 0.4, 0.6, 10, "so")
    assert Measure.from_json(measure.as_json()) == measure
    assert Measure(math.nan).as_json()["value"] is None
