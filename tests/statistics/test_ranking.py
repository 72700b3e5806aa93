"""Strengths against choix, closed forms, and planted gaps and side bias."""

from __future__ import annotations

import math
from random import Random

import pytest

from tutelage.statistics.ranking import Battle, bradley_terry, plackett_luce


def test_two_players_have_the_log_odds_of_their_wins() -> None:
    found = bradley_terry([Battle("a", "b", 1)] * 30 + [Battle("a", "b", -1)] * 10, prior=1e-9, draws=0)
    assert found is not None
    assert found.strengths["a"].value - found.strengths["b"].value == pytest.approx(math.log(3), abs=1e-4)
    assert list(found.strengths) == ["a", "b"]
    assert (found.tie, found.side.value) == (0.0, 0.0)


def test_ties_between_equals_give_the_parameter_of_davidson() -> None:
    found = bradley_terry([Battle("a", "b", c) for c in (1, -1, 0, 0)], prior=1e-9, draws=0)
    assert found is not None
    assert found.tie / (2 + found.tie) == pytest.approx(0.5, abs=1e-4)


def test_strengths_equal_choix() -> None:
    choix = pytest.importorskip("choix", reason="the choix package is not installed")
    random = Random(0)
    pairs = [tuple(random.sample(range(5), 2)) for _ in range(300)]
    wanted = choix.opt_pairwise(5, pairs, alpha=0.01)
    found = bradley_terry([Battle(str(winner), str(loser), 1) for winner, loser in pairs], prior=0.02, draws=0)
    assert found is not None
    assert [found.strengths[str(player)].value for player in range(5)] == pytest.approx(list(wanted), abs=2e-3)
    rankings = [random.sample(range(5), 4) for _ in range(200)]
    wanted = choix.opt_rankings(5, rankings, alpha=0.01)
    strengths = plackett_luce([[str(player) for player in ranking] for ranking in rankings], prior=0.02)
    assert [strengths[str(player)] for player in range(5)] == pytest.approx(list(wanted), abs=2e-3)


def test_a_planted_gap_and_side_bias_are_recovered() -> None:
    """Gap 2.0, side 0.4, the newer model more often on the left: without a side term the gap would be larger."""
    random = Random(1)
    battles: list[Battle] = []
    for number in range(4000):
        left = random.random() < 0.8
        wins = random.random() < 1 / (1 + math.exp(-(2.0 + (0.4 if left else -0.4))))
        battles.append(Battle("new", "old", 1 if wins else -1, left, cluster=f"p{number // 4}"))
    found = bradley_terry(battles, draws=50)
    assert found is not None
    assert found.strengths["new"].value - found.strengths["old"].value == pytest.approx(2.0, abs=0.15)
    assert found.side.value == pytest.approx(0.4, abs=0.15)
    assert found.side.low < 0.4 < found.side.high
    assert found.strengths["new"].low > 0 > found.strengths["old"].high


def test_whoever_always_wins_stays_finite() -> None:
    found = bradley_terry([Battle("a", "b", 1)] * 20, draws=20)
    assert found is not None
    assert 1 < found.strengths["a"].value < 20


def test_no_battles_is_undefined() -> None:
    assert bradley_terry([]) is None
    assert plackett_luce([]) == {}
