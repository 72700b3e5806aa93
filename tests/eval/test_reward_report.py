"""The reward report: it finds a model that reads length, is unsure or can be gamed, and what labels would bring."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tutelage.eval._report_read import RunFolder
from tutelage.eval._report_reward import tables
from tutelage.eval.learning_curve import learning_curve
from tutelage.eval.reward_report import FILE, reward_report
from tutelage.statistics.calibration import temperature
from tutelage.statistics.evidence import AnswerScores, PairScores, RewardEvidence

DRAW = np.random.default_rng(5)


def pairs(margin: np.ndarray, length: np.ndarray | None = None, members: int = 1, features: int = 0) -> PairScores:
    count = len(margin)
    return PairScores(
        margin,
        DRAW.integers(-5, 6, count).astype(float) if length is None else length,
        np.ones(count),
        tuple(f"p{index // 2}" for index in range(count)),
        np.stack([margin + DRAW.normal(size=count) for _ in range(members)], 1),
        DRAW.normal(size=(count, features)),
    )


def evidence(held_out: PairScores, **probes: np.ndarray) -> RewardEvidence:
    score = DRAW.normal(size=100)
    return RewardEvidence(held_out, held_out, score, DRAW.integers(5, 30, 100).astype(float), probes)


def honest(count: int, sureness: float = 1.0) -> np.ndarray:
    """Margins of a model that is right as often as it says, then told `sureness` times as loudly."""
    margin = np.abs(DRAW.normal(size=count)) * 2
    right = DRAW.random(count) < 1 / (1 + np.exp(-margin))
    return np.where(right, margin, -margin) * sureness


@pytest.mark.parametrize("sureness", [0.25, 1.0, 4.0])
def test_the_temperature_undoes_how_loudly_a_model_speaks(sureness: float) -> None:
    assert temperature(honest(20000, sureness)) == pytest.approx(sureness, rel=0.1)


def test_a_model_that_knows_nothing_is_told_to_be_silent() -> None:
    assert temperature(np.array([1.0, -1.0])) > 900 and temperature(np.array([-1.0, -2.0])) > 900


def test_calibration_is_measured_before_and_after_on_other_prompts() -> None:
    found = reward_report(evidence(pairs(honest(2000, 4.0)))).measures
    assert found["ece"].value > 0.1 > found["ece_after"].value * 2 and found["temperature"].value > 3


def test_a_model_that_reads_length_alone_is_found_out() -> None:
    length = DRAW.integers(2, 7, 600) * np.where(DRAW.random(600) < 0.7, 1.0, -1.0)
    said = reward_report(evidence(pairs(0.2 * length, length)))
    assert said.measures["length_only"].value == pytest.approx(said.measures["accuracy"].value, abs=0.1)
    assert any("length" in note for note in said.notes)


def test_chance_and_a_probe_that_pays_are_said_so() -> None:
    report = reward_report(evidence(pairs(DRAW.normal(size=200)), **{"said twice": np.full(50, 2.0)}))
    assert any("chance" in note for note in report.notes)
    assert any("gamed: said twice" in note for note in report.notes)
    assert report.lines() and json.loads(json.dumps(report.as_json()))["measures"]["accuracy"]["n"] == 100


def test_an_ensemble_is_righter_where_its_heads_agree() -> None:
    found = reward_report(evidence(pairs(honest(2000), members=4))).measures
    assert found["accuracy_where_heads_agree"].value > found["accuracy"].value > found["accuracy_of_one_head"].value


def test_without_held_out_pairs_it_says_so() -> None:
    report = reward_report(evidence(pairs(np.zeros(0))))
    assert "accuracy" not in report.measures and any("--eval-data" in note for note in report.notes)


def world(count: int, truth: np.ndarray) -> np.ndarray:
    features = DRAW.normal(size=(count, len(truth)))
    wins = DRAW.random(count) < 1 / (1 + np.exp(-features @ truth))
    return features * np.where(wins, 1, -1)[:, None]


def test_the_learning_curve_rises_and_foretells_what_more_labels_did_bring() -> None:
    truth = DRAW.normal(size=60) * 0.5
    everything, held = world(600, truth), world(6000, truth)
    names = [f"p{index // 2}" for index in range(600)]
    early = learning_curve(everything[:300], held, names[:300], more=300)
    late = learning_curve(everything, held, names)
    assert early is not None and late is not None
    accuracies = [right for _, right in early.points]
    assert accuracies == sorted(accuracies) and early.points[-1][0] == 300
    gained = late.points[-1][1] - early.points[-1][1]
    assert early.double == early.gain and early.gain[0] == pytest.approx(gained, abs=0.03) and gained > 0.015
    assert 0 <= late.gain[0] < early.gain[0], "60 more of 600 bring less than 300 more of 300"
    assert "60 more pairs" in late.sentence()


def test_too_few_questions_give_no_curve() -> None:
    assert learning_curve(np.ones((20, 3)), np.ones((50, 3)), [str(index) for index in range(20)]) is None
    assert learning_curve(np.ones((50, 0)), np.ones((50, 0)), [str(index) for index in range(50)]) is None


def test_the_page_shows_what_the_run_left(tmp_path: Path) -> None:
    report = reward_report(evidence(pairs(honest(400), features=4), **{"bold type": np.zeros(9)}))
    (tmp_path / FILE).write_text(json.dumps(report.as_json()), encoding="utf-8")
    run = RunFolder("reward", tmp_path, "reward", (), (), (), "", "")
    (table,) = tables([run])
    shown = {row["name"]: row for row in table["rows"]}
    assert shown["accuracy"]["after"].startswith("0.") and "probe: bold type" in shown
    assert all(row["source"].startswith(f"reward/{FILE} › ") for row in table["rows"])
    assert tables([RunFolder("x", tmp_path / "none", "", (), (), (), "", "")]) == []


# Models that learned scores


def scored(slope: float, count: int = 400, noise: float = 0.5) -> AnswerScores:
    """Raters' scores are `slope` times the model's, plus what it cannot know; two answers a prompt."""
    predicted = DRAW.normal(size=count)
    told = slope * predicted + DRAW.normal(scale=noise, size=count)
    return AnswerScores(predicted, told, tuple(f"p{index // 2}" for index in range(count)))


@pytest.mark.parametrize(("slope", "word"), [(0.5, "exaggerate"), (1.0, ""), (2.0, "timid")])
def test_the_slope_says_whether_scores_mean_what_they_say(slope: float, word: str) -> None:
    found = replace(evidence(pairs(honest(200))), answers=scored(slope), rows_held_out=400)
    report = reward_report(found)
    measure = report.measures["score_slope"]
    assert measure.value == pytest.approx(slope, abs=0.1) and measure.low is not None and measure.high is not None
    assert measure.low < slope < measure.high
    assert [note for note in report.notes if "exaggerate" in note or "timid" in note] == [
        note for note in report.notes if word and word in note
    ]
    assert bool(word) == any(word and word in note for note in report.notes)
    assert report.measures["score_error"].value == pytest.approx(float(np.hypot(0.5, slope - 1)), rel=0.15)


def test_of_scores_pair_probabilities_come_from_differences_and_a_temperature_alone() -> None:
    report = reward_report(replace(evidence(pairs(honest(2000, 4.0))), answers=scored(1.0), rows_held_out=400))
    assert "ece" not in report.measures and report.measures["ece_after"].value < 0.06
    assert report.measures["temperature"].value == pytest.approx(4.0, rel=0.3)
    assert any("σ(difference / 4" in note or "σ(difference / 3" in note for note in report.notes)


def test_no_blank_is_silent() -> None:
    lone = replace(evidence(pairs(np.zeros(0))), answers=scored(1.0), rows_held_out=400)
    report = reward_report(lone)
    assert "score_slope" in report.measures and any("told apart" in note for note in report.notes)
    assert not any("--eval-data" in note for note in report.notes)
    few = reward_report(replace(lone, answers=scored(1.0, count=4), rows_held_out=4))
    assert "score_slope" not in few.measures and any("too few held-out answers" in note for note in few.notes)
    assert json.loads(json.dumps(few.as_json(), allow_nan=False))["notes"]
