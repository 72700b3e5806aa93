"""Dawid–Skene against the paper and real crowds; the side-aware pair model on raters whose faults were planted."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from tutelage.statistics.raters import believe_everyone, believe_raters, dawid_skene


class Vote(NamedTuple):
    item: str
    rater: str
    choice: int
    left: bool | None


def test_dawid_skene_reproduces_the_paper(shared: Path) -> None:
    folder = shared / "data" / "rater_agreement"
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))["dawid_skene_1979.csv"]["computed"]
    found = dawid_skene(_rows(folder / "dawid_skene_1979.csv"), smoothing=0)
    assert found.prevalence == pytest.approx(expected["class_prevalence"], abs=1e-4)
    assert {item: str(label) for item, label in expected["labels"].items()} == dict(found.labels)
    assert found.errors["1"].tolist() == [pytest.approx(row, abs=1e-3) for row in expected["observer1_error_rates"]]


@pytest.mark.parametrize("name", ["duck", "product"])
def test_dawid_skene_beats_the_majority_on_real_crowds(shared: Path, name: str) -> None:
    folder = shared / "data" / "rater_agreement"
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))[f"{name}_answers.csv"]["computed"]
    found = dawid_skene(_rows(folder / f"{name}_answers.csv"))
    truth = {row[0]: row[1] for row in _table(folder / f"{name}_truth.csv")}
    right = sum(found.labels[item] == label for item, label in truth.items()) / len(truth)
    assert right == pytest.approx(expected["dawid_skene_accuracy"], abs=2e-3)
    assert right > expected["majority_vote_accuracy_expected_over_ties"]
    assert found.prevalence == pytest.approx(expected["dawid_skene_prevalence"], abs=1e-3)


def test_planted_faults_are_found() -> None:
    votes, truth = _crowd({"good": 0.9, "fair": 0.75, "coin": 0.5, "upside_down": 0.1}, lefty=0.95, seed=0)
    found = believe_raters(votes)
    accuracy = {name: rater.accuracy for name, rater in found.raters.items()}
    for name, planted in {"good": 0.9, "fair": 0.75, "coin": 0.5, "upside_down": 0.1}.items():
        assert accuracy[name] == pytest.approx(planted, abs=0.06)
    assert found.raters["lefty"].left > 0.85
    assert found.raters["good"].left == pytest.approx(0.5, abs=0.05)
    assert found.raters["coin"].weight < 0.15
    assert found.raters["upside_down"].weight == 0
    assert found.raters["good"].weight > 0.7
    plain = believe_everyone(votes)
    assert _right(found.first, truth) > _right(plain.first, truth) + 0.05
    assert {rater.weight for rater in plain.raters.values()} == {1.0}


def test_an_upside_down_rater_still_informs() -> None:
    """With two good raters and a liar, the liar's vote is read backwards."""
    votes, truth = _crowd({"a": 0.8, "b": 0.8, "liar": 0.05}, lefty=None, seed=1)
    without = [vote for vote in votes if vote.rater != "liar"]
    assert _right(believe_raters(votes).first, truth) > _right(believe_raters(without).first, truth) + 0.05


def test_naming_the_answers_the_other_way_round_changes_nothing() -> None:
    votes, _ = _crowd({"a": 0.9, "b": 0.7, "c": 0.6}, lefty=0.9, seed=2)
    turned = [Vote(vote.item, vote.rater, -vote.choice, None if vote.left is None else not vote.left) for vote in votes]
    one, two = believe_raters(votes), believe_raters(turned)
    assert {item: 1 - chance for item, chance in two.first.items()} == pytest.approx(dict(one.first), abs=1e-4)


def test_one_vote_per_pair_leaves_every_rater_at_the_prior() -> None:
    votes = [Vote(f"i{number}", f"r{number % 3}", 1 if number % 2 else -1, True) for number in range(300)]
    found = believe_raters(votes)
    assert found.overlap == 1
    weights = [rater.weight for rater in found.raters.values()]
    assert max(weights) - min(weights) < 0.05
    assert all(0.3 < weight < 0.9 for weight in weights)


def test_unknown_sides_are_not_taken_for_a_side_bias() -> None:
    """Imported rows name the better answer first; that is no sign of clicking left."""
    votes = [Vote(f"i{number}", rater, 1, None) for number in range(50) for rater in ("a", "b")]
    found = believe_raters(votes)
    assert found.raters["a"].left == pytest.approx(0.5)
    assert min(found.first.values()) > 0.9


def test_ties_say_nothing_about_who_is_better() -> None:
    votes = [Vote(f"i{number}", rater, 0, True) for number in range(20) for rater in ("a", "b")]
    found = believe_raters(votes)
    assert all(chance == pytest.approx(0.5) for chance in found.first.values())
    assert set(found.ties.values()) == {1.0}


def test_no_votes_at_all_is_no_error() -> None:
    assert believe_raters([]).raters == {}
    assert believe_everyone([]).first == {}


def _crowd(accuracy: dict[str, float], lefty: float | None, seed: int) -> tuple[list[Vote], dict[str, bool]]:
    """Votes of raters that are right with the given chance, and of one that mostly chooses left."""
    random = Random(seed)
    votes: list[Vote] = []
    truth = {f"i{number}": random.random() < 0.5 for number in range(500)}
    for item, first in truth.items():
        for rater, chance in accuracy.items():
            votes.append(Vote(item, rater, 1 if first == (random.random() < chance) else -1, random.random() < 0.5))
        if lefty is not None:
            left = random.random() < 0.5
            votes.append(Vote(item, "lefty", 1 if left == (random.random() < lefty) else -1, left))
    return votes, truth


def _right(first: object, truth: dict[str, bool]) -> float:
    assert isinstance(first, dict)
    return sum((first[item] > 0.5) == fact for item, fact in truth.items()) / len(truth)


def _rows(path: Path) -> list[tuple[str, str, str]]:
    return [(row[0], row[1], row[2]) for row in _table(path)]


def _table(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]
