"""Blind win rate: sides, ties, clusters, raters."""

from __future__ import annotations

import random

import pytest

from tutelage.eval.winrate import questions, win_rate
from tutelage.types import Comparison, Judgement, Prompt, Sample


def make(prompts: int) -> list[Comparison]:
    pairs = []
    for index in range(prompts):
        prompt = Prompt(f"p{index}", f"question {index}")
        new, old = (Sample(f"{model}-{index}", prompt, model, model=model) for model in ("new", "old"))
        pairs.append((new, old))
    return questions(pairs, seed=3)


def judge(comparison: Comparison, rater: str, new_wins: float, rng: random.Random) -> Judgement:
    """A rater who prefers "new" with probability `new_wins`, the left one shown by a coin."""
    new = next(i for i, sample in enumerate(comparison.candidates) if sample.model == "new")
    best = new if rng.random() < new_wins else 1 - new
    shown = (0, 1) if rng.random() < 0.5 else (1, 0)
    return Judgement(f"{rater}-{comparison.id}", comparison.id, rater, (1, 2) if best == 0 else (2, 1), shown=shown)


def test_sides_are_shuffled_and_the_same_seed_shuffles_them_alike() -> None:
    first = [comparison.candidates[0].model for comparison in make(200)]
    assert 70 < first.count("new") < 130
    assert make(200) == make(200)


def test_the_win_rate_and_its_interval_recover_the_truth() -> None:
    rng = random.Random(1)
    comparisons = make(150)
    judgements = [judge(comparison, f"r{r}", 0.7, rng) for comparison in comparisons for r in range(3)]
    found = win_rate(comparisons, judgements, "new")
    assert found.rate.low is not None and found.rate.high is not None
    assert found.rate.low < 0.7 < found.rate.high and found.rate.n == 150
    assert found.wins + found.ties + found.losses == 450
    other = win_rate(comparisons, judgements, "old")
    assert other.rate.value == pytest.approx(1 - found.rate.value)
    assert abs(found.left.value - 0.5) < 0.1
    assert found.by_rater_and_prompt.low is not None and set(found.raters) == {"r0", "r1", "r2"}


def test_winning_everything_is_still_uncertain() -> None:
    comparisons = make(20)
    judgements = [judge(comparison, "r", 1.0, random.Random(0)) for comparison in comparisons]
    found = win_rate(comparisons, judgements, "new").rate
    assert found.value == 1.0 and found.low is not None and found.low < 0.85


def test_more_votes_on_one_prompt_do_not_narrow_the_interval() -> None:
    comparisons = make(10)
    rng = random.Random(2)
    judgements = [judge(comparison, f"r{r}", 0.6, rng) for comparison in comparisons for r in range(50)]
    found = win_rate(comparisons, judgements, "new").rate
    assert found.low is not None and found.high is not None and found.high - found.low > 0.4


def test_ties_and_both_bad_count_half() -> None:
    comparisons = make(2)
    judgements = [
        Judgement("1", comparisons[0].id, "r", (1, 1)),
        Judgement("2", comparisons[1].id, "r", (1, 2), both_bad=True),
    ]
    found = win_rate(comparisons, judgements, "new")
    assert (found.rate.value, found.ties, found.both_bad, found.left.value) == (0.5, 2, 1, 0.5)


def test_judgements_of_other_questions_are_ignored_and_none_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="has been judged"):
        win_rate(make(2), [Judgement("1", "elsewhere", "r", (1, 2))], "new")


def test_answers_to_different_prompts_are_not_compared() -> None:
    with pytest.raises(ValueError, match="different prompts"):
        questions([(Sample("a", Prompt("p", ""), ""), Sample("b", Prompt("q", ""), ""))])
