"""Over-optimisation along one way: what the proxy promises, where gold peaks, where the two part, Gao's forms."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tutelage.errors import DataError
from tutelage.eval.frontier import Point
from tutelage.eval.turnover import Course, Promise, as_json, chosen, promise, table, trained, turnover, windows
from tutelage.eval.turnover_chart import chart


def _run(steps: int = 120, noise: float = 0.01, seed: int = 0) -> list[Point]:
    """A run whose gold follows d(0.2 − 0.1 log d) from 0.4 and whose proxy rises for ever, 0.3 a unit of d."""
    draw = random.Random(seed)
    ways = [(step, 0.1 * (step + 1)) for step in range(steps)]
    return [Point(step, d * d, 3.0 * d, 0.4 + d * (0.2 - 0.1 * math.log(d)) + draw.gauss(0, noise)) for step, d in ways]


START = Promise(proxy=0.0, gold=0.4, slope=0.1, correlation=0.5)


# What a point of the proxy is worth


def test_prompts_of_another_level_say_nothing_about_the_slope() -> None:
    found = promise([[0.0, 1.0], [10.0, 11.0]], [[0.2, 0.4], [0.1, 0.3]])
    assert found.slope == pytest.approx(0.2) and found.correlation == pytest.approx(1.0)
    assert found.gold == pytest.approx(0.25) and found.of(found.proxy + 1) == pytest.approx(0.45)


def test_a_proxy_that_tells_no_two_answers_apart_is_refused() -> None:
    with pytest.raises(DataError, match="no two answers"):
        promise([[1.0, 1.0], [2.0, 2.0]], [[0.1, 0.2], [0.3, 0.4]])


# Windows


def test_windows_are_means_and_a_shorter_end_is_left_out() -> None:
    points = [Point(step, float(step), 2.0 * step, 0.1 * step) for step in range(7)]
    means, noise = windows(points, 3)
    assert [(one.step, one.kl, one.proxy) for one in means] == [(2, 1.0, 2.0), (5, 4.0, 8.0)]
    assert means[1].gold == pytest.approx(0.4) and noise == pytest.approx(0.1 / math.sqrt(3))


def test_the_scatter_of_steps_is_the_noise_of_their_mean() -> None:
    draw = random.Random(1)
    points = [Point(step, 1.0, 0.0, draw.gauss(0.5, 0.2)) for step in range(2000)]
    assert windows(points, 10)[1] == pytest.approx(0.2 / math.sqrt(10), rel=0.05)


def test_too_short_a_run_is_refused() -> None:
    with pytest.raises(DataError, match="no window of 5"):
        windows([Point(0, 0.0, 0.0, 0.0)] * 4, 5)


# The turn


def test_a_turn_is_found_where_it_lies_and_gao_s_form_comes_back() -> None:
    found = turnover(trained("ppo", _run(), 5, START), 0.4)
    assert found.turned and found.lost > 0.3
    assert found.gold is not None and (found.gold.alpha, found.gold.beta) == pytest.approx((0.2, 0.1), abs=0.01)
    peak = found.gold.peak
    assert peak == pytest.approx(math.e, rel=0.05) and abs(math.sqrt(found.peak.kl) - math.e) < 1.0


def test_gold_that_keeps_up_with_the_promise_neither_turns_nor_parts() -> None:
    points = tuple(Point(step, float(step), 0.4 + 0.1 * step, 0.4 + 0.1 * step) for step in range(1, 6))
    found = turnover(Course("rloo", "rl", points, 0.01), 0.4)
    assert not found.turned and found.parted is None and found.peak.step == 5


def test_a_gap_within_the_noise_is_no_parting_and_a_gap_that_closes_again_is_none() -> None:
    def course(golds: list[float]) -> Course:
        return Course("rloo", "rl", tuple(Point(i, i + 1.0, 0.6, gold) for i, gold in enumerate(golds)), 0.02)

    assert turnover(course([0.59, 0.58, 0.57]), 0.5).parted is None
    assert turnover(course([0.60, 0.40, 0.59]), 0.5).parted is None
    parted = turnover(course([0.60, 0.40, 0.59, 0.50, 0.45]), 0.5).parted
    assert parted is not None and parted.step == 3


def test_a_fall_within_two_errors_of_the_difference_is_no_turn() -> None:
    points = (Point(1, 1.0, 0.6, 0.60), Point(2, 2.0, 0.7, 0.55))
    assert not turnover(Course("rloo", "rl", points, 0.02), 0.5).turned
    assert turnover(Course("rloo", "rl", points, 0.01), 0.5).turned


# Best of n


def test_choosing_by_an_honest_proxy_keeps_the_promise_and_by_a_false_one_does_not() -> None:
    draw = random.Random(3)
    gold = [[draw.random() for _ in range(16)] for _ in range(40)]
    honest = chosen(gold, gold, [1, 4, 16], promise(gold, gold))
    assert [one.step for one in honest.points] == [1, 4, 16] and honest.points[0].kl == 0
    for point in honest.points:
        assert point.proxy == pytest.approx(point.gold)
    false = [[(-5 if value > 0.8 else 1) * value for value in row] for row in gold]
    worse = chosen(false, gold, [1, 4, 16], promise(false, gold))
    assert (worse.points[-1].gold or 0) < 0.8 and worse.noise < 0.05


# What is written


def test_the_table_the_file_and_the_picture_tell_the_same(tmp_path: Path) -> None:
    rows = [("60 prompts", turnover(trained(name, _run(seed=seed), 10, START), 0.4)) for seed, name in enumerate("ab")]
    rows.append(
        ("60 prompts", turnover(chosen([[0.1, 0.4], [0.3, 0.2]], [[0.1, 0.4], [0.2, 0.3]], [1, 2], START), 0.4))
    )
    text = table(rows)
    assert text.count("| 60 prompts |") == 3 and "| yes |" in text
    told = json.loads(json.dumps(as_json(rows[0][1]), allow_nan=False))
    assert told["turned"] and told["fit_gold"]["peak"] == pytest.approx(math.e, rel=0.1)
    drawn = chart([("proxy of 60 prompts", [one for _, one in rows])], "turn <over>")
    tree = ElementTree.fromstring(drawn)
    lines = [one for one in tree.iter() if one.tag.endswith("polyline")]
    dashed = [one for one in lines if "stroke-dasharray" in one.attrib]
    assert len(lines) >= 3 * 2 + 2 * 2 and len(dashed) >= 3 + 2
    assert "turn &lt;over&gt;" in drawn and chart([], "none") == ""
    (tmp_path / "t.svg").write_text(drawn)
