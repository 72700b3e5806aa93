"""Labels saved: worked by hand, "no saving" where the interval covers nothing, and a real learner that chooses."""

from __future__ import annotations

import numpy as np
import pytest

from tutelage.statistics.saving import Curve, labels_saved, why_still_random
from tutelage.statistics.selection import Candidate, Selector, select
from tutelage.statistics.selection.disagreement import Disagreement
from tutelage.statistics.selection.random import Random


def test_half_of_the_labels_saved() -> None:
    random: list[Curve] = [[(100, 0.6), (200, 0.7), (400, 0.8)]] * 5
    chosen: list[Curve] = [[(100, 0.7), (200, 0.8), (400, 0.8)]] * 5
    found = labels_saved(random, chosen)
    assert found.interval is not None and found.interval.value == pytest.approx(0.5)
    assert str(found) == "50% of the labels saved (50% to 50%)"


def test_a_target_between_two_points_is_read_linearly() -> None:
    found = labels_saved([[(100, 0.6), (200, 0.7)]] * 5, [[(100, 0.5), (200, 1.0)]] * 5)
    assert found.interval is not None and found.interval.value == pytest.approx(1 - 140 / 200)


def test_no_saving_is_said_so() -> None:
    rng = np.random.default_rng(0)
    curves: list[list[Curve]] = [
        [[(n, 0.9 - 3 / n**0.5 + rng.normal(0, 0.02)) for n in (100, 200, 400)] for _ in range(8)] for _ in range(2)
    ]
    assert str(labels_saved(*curves)).startswith("no saving (")
    assert str(labels_saved(curves[0][:4], curves[1][:4])) == "no saving shown: 4 replicates, 5 are the least"
    never: list[Curve] = [[(100, 0.5), (200, 0.5)]] * 5
    assert str(labels_saved([[(100, 0.6), (200, 0.7)]] * 5, never)) == "costs 50% more"


def test_choosing_starts_when_the_model_knows_something() -> None:
    assert "199 labels" in why_still_random(199, 90, 100)
    assert "unknown" in why_still_random(300, 0, 0)
    assert "0.56 (0.46" in why_still_random(300, 56, 100)
    assert why_still_random(300, 65, 100) == ""


def test_choosing_by_disagreement_saves_labels_where_most_pairs_teach_nothing() -> None:
    """A linear taste in eight dimensions; nine pairs in ten differ in one known dimension only. Twelve seeds."""
    curves: dict[str, list[Curve]] = {"random": [], "disagreement": []}
    for seed in range(12):
        for name, selector in (("random", Random()), ("disagreement", Disagreement(0.0))):
            curves[name].append(_learn(selector, seed))
    found = labels_saved(curves["random"], curves["disagreement"])
    assert found.interval is not None and found.interval.low > 0.1
    assert "labels saved" in str(found)


def _learn(selector: Selector, seed: int) -> Curve:
    rng = np.random.default_rng(seed)
    taste = rng.normal(size=8)
    gaps = rng.normal(size=(500, 8)) * np.where(rng.random((500, 1)) < 0.9, np.eye(8)[0], 1.0)
    test = rng.normal(size=(800, 8))
    says = rng.random(500) < 1 / (1 + np.exp(-3 * gaps @ taste))
    known = list(range(20))
    curve: list[tuple[float, float]] = []
    for number in range(8):
        heads = np.array([_logistic(gaps, says, rng.choice(known, len(known))) for _ in range(4)])
        mean = _logistic(gaps, says, np.array(known))
        curve.append((float(len(known)), float(((test @ mean > 0) == (test @ taste > 0)).mean())))
        left = [place for place in range(500) if place not in set(known)]
        margin = gaps @ heads.T
        pool = [Candidate(str(n), str(n), "a", "b", tuple(map(float, margin[n])), (0.0,) * 4) for n in left]
        known += [int(chosen.candidate.id) for chosen in select(selector, pool, 20, seed=seed * 100 + number)]
    return curve


def _logistic(gaps: np.ndarray, says: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Ridge logistic regression by Newton's method."""
    x, y, weight = gaps[rows], says[rows].astype(float), np.zeros(gaps.shape[1])
    for _ in range(12):
        chance = 1 / (1 + np.exp(-np.clip(x @ weight, -30, 30)))
        curvature = x.T @ ((chance * (1 - chance))[:, None] * x) + 0.3 * np.eye(len(weight))
        weight -= np.linalg.solve(curvature, x.T @ (chance - y) + 0.3 * weight)
    return weight
