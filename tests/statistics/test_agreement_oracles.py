"""Kappas, AC1 and tau-b against published numbers and other people's code; intervals; what is undefined, by name."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest

from tutelage.statistics.agreement import (
    NO_VARIATION,
    NOTHING_SHARED,
    Coefficient,
    Row,
    cohen_kappa,
    fleiss_kappa,
    gwet_ac1,
    krippendorff_alpha,
    measure,
    rank_agreement,
    tau_b,
)

COEFFICIENTS: tuple[Coefficient, ...] = ("alpha", "percent", "fleiss", "ac1", "cohen")


def test_coefficients_equal_irrcac_where_answers_are_missing() -> None:
    """Numbers of irrCAC 0.4.4 (told its categories), which cannot be installed beside a modern SciPy."""
    rows = _with_holes()
    assert gwet_ac1(rows) == pytest.approx(0.531734567436, abs=1e-9)
    assert fleiss_kappa(rows) == pytest.approx(0.528233565768, abs=1e-9)
    assert krippendorff_alpha(rows) == pytest.approx(0.540925266904, abs=1e-9)


def test_kappas_equal_statsmodels() -> None:
    """Numbers of statsmodels 0.15.0."""
    rows = _whole()
    assert fleiss_kappa(rows) == pytest.approx(0.6144975288303128, abs=1e-9)
    one, two = ([value for _, rater, value in rows if rater == who] for who in (0, 1))
    assert cohen_kappa(one, two) == pytest.approx(0.6, abs=1e-9)


def test_kappa_equals_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    random = Random(4)
    one = [random.choice("abc") for _ in range(200)]
    two = [answer if random.random() < 0.6 else random.choice("abc") for answer in one]
    assert cohen_kappa(one, two) == pytest.approx(metrics.cohen_kappa_score(one, two), abs=1e-12)


def test_tau_b_equals_scipy() -> None:
    from scipy.stats import kendalltau

    random = Random(2)
    for size in (4, 5, 9):
        one, two = ([1, 2, *(random.randrange(1, size) for _ in range(size))] for _ in range(2))
        assert tau_b(one, two) == pytest.approx(float(kendalltau(one, two).statistic), abs=1e-12)
    assert tau_b([1, 2, 3], [3, 2, 1]) == -1
    assert tau_b([1, 1, 1], [1, 2, 3]) is None


def test_kappas_of_three_real_raters(shared: Path) -> None:
    """PandaLM: 999 pairs, three people; the numbers of its README and ours to four digits."""
    told = json.loads((shared / "data" / "rater_agreement" / "expected.json").read_text(encoding="utf-8"))
    rows = _panda(shared / "data" / "ratings" / "en_pandalm_3raters.jsonl")
    names = sorted(name for name in told if name.startswith("ratings/en_pandalm"))
    expected = next(told[name]["computed"] for name in names if told[name].get("rows", 999) == len(rows) // 3)
    by_rater = [[value for _, who, value in rows if who == rater] for rater in range(3)]
    for one, two in ((0, 1), (0, 2), (1, 2)):
        wanted = expected[f"cohen_kappa_{one + 1}{two + 1}"]
        assert cohen_kappa(by_rater[one], by_rater[two]) == pytest.approx(wanted, abs=5.1e-5)
    assert fleiss_kappa(rows) == pytest.approx(expected["fleiss_kappa"], abs=5.1e-5)
    assert krippendorff_alpha(rows) == pytest.approx(expected["krippendorff_alpha_nominal"], abs=5.1e-5)


def test_alpha_of_scores_of_real_raters(shared: Path) -> None:
    told = json.loads((shared / "data" / "rater_agreement" / "expected.json").read_text(encoding="utf-8"))
    for name, key in (
        ("zh2en_mqm_3raters", "interval"),
        ("en2zh_mlqe.test", "interval (raters anonymous, by position)"),
    ):
        path = shared / "data" / "ratings" / f"{name}.jsonl"
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        rows = [(line["id"], who, float(score)) for line in lines for who, score in enumerate(line["scores"])]
        wanted = next(value["computed"] for said, value in told.items() if said.startswith(f"ratings/{name}"))
        assert krippendorff_alpha(rows, "interval") == pytest.approx(wanted[f"krippendorff_alpha_{key}"], abs=5.1e-5)


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_what_is_undefined_says_why(coefficient: Coefficient) -> None:
    alone: list[Row] = [("a", "x", 1.0), ("b", "y", 2.0)]
    assert str(measure(alone, coefficient)) == f"undefined: {NOTHING_SHARED}"
    assert measure([], coefficient).undefined == NOTHING_SHARED
    same: list[Row] = [(item, rater, 1.0) for item in "abc" for rater in "xy"]
    found = measure(same, coefficient, draws=5)
    assert found.items == 3
    if coefficient == "percent":
        assert found.interval is not None and found.interval.value == 1
    else:
        assert (found.interval, found.undefined) == (None, NO_VARIATION)


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_intervals_cover_the_value_of_a_large_crowd(coefficient: Coefficient) -> None:
    """40 samples of 60 items: the 95% interval holds the number of 20,000 items in most of them."""
    truth = measure(_crowd(20000, seed=99), coefficient, draws=0).interval
    assert truth is not None
    held = 0
    for seed in range(40):
        found = measure(_crowd(60, seed), coefficient, draws=100, seed=seed).interval
        assert found is not None
        held += found.low <= truth.value <= found.high
    assert held >= 34


def test_items_of_one_prompt_are_drawn_together() -> None:
    """Ten items of each prompt that agree or not all together: the interval must not shrink as if they were apart."""
    random = Random(3)
    rows: list[Row] = []
    clusters: dict[object, object] = {}
    for prompt in range(30):
        agree = random.random() < 0.7
        for item in range(10):
            name = f"{prompt}.{item}"
            clusters[name] = prompt
            value = float(item % 2)
            rows += [(name, "x", value), (name, "y", value if agree else 1 - value)]
    apart, together = measure(rows, "alpha"), measure(rows, "alpha", clusters=clusters)
    assert apart.interval is not None and together.interval is not None
    assert apart.interval.value == together.interval.value
    wide, narrow = (found.interval.high - found.interval.low for found in (together, apart) if found.interval)
    assert wide > 2 * narrow


def test_rankings_agree_by_tau_b() -> None:
    rows = [("q", "x", (1, 2, 3)), ("q", "y", (1, 3, 2)), ("q", "z", (3, 2, 1)), ("r", "x", (1, 2, 3))]
    found = rank_agreement(rows, draws=10)
    assert found.interval is not None and found.items == 1
    assert found.interval.value == pytest.approx((1 / 3 - 1 - 1 / 3) / 3)
    assert rank_agreement(rows[3:]).undefined == NOTHING_SHARED
    assert rank_agreement([("q", "x", (1, 1)), ("q", "y", (1, 2))]).undefined == NO_VARIATION


def _with_holes() -> list[Row]:
    """90 answers of four raters to 30 items, a quarter missing, by a congruential generator that anybody can repeat."""
    state, rows = 12345, list[Row]()
    for unit in range(30):
        for rater in range(4):
            state = (1103515245 * state + 12345) % 2**31
            drawn = (state >> 8) % 100
            if drawn >= 25:
                rows.append((unit, rater, float((unit * 7 % 4 + (drawn % 5 == 0) * (drawn % 3)) % 4)))
    return rows


def _whole() -> list[Row]:
    return [(u, r, float((u * 7 % 4 + ((u * 5 + r * 3) % 7 == 0)) % 4)) for u in range(30) for r in range(3)]


def _crowd(items: int, seed: int) -> list[Row]:
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, items, p=[0.5, 0.3, 0.2])
    given = np.where(rng.random((items, 3)) < 0.75, truth[:, None], rng.integers(0, 3, (items, 3)))
    return [(item, rater, float(given[item, rater])) for item in range(items) for rater in range(3)]


def _panda(path: Path) -> list[Row]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(line["id"], rater, float(vote)) for line in lines for rater, vote in enumerate(_votes(line))]


def _votes(line: dict[str, list[str]]) -> list[int]:
    return [{"a": 1, "b": 2, "tie": 0}[str(vote)] for vote in line["votes"]]
