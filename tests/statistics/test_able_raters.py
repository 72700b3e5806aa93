"""GLAD, noisy Bradley–Terry and Dawid–Skene against crowd-kit, and raters whose faults were planted."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from random import Random

import numpy as np
import pytest

from tutelage.statistics.glad import glad
from tutelage.statistics.noisy import Click, _Fit, noisy_bradley_terry
from tutelage.statistics.raters import dawid_skene

# crowd-kit 1.4.2, GLAD(n_iter=400, m_step_tol=1e-9): abilities, logs of ease, P(class 0) of the first items
GLAD_OF_TWO = (
    [1.341324219, 0.339974689, 0.743217496, -0.244372684, -0.330169242],
    [0.498121344, 1.619705684, 1.13856316, 1.619705684, 0.92345963, 0.954518577],
    [0.570010605, 9.05e-07, 0.974665048, 9.05e-07, 0.07856189, 0.995454046, 0.071454341, 9.05e-07],
)
# crowd-kit 1.4.2, DawidSkene(n_iter=1000) of the data of Dawid & Skene 1979: prevalence
DAWID_SKENE = [0.39955475288, 0.42198339191, 0.11179518854, 0.06666666667]
GLAD_OF_THREE = (
    [1.348171645, 0.406371037, 0.596615112, 0.046857178, -0.309682582],
    [0.521065178, 1.640568068, 1.705773215, 1.640568068, 0.475413319, 0.871035757],
    [0.208678134, 6.76e-07, 0.000385863, 0.99999905, 0.061348915, 0.98572412, 0.177167062, 6.76e-07],
)


@pytest.mark.parametrize(("classes", "wanted"), [(2, GLAD_OF_TWO), (3, GLAD_OF_THREE)])
def test_glad_equals_crowd_kit(classes: int, wanted: tuple[list[float], list[float], list[float]]) -> None:
    found = glad(_few_answers(classes))
    assert [found.ability[rater] for rater in range(5)] == pytest.approx(wanted[0], abs=1e-6)
    assert [math.log(found.ease[item]) for item in range(6)] == pytest.approx(wanted[1], abs=1e-6)
    assert [found.posteriors[item][0] for item in range(8)] == pytest.approx(wanted[2], abs=1e-6)


def test_glad_finds_the_upside_down_rater_and_the_hard_items() -> None:
    random = Random(0)
    accuracy = {"good": 0.95, "fair": 0.8, "coin": 0.5, "liar": 0.1}
    rows = [
        (item, f"{name}{copy}", _answer(random, item % 2, 0.5 if item < 60 else chance, 2))
        for item in range(300)
        for name, chance in accuracy.items()
        for copy in range(1 if name == "liar" else 2)
    ]
    found = glad(rows)
    assert found.ability["good0"] > found.ability["fair0"] > found.ability["coin0"] > found.ability["liar0"]
    assert found.ability["liar0"] < -0.5 and abs(found.ability["coin1"]) < 0.35
    ease = np.array([found.ease[item] for item in range(300)])
    assert ease[:60].mean() < ease[60:].mean()
    assert np.mean([found.labels[item] == item % 2 for item in range(60, 300)]) > 0.95


def test_glad_of_nothing_and_of_one_voice() -> None:
    assert glad([]).labels == {}
    assert glad([("a", "x", "yes"), ("b", "x", "yes")]).labels == {"a": "yes", "b": "yes"}


def test_dawid_skene_equals_crowd_kit(shared: Path) -> None:
    with (shared / "data" / "rater_agreement" / "dawid_skene_1979.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row[0], row[1], row[2]) for row in list(csv.reader(file))[1:]]
    found = dawid_skene(rows, smoothing=0, rounds=1000, tolerance=0)
    assert found.prevalence == pytest.approx(DAWID_SKENE, abs=1e-6)


def test_the_noisy_likelihood_equals_crowd_kit_and_its_slope_is_its_slope() -> None:
    """crowd-kit 1.4.2, `_compute_log_likelihood`; its fit is no oracle (its slope of q is written to another place)."""
    random = Random(1)
    pairs: list[tuple[int, int, int, int]] = []
    for _ in range(60):
        left, right = random.sample(range(4), 2)
        pairs.append((left, right, random.choice((left, right)), random.randrange(3)))
    left, right, chosen, rater = (np.array(column) for column in zip(*pairs, strict=True))
    fit = _Fit(left, right, rater, np.where(left == chosen, 1.0, -1.0), 4, 3, 0.1)
    theta = np.array([0.5, -0.2, 0.1, 0.9, 0.3, -0.4, 1.0, 1.2, -0.3, 0.6])
    assert -fit.likelihood(theta)[0].sum() == pytest.approx(44.74717580041238, abs=1e-9)
    slope = fit.negative(theta)[1]
    for index in range(len(theta)):
        step = np.zeros(len(theta))
        step[index] = 1e-6
        wanted = (fit.negative(theta + step)[0] - fit.negative(theta - step)[0]) / 2e-6
        assert slope[index] == pytest.approx(wanted, abs=1e-6)


def test_who_does_not_look_is_found_and_no_longer_blurs_the_strengths() -> None:
    random = Random(6)
    true = {"a": 1.2, "b": 0.4, "c": -0.3, "d": -1.3}
    habits = {"left": 0.95, "coin": 0.5}
    clicks: list[Click] = []
    for _ in range(400):
        for rater in ("ann", "bob", "eve", *habits):
            left, right = random.sample(sorted(true), 2)
            chance = habits.get(rater, 1 / (1 + math.exp(true[right] - true[left])))
            clicks.append(Click(rater, left, right, random.random() < chance))
    found = noisy_bradley_terry(clicks, prior=0.01)
    assert list(found.strengths) == ["a", "b", "c", "d"]
    assert list(found.strengths.values()) == pytest.approx(list(true.values()), abs=0.35)
    assert min(found.looks[name] for name in ("ann", "bob", "eve")) > 0.8
    assert max(found.looks[name] for name in habits) < 0.3
    assert found.clicks_left["left"] > 0.85 and found.clicks_left["coin"] == pytest.approx(0.5, abs=0.1)
    assert noisy_bradley_terry([]).strengths == {}


def _few_answers(classes: int) -> list[tuple[int, int, int]]:
    random = Random(5)
    rows: list[tuple[int, int, int]] = []
    for item in range(24):
        for rater, chance in enumerate((0.95, 0.85, 0.7, 0.5, 0.3)):
            if (item * 3 + rater) % 6:
                rows.append((item, rater, _answer(random, item % classes, chance, classes)))
    return rows


def _answer(random: Random, truth: int, chance: float, classes: int) -> int:
    return truth if random.random() < chance else (truth + 1 + random.randrange(classes - 1)) % classes
