"""Strengths against choix, statsmodels and closed forms; planted gaps, side bias and style are recovered."""

from __future__ import annotations

import math
from itertools import permutations
from random import Random

import numpy as np
import pytest

from tutelage.statistics.ranking import Battle, Leaderboard, Ranked, bradley_terry, plackett_luce
from tutelage.statistics.style import STYLES, style, style_difference


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
    wanted = choix.opt_pairwise(5, pairs, alpha=0.01, tol=1e-12)
    found = bradley_terry([Battle(str(winner), str(loser), 1) for winner, loser in pairs], prior=0.02, draws=0)
    assert _values(found, "01234") == pytest.approx(list(wanted), abs=1e-6)
    rankings = [random.sample(range(5), 4) for _ in range(200)]
    wanted = choix.opt_rankings(5, rankings, alpha=0.01, tol=1e-12)
    ranked = [Ranked([str(player) for player in ranking], range(4)) for ranking in rankings]
    assert _values(plackett_luce(ranked, prior=0.02, draws=0), "01234") == pytest.approx(list(wanted), abs=1e-6)


def test_sides_style_and_sandwich_equal_a_logit_with_clustered_errors() -> None:
    """Coefficients and errors of statsmodels 0.15.0: Logit, cov_type="cluster", without its correction of G/(G-1)."""
    found = bradley_terry(_styled_battles(), prior=1e-10, intervals="sandwich", styles=("x",))
    assert found is not None
    gaps = [found.strengths[name].value - found.strengths["a"].value for name in "bcd"]
    assert gaps == pytest.approx([-0.6174579340482, -1.1013048966251, -1.6336450712097], abs=1e-6)
    assert found.side.value == pytest.approx(0.3366253980418, abs=1e-6)
    assert found.style["x"].value == pytest.approx(0.7134805498623, abs=1e-6)
    for interval, error in ((found.side, 0.1463416927057), (found.style["x"], 0.5666162920127)):
        assert (interval.high - interval.low) / 2 / 1.959964 == pytest.approx(error * (60 / 59) ** 0.5, abs=1e-6)


def test_sandwich_and_bootstrap_agree_and_do_not_shrink_with_copies() -> None:
    """Each vote said four times by its prompt is no more evidence: both intervals stay, a naive one would halve."""
    once = [battle._replace(cluster=str(number)) for number, battle in enumerate(_styled_battles())]
    sandwich, copied = (bradley_terry(votes, intervals="sandwich") for votes in (once, once * 4))
    bootstrap = bradley_terry(once, draws=200)
    assert sandwich is not None and copied is not None and bootstrap is not None
    for name in "abcd":
        wide = [board.strengths[name].high - board.strengths[name].low for board in (sandwich, copied, bootstrap)]
        assert wide[1] == pytest.approx(wide[0], rel=0.02)
        assert wide[2] == pytest.approx(wide[0], rel=0.25)


def test_a_side_bias_of_two_fifths_is_recovered_from_two_thousand_votes() -> None:
    """20 crowds: the mean is right, and nearly all are within 0.1 (one standard error is 0.05)."""
    errors: list[float] = []
    for seed in range(20):
        random = Random(seed)
        true = {"a": 0.6, "b": 0.1, "c": -0.7}
        battles: list[Battle] = []
        for _ in range(2000):
            one, two = random.sample(sorted(true), 2)
            left = random.random() < 0.5
            gap = true[one] - true[two] + (0.4 if left else -0.4)
            battles.append(Battle(one, two, 1 if random.random() < 1 / (1 + math.exp(-gap)) else -1, left))
        found = bradley_terry(battles, intervals="sandwich")
        assert found is not None
        errors.append(found.side.value - 0.4)
    assert abs(sum(errors) / 20) < 0.03
    assert sum(abs(error) < 0.1 for error in errors) >= 18


def test_style_that_raters_like_is_taken_off_the_strengths() -> None:
    """Two equal models, one of which writes more, and raters who like length: only with style they are equal."""
    random = Random(8)
    battles: list[Battle] = []
    for _ in range(3000):
        long, short = random.randrange(80, 240), random.randrange(40, 160)
        gap = style_difference("x" * long, "x" * short)
        win = random.random() < 1 / (1 + math.exp(-2 * gap[0]))
        battles.append(Battle("long", "short", 1 if win else -1, style=gap))
    plain = bradley_terry([battle._replace(style=()) for battle in battles], intervals="sandwich")
    controlled = bradley_terry(battles, intervals="sandwich", styles=STYLES)
    assert plain is not None and controlled is not None
    assert plain.strengths["long"].low > 0.15
    assert controlled.strengths["long"].low < 0 < controlled.strengths["long"].high
    assert controlled.style["length"].value == pytest.approx(2, abs=0.4)
    assert controlled.style["headers"].value == pytest.approx(0, abs=1e-9)


