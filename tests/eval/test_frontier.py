"""Score against KL: the verdict on over-optimisation, the fitted curves, and several runs side by side."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tutelage.errors import DataError, MissingInputError
from tutelage.eval.frontier import (
    Point,
    RunPoint,
    as_json,
    best_of_points,
    fit,
    frontier,
    points_of,
    run_points,
    table,
)
from tutelage.eval.frontier_chart import chart


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


# Gao et al.'s forms


def test_exact_data_give_back_alpha_and_beta_and_the_peak() -> None:
    distances = [0.3, 0.8, 1.5, 2.4]
    best = fit(distances, [d * (1.2 - 0.4 * d) for d in distances], "best-of-n")
    assert (best.alpha, best.beta, best.explained) == pytest.approx((1.2, 0.4, 1.0))
    assert best.peak == pytest.approx(1.5) and best.gain(1.5) == pytest.approx(0.9)
    learned = fit(distances, [d * (1.2 - 0.8 * math.log(d)) for d in distances], "rl")
    assert (learned.alpha, learned.beta, learned.explained) == pytest.approx((1.2, 0.8, 1.0))
    peak = learned.peak
    assert peak == pytest.approx(math.exp(1.2 / 0.8 - 1))
    assert peak is not None and learned.gain(peak) > max(learned.gain(0.9 * peak), learned.gain(1.1 * peak))


def test_the_other_form_is_another_curve() -> None:
    """A stored page gives the form of best-of-n for both: it is not the same."""
    distances = [0.2, 0.5, 1.0, 2.0, 4.0]
    gains = [d * (1.0 - 0.6 * math.log(d)) for d in distances]
    assert fit(distances, gains, "best-of-n").explained < 0.999 < fit(distances, gains, "rl").explained


def test_a_score_that_only_rises_has_no_peak_and_two_distances_are_needed() -> None:
    assert fit([1.0, 2.0], [1.0, 3.0], "best-of-n").peak is None
    with pytest.raises(DataError, match="two distances"):
        fit([1.0, 1.0, 0.0], [1.0, 1.0, 0.0], "rl")


def test_best_of_n_on_answers_that_are_written_out_follows_its_form() -> None:
    """Exact laws q_n = F^n − F_^n of 400 answers; a proxy with a heavy tail: gold turns where the fit says."""
    count = 400
    gold = [math.sin(7.0 * index) for index in range(count)]
    error = [(2.0 if index % 50 == 0 else 0.0) + 0.5 * math.cos(3.0 * index) for index in range(count)]
    worth = [g - (2.5 if index % 50 == 0 else 0.0) for index, g in enumerate(gold)]
    order = sorted(range(count), key=lambda index: gold[index] + error[index])
    distances, gains, proxies = [], [], []
    mean = sum(worth) / count
    for n in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32):
        law = [((place + 1) / count) ** n - (place / count) ** n for place in range(count)]
        kl = sum(q * math.log(q * count) for q in law if q > 0)
        assert kl == pytest.approx(math.log(n) - (n - 1) / n, abs=0.02)
        distances.append(math.sqrt(max(kl, 0.0)))
        gains.append(sum(q * worth[index] for q, index in zip(law, order, strict=True)) - mean)
        proxies.append(sum(q * (gold[index] + error[index]) for q, index in zip(law, order, strict=True)))
    assert proxies == sorted(proxies) and gains[-1] < max(gains)
    found = fit(distances, gains, "best-of-n")
    assert found.explained > 0.8 and found.peak is not None
    assert found.peak == pytest.approx(distances[gains.index(max(gains))], abs=0.35)


# Several runs


def test_best_of_n_from_answers_is_the_mean_over_all_subsets() -> None:
    proxy, gold = [[3.0, 1.0, 2.0, 2.0]], [[0.1, 0.9, 0.4, 0.8]]
    for n in (1, 2, 3, 4):
        subsets = list(itertools.combinations(range(4), n))
        reward = sum(max(proxy[0][index] for index in some) for some in subsets) / len(subsets)
        worth = 0.0
        for some in subsets:
            top = max(proxy[0][index] for index in some)
            tied = [gold[0][index] for index in some if proxy[0][index] == top]
            worth += sum(tied) / len(tied) / len(subsets)
        (point,) = best_of_points(proxy, gold, [n])
        assert (point.reward, point.gold) == pytest.approx((reward, worth))
        assert point.kl == pytest.approx(math.log(n) - (n - 1) / n)
    with pytest.raises(ValueError, match="n = 5"):
        best_of_points(proxy, gold, [5])


def a_run(folder: Path, command: str, config: dict[str, float], rows: list[dict[str, float]]) -> Path:
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"command": command, "config": config}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_run_folders_become_a_table_and_a_picture(tmp_path: Path) -> None:
    rows = [{"step": 1, "policy/kl": 0.5, "reward/mean": 0.1}, {"step": 2, "policy/kl": 2.0, "reward/mean": 0.4}]
    ppo = a_run(tmp_path / "ppo", "ppo", {"kl": 0.05}, [*rows, {"step": 2, "eval/gold": 0.7, "eval/reward": 0.5}])
    dpo = a_run(tmp_path / "dpo", "dpo", {"beta": 0.1}, [{"step": 1, "loss": 0.6}])
    with pytest.raises(DataError, match="no KL"):
        run_points([ppo, dpo])
    (dpo / "eval").mkdir()
    measures = {"kl": {"value": 3.0}, "model/reward": {"value": 0.6}, "model/gold": {"value": 0.65}}
    (dpo / "eval/eval.json").write_text(json.dumps({"measures": measures}))
    points = run_points([ppo, dpo])
    assert points == [
        RunPoint("ppo", "kl 0.05", 2.0, 0.5, 0.7, str(ppo)),
        RunPoint("dpo", "beta 0.1", 3.0, 0.6, 0.65, str(dpo)),
    ]
    assert "| dpo | beta 0.1 | 3.000 | 0.600 | 0.650 |" in table(points)
    curve = fit([1.0, 2.0], [0.3, 0.2], "rl")
    svg = chart(points, score="gold", title="a < b", start=0.4, fits={"ppo": curve})
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg") and svg.count("<circle") == 4 and "a &lt; b" in svg and "<polyline" in svg
    assert chart([RunPoint("x", "", 1.0, 1.0, None)], score="gold", title="", start=0.0, fits={}) == ""
    told = as_json(points, {"ppo": curve})
    assert json.loads(json.dumps(told))["fits"]["ppo"]["peak"] == curve.peak
    with pytest.raises(MissingInputError):
        run_points([tmp_path / "nothing"])
