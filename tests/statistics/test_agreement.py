"""Agreement against published numbers, other people's code, and cases worked by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from random import Random

import numpy as np
import pytest

from tutelage.statistics.agreement import (
    Level,
    alpha_interval,
    cohen_kappa,
    gwet_ac1,
    krippendorff_alpha,
    percent_agreement,
    shared_items,
)
from tutelage.statistics.intervals import bootstrap, wilson

# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", example C: 4 observers, 12 units, missing data
_KRIPPENDORFF = {
    "A": [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    "B": [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    "C": [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    "D": [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
}


@pytest.mark.parametrize(
    ("level", "value"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)]
)
def test_alpha_of_the_published_example(level: Level, value: float) -> None:
    rows = [
        (unit, rater, float(answer))
        for rater, answers in _KRIPPENDORFF.items()
        for unit, answer in enumerate(answers)
        if answer is not None
    ]
    assert krippendorff_alpha(rows, level) == pytest.approx(value, abs=5e-4)


@pytest.mark.parametrize("name", ["krippendorff_2011_12units.csv", "krippendorff_wikipedia_15units.csv"])
def test_alpha_of_the_shared_tables(shared: Path, name: str) -> None:
    folder = shared / "data" / "rater_agreement"
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))[name]["computed"]
    rows = [(unit, coder, float(value)) for unit, coder, value in _table(folder / name)]
    for level in ("nominal", "ordinal", "interval", "ratio"):
        assert krippendorff_alpha(rows, level) == pytest.approx(expected[level], abs=5e-5)


@pytest.mark.parametrize("name", ["dawid_skene_1979.csv", "duck_answers.csv", "product_answers.csv"])
def test_alpha_of_real_crowds(shared: Path, name: str) -> None:
    folder = shared / "data" / "rater_agreement"
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))[name]["computed"]
    rows = [(item, rater, float(value)) for item, rater, value in _table(folder / name)]
    assert krippendorff_alpha(rows) == pytest.approx(expected["krippendorff_alpha_nominal"], abs=5e-5)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval", "ratio"])
def test_alpha_equals_the_krippendorff_package(level: Level) -> None:
    package = pytest.importorskip("krippendorff", reason="the krippendorff package is not installed")
    random = Random(3)
    table = np.full((5, 40), np.nan)
    for rater in range(5):
        for unit in range(40):
            if random.random() < 0.7:
                table[rater, unit] = max(0, min(5, round(unit % 6 + random.gauss(0, 1))))
    rows = [(unit, rater, float(table[rater, unit])) for rater, unit in zip(*np.nonzero(~np.isnan(table)), strict=True)]
    wanted = package.alpha(reliability_data=table, level_of_measurement=level)
    assert krippendorff_alpha(rows, level) == pytest.approx(wanted, abs=1e-9)


def test_undefined_is_none_and_never_nan() -> None:
    assert krippendorff_alpha([]) is None
    assert krippendorff_alpha([("a", "x", 1.0), ("b", "x", 2.0)]) is None  # nobody shares an item
    assert krippendorff_alpha([("a", "x", 1.0), ("a", "y", 1.0)]) is None  # no variation
    assert alpha_interval([("a", "x", 1.0), ("a", "y", 1.0)]) is None
    assert percent_agreement([("a", "x", 1.0)]) is None
    assert gwet_ac1([("a", "x", 1.0), ("a", "y", 1.0)]) is None
    assert cohen_kappa([], []) is None
    assert wilson(0, 0) is None
    assert shared_items([("a", "x", 1.0), ("a", "y", 1.0), ("b", "x", 1.0)]) == 1


def test_percent_agreement_worked_by_hand() -> None:
    rows = [("a", "x", 1.0), ("a", "y", 1.0), ("a", "z", 2.0), ("b", "x", 1.0), ("b", "y", 1.0)]
    found = percent_agreement(rows)
    assert found is not None
    assert found.value == pytest.approx((1 + 1) / (3 + 1))  # one equal pair of three, and one of one
    assert found.low <= found.value <= found.high


def test_kappa_worked_by_hand() -> None:
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: observed 0.7, chance 0.5
    first = ["y"] * 25 + ["n"] * 25
    second = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)
    rows = [
        (index, who, float(value == "y"))
        for who, values in (("1", first), ("2", second))
        for index, value in enumerate(values)
    ]
    chance = 2 * 0.55 * 0.45
    assert gwet_ac1(rows) == pytest.approx((0.7 - chance) / (1 - chance))


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Two raters, each right 80% of the time on a coin: true agreement 0.68."""
    random = Random(0)
    covered = 0
    for trial in range(100):
        truth = [random.random() < 0.5 for _ in range(80)]
        rows = [
            (index, rater, float(fact == (random.random() < 0.8)))
            for index, fact in enumerate(truth)
            for rater in ("x", "y")
        ]
        found = percent_agreement(rows, draws=200, seed=trial)
        covered += found is not None and found.low <= 0.68 <= found.high
    assert 88 <= covered <= 100


def test_wilson_of_a_textbook_case() -> None:
    found = wilson(0, 10)
    assert found is not None
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(0.2775, abs=1e-4)


def test_the_bootstrap_draws_whole_clusters() -> None:
    values = np.repeat([0.0, 1.0], 50)
    apart = bootstrap(lambda drawn: float(drawn @ values / drawn.sum()), 100, seed=1)
    whole = bootstrap(lambda drawn: float(drawn @ np.array([0.0, 1.0]) / drawn.sum()), 2, seed=1)
    assert apart is not None and whole is not None
    assert whole.high - whole.low > 4 * (apart.high - apart.low)


def _table(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]