def test_style_is_counted_in_prose_and_not_in_code() -> None:
    text = "# Title\n\n- one\n- **two**\n1. three\n\n```\n# no title\n- no list\n```\n"
    assert style(text)[1:] == (3, 1, 1)
    assert style("甲 乙")[0] == 2
    assert style_difference("aaa", "a") == (0.5, 0, 0, 0)
    assert style_difference("", "") == (0, 0, 0, 0)


def test_a_ranking_of_two_is_a_vote() -> None:
    """Ties, place on the screen and all: Davidson–Luce with two players is Davidson with a side."""
    random = Random(3)
    battles: list[Battle] = []
    ranked: list[Ranked] = []
    for _ in range(300):
        one, two = random.sample("abc", 2)
        choice, left = random.choice((1, 1, 0, -1)), random.random() < 0.5
        battles.append(Battle(one, two, choice, left))
        ranked.append(Ranked((one, two), (2 - choice, 2), (0, 1) if left else (1, 0)))
    votes, rankings = bradley_terry(battles, draws=0), plackett_luce(ranked, draws=0)
    assert votes is not None and rankings is not None
    assert _values(rankings, "abc") == pytest.approx(_values(votes, "abc"), abs=1e-9)
    assert (rankings.tie, rankings.side.value) == pytest.approx((votes.tie, votes.side.value), abs=1e-9)


def test_tied_rankings_have_the_likelihood_of_davidson_and_luce_worked_slowly() -> None:
    """a best, b and c tied, of a, b, c: exp(s_a)/Z1 · ν exp((s_b+s_c)/2)/Z2, over a grid of ν with equal strengths."""
    rankings = [Ranked(names, (1, 2, 2)) for names in permutations("abc")]
    found = plackett_luce(rankings, prior=1e-9, draws=0)
    assert found is not None
    assert _values(found, "abc") == pytest.approx([0, 0, 0], abs=1e-6)
    # equal strengths: log L = log 1/(3 + 3ν) + log ν/(2 + ν); its slope is 0 where ν² = 2
    assert found.tie == pytest.approx(math.sqrt(2), abs=1e-5)


def test_standing_first_in_a_list_is_recovered() -> None:
    rng = np.random.default_rng(4)
    ranked: list[Ranked] = []
    for number in range(800):
        shown = rng.permutation(4)
        front = np.empty(4)
        front[shown] = np.linspace(1, 0, 4)
        noise = np.array([0.9, 0.3, -0.3, -0.9]) + 0.8 * front + rng.gumbel(size=4)
        ranks = np.argsort(np.argsort(-noise)) + 1
        ranked.append(Ranked("abcd", ranks.tolist(), shown.tolist(), cluster=f"p{number // 2}"))
    found = plackett_luce(ranked, intervals="sandwich")
    assert found is not None
    assert found.side.low < 0.8 < found.side.high
    assert _values(found, "abcd") == pytest.approx([0.9, 0.3, -0.3, -0.9], abs=0.15)


def test_a_group_too_large_to_be_told_apart_still_says_who_is_below() -> None:
    found = plackett_luce([Ranked("abcde", (2, 2, 2, 2, 1)), Ranked("abcde", (1, 2, 2, 2, 2))], draws=0)
    assert found is not None
    assert found.strengths["a"].value == pytest.approx(found.strengths["e"].value)
    assert found.strengths["a"].value > found.strengths["c"].value
    assert plackett_luce([Ranked("abcd", (1, 1, 1, 1))]) is None


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
    assert plackett_luce([]) is None


def _values(board: Leaderboard | None, names: str) -> list[float]:
    assert board is not None
    return [board.strengths[name].value for name in names]


def _styled_battles() -> list[Battle]:
    """240 votes of 60 prompts by a congruential generator that anybody can repeat."""
    state = 2024

    def uniform() -> float:
        nonlocal state
        state = (1103515245 * state + 12345) % 2**31
        return (state >> 8) % 1000 / 1000

    true = {"a": 0.8, "b": 0.2, "c": -0.4, "d": -0.6}
    names = list(true)
    battles: list[Battle] = []
    for number in range(240):
        one = int(uniform() * 4)
        two = (one + 1 + int(uniform() * 3)) % 4
        left, long = uniform() < 0.5, uniform() - 0.5
        gap = true[names[one]] - true[names[two]] + (0.4 if left else -0.4) + 1.2 * long
        choice = 1 if uniform() < 1 / (1 + math.exp(-gap)) else -1
        battles.append(Battle(names[one], names[two], choice, left, 1.0, f"p{number // 4}", (long,)))
    return battles
