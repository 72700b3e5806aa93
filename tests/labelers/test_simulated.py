"""Simulated raters: the same every time, at fault as they are told to be, and no worse for being interrupted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tutelage.errors import DataError, UsageError
from tutelage.labelers._pairing import ASPECTS, Pairing, questions
from tutelage.labelers.simulated import DEFAULT, Rater, Simulated, raters
from tutelage.store.store import Store
from tutelage.types import Comparison, Judgement, Prompt, Sample


def taste(meta: Mapping[str, Any], text: str) -> dict[str, float]:
    """The number in the text is its quality."""
    return dict.fromkeys((*ASPECTS, "overall"), float(text.split()[-1]))


def answers(prompts: int, each: int = 4, seed: int = 0) -> list[Sample]:
    random = Random(seed)
    made: list[Sample] = []
    for number in range(prompts):
        prompt = Prompt(f"p{number}", f"question {number}", {"n": number})
        made += [
            Sample(f"p{number}-{j}", prompt, f"answer {random.random():.6f}", model=f"m{j % 2}") for j in range(each)
        ]
    return made


def test_judgements_are_the_same_every_time_and_differ_by_seed() -> None:
    asked = questions(answers(5), "default", Pairing()).comparisons
    one, again, other = (Simulated(DEFAULT, taste, seed) for seed in (1, 1, 2))
    first = [one.judge(question, rater) for question in asked for rater in DEFAULT]
    assert first == [again.judge(question, rater) for question in asked for rater in DEFAULT]
    assert first != [other.judge(question, rater) for question in asked for rater in DEFAULT]
    assert len({judgement.id for judgement in first}) == len(first)


def test_an_interrupted_simulation_ends_the_same(tmp_path: Path) -> None:
    asked = questions(answers(40), "default", Pairing()).comparisons
    with Store(tmp_path / "whole.db") as whole, Store(tmp_path / "broken.db") as broken:
        for store in (whole, broken):
            store.ask(asked, overlap=3)
        labeler = Simulated(DEFAULT, taste)
        assert labeler.label(whole) == 3 * len(asked)
        half = whole.judgements()[: len(asked)]
        broken.answer_many(half, rater_kind="simulated")
        assert labeler.label(broken) == 3 * len(asked) - len(half)
        assert labeler.label(broken) == 0
        key = lambda judgement: judgement.id  # noqa: E731
        assert sorted(whole.judgements(), key=key) == sorted(broken.judgements(), key=key)
        counts = broken.stats()
    assert (counts["open_questions"], counts["extra_judgements"], counts["raters"]) == (0, 0, 10)


def test_ten_raters_judge_fifteen_thousand_times_in_seconds(tmp_path: Path) -> None:
    import time

    asked = questions(answers(720), "default", Pairing()).comparisons
    began = time.process_time()
    with Store(tmp_path / "r.db") as store:
        store.ask(asked, overlap=3)
        assert Simulated(DEFAULT, taste).label(store) == 3 * len(asked) > 15_000
    assert time.process_time() - began < 10


def test_faults_show_in_what_raters_choose() -> None:
    asked = questions(answers(300), "d", Pairing(kinds=("pair",))).comparisons
    labeler = Simulated(DEFAULT, taste)
    right, left = {}, {}
    for rater in DEFAULT:
        chosen = [(question, labeler.judge(question, rater)) for question in asked]
        decided = [(question, judgement) for question, judgement in chosen if judgement.ranks != (1, 1)]
        right[rater.name] = sum(_best(question) == j.ranks.index(1) for question, j in decided) / len(decided)
        left[rater.name] = sum(j.shown[0] == j.ranks.index(1) for _, j in decided) / len(decided)
        assert 0.01 < 1 - len(decided) / len(chosen) < 0.4  # some ties
    assert right["ada"] > 0.9
    assert 0.5 < right["careless"] < 0.75
    assert right["adversary"] < 0.1
    assert left["lefty"] > 0.8
    assert all(0.4 < left[name] < 0.6 for name in ("ada", "careless", "adversary"))


def test_severe_raters_score_lower_and_scores_stay_on_the_scale() -> None:
    asked = questions(answers(100), "d", Pairing(kinds=("scores",), aspects=("fluent",))).comparisons
    labeler = Simulated([Rater("mild", severity=-1.0), Rater("hard", severity=1.0)], taste)
    means = [sum(labeler.judge(q, rater).scores["fluent"] for q in asked) / len(asked) for rater in labeler.raters]
    assert 1.3 < means[0] - means[1] < 2.0
    scores = {labeler.judge(q, rater).scores["fluent"] for q in asked for rater in labeler.raters}
    assert scores == {0.0, 1.0, 2.0, 3.0, 4.0, 5.0}


def test_rankings_follow_the_taste_and_are_shown_in_every_order() -> None:
    asked = questions(answers(60), "d", Pairing(kinds=("ranking",))).comparisons
    labeler = Simulated([Rater("exact", noise=0.0, tie_width=0.0)], taste)
    for question in asked:
        judgement = labeler.judge(question, labeler.raters[0])
        order = sorted(range(4), key=lambda index: judgement.ranks[index])
        quality = [taste({}, question.candidates[index].text)["overall"] for index in order]
        assert quality == sorted(quality, reverse=True)
    assert {labeler.judge(question, labeler.raters[0]).shown[0] for question in asked} == {0, 1, 2, 3}


def test_scores_of_one_prompt_are_given_by_the_same_raters() -> None:
    with Store(":memory:") as store:
        store.ask(questions(answers(10), "default", Pairing(kinds=("scores",))).comparisons, overlap=2)
        Simulated(DEFAULT, taste).label(store)
        judged: dict[str, set[str]] = {}
        for judgement in store.judgements():
            judged.setdefault(judgement.comparison, set()).add(judgement.rater)
        teams: dict[str, set[frozenset[str]]] = {}
        for question in store.comparisons():
            teams.setdefault(question.prompt.id, set()).add(frozenset(judged[question.id]))
    assert all(len(team) == 1 for team in teams.values())


def test_raters_are_named() -> None:
    assert raters("default") == DEFAULT
    fresh = raters("fresh:5", seed=3)
    assert len({rater.name for rater in fresh}) == 5
    assert fresh == raters("fresh:5", seed=3) != raters("fresh:5", seed=4)
    for wrong in ("best", "fresh", "fresh:0", "fresh:x"):
        with pytest.raises(UsageError, match="does not name simulated raters"):
            raters(wrong)
    with pytest.raises(UsageError, match="distinct names"):
        Simulated([Rater("a"), Rater("a")], taste)


def test_an_aspect_without_taste_is_named() -> None:
    question = questions(answers(1), "d", Pairing(kinds=("scores",), aspects=("humour",))).comparisons[0]
    with pytest.raises(DataError, match="nothing about 'humour'"):
        Simulated(DEFAULT, taste).judge(question, DEFAULT[0])


def test_questions_have_stable_ids_and_leave_out_what_cannot_be_compared() -> None:
    prompt = Prompt("p", "?", {})
    said = [Sample(f"a{index}", prompt, text) for index, text in enumerate(["one", " one\n", "", "two", "three"])]
    made = questions(said, "d", Pairing(pairs=0, aspects=("fluent",)))
    kinds = [question.kind for question in made.comparisons]
    assert (kinds.count("pair"), kinds.count("ranking"), kinds.count("scores")) == (3, 1, 3)
    assert made.notes == {"empty answers": 1, "repeated answers": 1}
    assert made == questions(said, "d", Pairing(pairs=0, aspects=("fluent",)))
    assert {q.id for q in made.comparisons}.isdisjoint(q.id for q in questions(said, "e", Pairing(pairs=0)).comparisons)
    lonely = questions(said[:2], "d", Pairing(kinds=("pair",)))
    assert (lonely.comparisons, lonely.notes["prompts with fewer than two different answers"]) == ([], 1)


def test_selection_probability_is_stored() -> None:
    made = questions(answers(3), "d", Pairing(kinds=("pair",), pairs=2)).comparisons
    assert [question.probability for question in made] == [pytest.approx(2 / 6)] * 6


def test_unknown_kinds_and_rankings_beyond_the_keys_are_refused() -> None:
    for size in (2, 10):
        with pytest.raises(UsageError, match="ranking_size 3 to 9"):
            Pairing(ranking_size=size)
    with pytest.raises(UsageError, match="unknown kinds"):
        Pairing(kinds=("duel",))  # pyright: ignore[reportArgumentType]


def _best(question: Comparison) -> int:
    qualities = [taste({}, sample.text)["overall"] for sample in question.candidates]
    return qualities.index(max(qualities))


def test_the_judgement_fits_the_type() -> None:
    question = questions(answers(1), "d", Pairing(kinds=("pair",))).comparisons[0]
    judgement = Simulated(DEFAULT, taste).judge(question, DEFAULT[0])
    assert isinstance(judgement, Judgement)
    assert judgement.seconds > 0
    assert sorted(judgement.shown) == [0, 1]
    assert (judgement.strength > 0) == (judgement.ranks != (1, 1))
