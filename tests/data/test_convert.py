"""Conversions make nothing up, and count what they leave out."""

from __future__ import annotations

import pytest

from tutelage.data.convert import RULES, convert
from tutelage.data.formats import KINDS
from tutelage.errors import DataError, UsageError
from tutelage.types import Demonstration, Preference, Ranking, Rated, Rating, TextRow, Unpaired


def test_a_ranking_becomes_every_untied_pair_with_weight_one_per_answer() -> None:
    rows, left_out = convert([Ranking("p", ("a", "b", "c"), (2, 1, 2), "r", where="f:1")], "ranking", "preference")
    assert [(row.chosen, row.rejected, row.weight, row.group) for row in rows] == [
        ("b", "a", 0.5, "f:1"),
        ("b", "c", 0.5, "f:1"),
    ]
    assert left_out == {"the two are tied": 1} and rows[0].meta == {"rater": "r"}


def rated(prompt: str, answer: str, *scores: tuple[str, float]) -> Rated:
    return Rated(prompt, answer, tuple(Rating(rater, "x", score, (0.0, 10.0)) for rater, score in scores), "f:1")


def test_ratings_are_compared_only_within_one_rater_and_one_prompt() -> None:
    rows = [rated("p", "a", ("r", 8), ("s", 1)), rated("p", "b", ("r", 5)), rated("q", "c", ("r", 0))]
    pairs, left_out = convert(rows, "rated", "preference")
    assert [(pair.chosen, pair.rejected, round(pair.margin, 6)) for pair in pairs] == [("a", "b", 0.3)]
    assert left_out == {"the rater scored only one answer to this prompt": 2}
    with pytest.raises(DataError, match="too close"):
        convert(rows, "rated", "preference", min_gap=0.31)


def test_a_rater_s_aspects_are_averaged_on_their_scales() -> None:
    aspects = [Rating("r", "x", 5.0, (0.0, 5.0)), Rating("r", "y", 0.0, (0.0, 1.0))]
    rows = [Rated("p", "a", tuple(aspects)), Rated("p", "b", (Rating("r", "x", 1.0, (0.0, 5.0)),))]
    pairs, _ = convert(rows, "rated", "preference")
    assert (pairs[0].chosen, round(pairs[0].margin, 6)) == ("a", 0.3)


def test_preferences_become_answers_labels_and_distinct_prompts() -> None:
    rows = [Preference("p", "a", "b", where="f:1"), Preference("p", "c", "d", where="f:2")]
    assert convert(rows, "preference", "demonstration")[0][0] == Demonstration("p", "a", "f:1")
    assert [row.label for row in convert(rows, "preference", "unpaired")[0]] == [True, False, True, False]
    assert convert(rows, "preference", "ranking")[0][0].ranks == (1, 2)
    prompts, left_out = convert(rows, "preference", "prompt")
    assert [(prompt.id, prompt.content) for prompt in prompts] == [("f:1", "p")] and sum(left_out.values()) == 1


def test_only_good_answers_become_demonstrations_and_bad_ones_are_counted() -> None:
    rows = [Unpaired("p", "a", True), Unpaired("p", "b", False)]
    made, left_out = convert(rows, "unpaired", "demonstration")
    assert [row.completion for row in made] == ["a"] and left_out == {"the answer is labelled bad": 1}
    assert convert(rows[:1], "unpaired", "demonstration")[1] == {}


def test_the_same_kind_passes_through_and_impossible_ways_are_refused() -> None:
    assert convert([TextRow("a")], "text", "text")[0] == [TextRow("a")]
    with pytest.raises(UsageError, match="text data cannot become preference data") as caught:
        convert([TextRow("a")], "text", "preference")
    assert "ranking → preference" in str(caught.value)
    assert {kind for pair in RULES for kind in pair} <= set(KINDS)
