"""Training rows worked by hand; raw transfer; labels from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tutelage.data import formats
from tutelage.data.jsonl import write
from tutelage.errors import DataError
from tutelage.store import labels, transfer
from tutelage.store.answers import read_answers
from tutelage.store.export import preferences, rankings, ratings, single_preferences, split_by_prompt, unpaired
from tutelage.store.store import Store
from tutelage.store.votes import pair_votes, pooled
from tutelage.types import Comparison, Judgement, Message, Preference

Ask = Callable[..., list[Comparison]]


def test_a_ranking_gives_every_pair_and_together_weighs_half_its_answers(make_questions: Ask) -> None:
    asked = make_questions(1, "ranking", 4)
    votes = pair_votes(asked, [Judgement("1", "ranking-0", "ann", ranks=(2, 1, 4, 2), shown=(3, 0, 1, 2))])
    assert len(votes) == 6
    assert sum(vote.share for vote in votes) == pytest.approx(2)
    choices = {(vote.first.id[-1], vote.second.id[-1]): (vote.choice, vote.left) for vote in votes}
    assert choices[("0", "1")] == (-1, True)
    assert choices[("0", "3")] == (0, False)
    assert choices[("2", "3")] == (-1, False)
    assert {vote.group for vote in votes} == {"ranking-0"}


def test_answers_that_read_the_same_give_no_vote(make_questions: Ask) -> None:
    question = make_questions(1, kind="ranking", answers=3)[0]
    said = tuple(
        replace(sample, text=text) for sample, text in zip(question.candidates, ("a", " a\n", "b"), strict=True)
    )
    votes = pair_votes([replace(question, candidates=said)], [Judgement("j", question.id, "r", ranks=(1, 2, 3))])
    assert [(vote.first.text, vote.second.text) for vote in votes] == [("a", "b"), (" a\n", "b")]


def test_scores_are_compared_within_one_rater_only(make_questions: Ask) -> None:
    pair = make_questions(1)[0]
    asked = [
        Comparison(f"s{j}", "scores", pair.prompt, (pair.candidates[j],), ("faithful", "fluent")) for j in range(2)
    ]
    judgements = [
        Judgement("1", "s0", "severe", scores={"faithful": 2, "fluent": 1}),
        Judgement("2", "s1", "severe", scores={"faithful": 0, "fluent": 1}),
        Judgement("3", "s1", "mild", scores={"faithful": 5, "fluent": 5}),
    ]
    votes = pair_votes(asked, judgements)
    assert [(vote.rater, vote.choice, vote.first.id, vote.left) for vote in votes] == [("severe", 1, "p0-a0", None)]
    assert [vote.choice for vote in pair_votes(asked, judgements, gap=1.5)] == [0]


def test_pooled_votes_put_every_question_about_two_answers_together(make_questions: Ask) -> None:
    pair = make_questions(1)[0]
    turned = Comparison("turned", "pair", pair.prompt, (pair.candidates[1], pair.candidates[0]))
    judgements = [
        Judgement("1", pair.id, "ann", ranks=(1, 2), shown=(0, 1)),
        Judgement("2", "turned", "ann", ranks=(2, 1), shown=(0, 1)),
    ]
    votes = pooled(pair_votes([pair, turned], judgements))
    assert [(vote.item, vote.choice, vote.left, vote.share) for vote in votes] == [
        ("p0-a0|p0-a1", 1, True, 1.0),
        ("p0-a0|p0-a1", 1, False, 1.0),
    ]


def test_preferences_carry_weight_margin_group_and_origin(make_questions: Ask) -> None:
    asked = make_questions(3)
    judgements = [
        Judgement("1", "pair-0", "ann", ranks=(2, 1), strength=3),
        Judgement("2", "pair-0", "bob", ranks=(2, 1), strength=1),
        Judgement("3", "pair-1", "ann", ranks=(1, 1)),
        Judgement("4", "pair-2", "ann", ranks=(1, 1), both_bad=True),
    ]
    votes = pair_votes(asked, judgements)
    first = {"pair-0:0-1": 0.1, "pair-1:0-1": 0.5, "pair-2:0-1": 0.5}
    made = preferences(votes, first, {"pair-0:0-1": 0.0, "pair-1:0-1": 1.0, "pair-2:0-1": 1.0})
    assert made.counts == {"preferences": 1, "ties": 1, "both_bad": 1}
    row = made.rows[0]
    assert row["prompt"] == [{"role": "user", "content": "概括：新闻 0"}]
    assert row["chosen"] == [{"role": "assistant", "content": "答 0.1"}]
    assert (row["weight"], row["group"]) == (pytest.approx(0.8), "pair-0")
    assert row["margin"] == pytest.approx(2 / 3, abs=1e-6)
    assert row["meta"]["votes"] == {"for": 2, "tie": 0, "against": 0}
    assert row["meta"]["models"] == ["m1", "m0"]
    assert row["meta"]["selection_probability"] == 0.5
    assert [(tie["tie"], tie["both_bad"]) for tie in made.ties] == [(True, False), (True, True)]
    plain = preferences(votes, first, dict.fromkeys(first, 0.0), weighted=False, margins=False)
    assert [(row["weight"], row["margin"]) for row in plain.rows] == [(1.0, 0.0)]


def test_judgements_one_by_one_weigh_as_their_rater_and_nothing_goes_uncounted(make_questions: Ask) -> None:
    votes = pair_votes(
        make_questions(2),
        [
            Judgement("1", "pair-0", "ann", ranks=(1, 2)),
            Judgement("2", "pair-0", "liar", ranks=(2, 1)),
            Judgement("3", "pair-1", "ann", ranks=(1, 1)),
        ],
    )
    made = single_preferences(votes, {"ann": 0.7, "liar": 0.0})
    assert made.counts == {"preferences": 1, "ties": 1, "votes of raters no better than chance": 1}
    assert (made.rows[0]["weight"], made.rows[0]["meta"]["rater"], len(made.ties)) == (0.7, "ann", 1)


def test_good_and_bad_answers_come_out_unpaired(make_questions: Ask) -> None:
    pair, scored = make_questions(1)[0], make_questions(2, "scores", 1)[1]
    votes = pair_votes([pair], [Judgement("1", "pair-0", "ann", ranks=(1, 2))])
    judgements = [Judgement("2", "scores-1", "ann", scores={"faithful": 1, "fluent": 1})]
    made = unpaired(votes, {"pair-0:0-1": 0.9}, [pair, scored], judgements, {"ann": 0.5})
    told = {row["completion"][0]["content"]: (row["label"], row["weight"]) for row in made.rows}
    assert told == {"答 0.0": (True, 0.8), "答 0.1": (False, 0.8), "答 1.0": (False, 0.3)}
    assert made.counts == {"good": 1, "bad": 2, "undecided": 0}


def test_the_split_keeps_prompts_together_and_never_changes() -> None:
    rows = [{"prompt": f"p{number % 500}", "n": number} for number in range(2000)]
    train, test = split_by_prompt(rows, 0.2)
    assert not {row["prompt"] for row in train} & {row["prompt"] for row in test}
    assert 0.15 < len(test) / len(rows) < 0.25
    assert split_by_prompt(rows[:100], 0.2)[1] == [row for row in test if row["n"] < 100]
    assert split_by_prompt(rows, 0)[1] == []


def test_exported_rows_are_read_by_the_data_room(make_questions: Ask, tmp_path: Path) -> None:
    pairs, ranked, scored = make_questions(1), make_questions(1, "ranking", 3), make_questions(1, "scores", 1)
    judgements = [
        Judgement("1", "pair-0", "ann", ranks=(1, 2), strength=3),
        Judgement("2", "ranking-0", "ann", ranks=(1, 3, 2)),
        Judgement("3", "scores-0", "ann", scores={"faithful": 4, "fluent": 5}),
    ]
    asked = [*pairs, *ranked, *scored]
    votes = pair_votes(pairs, judgements)
    write(tmp_path / "pairs.jsonl", preferences(votes, {"pair-0:0-1": 0.95}, {"pair-0:0-1": 0.0}).rows)
    found = formats.load(tmp_path / "pairs.jsonl", "preference")[0]
    assert found.chosen == (Message("assistant", "答 0.0"),)
    assert (found.weight, found.margin, found.group) == (pytest.approx(0.9), 1.0, "pair-0")
    write(tmp_path / "ranking.jsonl", rankings(asked, judgements, {"ann": 0.5}).rows)
    ranking = formats.load(tmp_path / "ranking.jsonl", "ranking")[0]
    assert (ranking.ranks, ranking.rater, ranking.weight) == ((1, 3, 2), "ann", 0.5)
    write(tmp_path / "rated.jsonl", ratings(asked, judgements, {"ann": 0.5}).rows)
    rated = formats.load(tmp_path / "rated.jsonl", "rated")[0]
    assert {rating.aspect: (rating.rater, rating.score) for rating in rated.ratings} == {
        "faithful": ("ann", 4.0),
        "fluent": ("ann", 5.0),
    }
    write(tmp_path / "unpaired.jsonl", unpaired(votes, {"pair-0:0-1": 0.95}, asked, judgements, {}).rows)
    assert {row.label for row in formats.load(tmp_path / "unpaired.jsonl", "unpaired")} == {True, False}


def test_a_raw_project_comes_back_identical(make_questions: Ask) -> None:
    with Store(":memory:") as one, Store(":memory:") as two:
        one.ask([*make_questions(2), *make_questions(1, "scores", 1)], "news", overlap=3)
        one.answer_many(
            [Judgement("1", "pair-0", "sim", ranks=(1, 2), shown=(1, 0))], rater_kind="simulated", rubric="v2"
        )
        one.answer(Judgement("2", "pair-0", "ann", ranks=(1, 1), both_bad=True, comment="都不好"))
        one.answer(Judgement("3", "scores-0", "ann", scores={"faithful": 1, "fluent": 2.5}))
        one.withdraw("2", "undo")
        rows = list(transfer.dump(one, "news"))
        assert transfer.load(two, rows, "news") == (3, 4)
        assert transfer.load(two, rows, "news") == (0, 0)
        assert list(transfer.dump(two, "news")) == rows
        assert two.judgements("news") == one.judgements("news")


def test_labels_from_elsewhere_keep_every_judgement() -> None:
    rows = [
        Preference("p", "good", "bad", margin=1.0),
        Preference("p", "bad", "good"),  # somebody else, unnamed, thinks otherwise
        Preference("p", "good", "bad", meta={"rater": "ann"}),
    ]
    comparisons, judgements = labels.from_preferences(rows, "default", "imported")
    with Store(":memory:") as store:
        assert store.ask(comparisons) == 1
        assert store.answer_many(judgements, rater_kind="imported") == 3
        assert store.answer_many(judgements, rater_kind="imported") == 0
        question = store.comparisons()[0]
        best = {judgement.rater: question.candidates[judgement.ranks.index(1)].text for judgement in store.judgements()}
    assert best == {"imported": "good", "imported (2)": "bad", "ann": "good"}
    assert judgements[0].strength == 3


def test_answers_are_read_with_their_prompts_joined(tmp_path: Path) -> None:
    prompt = [{"role": "user", "content": "问"}]
    write(
        tmp_path / "a.jsonl",
        [
            {
                "id": "x",
                "prompt": prompt,
                "completion": "答",
                "model": "m",
                "finish": "length",
                "seed": 3,
                "meta": {"n": 1},
            },
            {"id": "x", "prompt": prompt, "completion": "", "model": "m"},
        ],
    )
    one, two = read_answers([tmp_path / "a.jsonl"])
    assert (one.prompt.id, one.prompt.content) == (two.prompt.id, (Message("user", "问"),))
    assert (one.text, one.finish, one.model, one.seed, one.prompt.meta) == ("答", "length", "m", 3, {"n": 1})
    assert two.text == "" and one.id != two.id


def test_wrong_answer_files_name_line_and_column(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "p"}\n{"prompt": 3, "completion": "x"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"(?s)a.jsonl:1:1.*'completion' is missing.*a.jsonl:2:12.*'prompt' is neither"):
        read_answers([tmp_path / "a.jsonl"])
