"""What one person's judgements were worth, worked by hand on four pairs."""

from __future__ import annotations

import pytest

from tutelage.labelers._worth import worth
from tutelage.store.people import People
from tutelage.store.store import Store
from tutelage.types import Comparison, Judgement, Prompt, Sample

GOOD = {"A": 0.9, "B": 0.1}


def taste(meta, text):
    return {"overall": GOOD[text[0]]}


def asked(number: int) -> Comparison:
    prompt = Prompt(f"p{number}", "?")
    said = tuple(Sample(f"{letter}{number}", prompt, f"{letter}{number}") for letter in "AB")
    return Comparison(f"q{number}", "pair", prompt, said)


def fill(store: Store, *votes: tuple[int, str, int, int]) -> None:
    """(question, rater, rank of A, rank of B)"""
    store.ask([asked(number) for number in range(5)], overlap=3)
    store.answer_many(
        [Judgement(f"{who}-{q}", f"q{q}", who, ranks=(one, two), shown=(0, 1)) for q, who, one, two in votes]
    )


def test_every_share_is_about_the_persons_own_pairs_and_leaves_ties_out():
    with Store(":memory:") as store:
        yours = ((0, "you", 1, 2), (1, "you", 2, 1), (2, "you", 1, 1), (3, "you", 1, 2))
        others = (
            (0, "ann", 1, 2),
            (0, "bo", 1, 2),
            (1, "ann", 1, 2),
            (1, "bo", 1, 1),
            (2, "ann", 2, 1),
            (3, "ann", 2, 1),
        )
        fill(store, *yours, *others, (4, "ann", 1, 2), (4, "bo", 2, 1))
        found = worth(store, "default", "you", taste)
    assert (found.judged, found.ties, found.skipped) == (4, 1, 0)
    assert (found.with_others.same, found.with_others.of) == (2, 4), "ann and bo on 0; not ann on 1 and 3; bo tied on 1"
    assert (found.with_taste.same, found.with_taste.of) == (2, 3), "A is better: right on 0 and 3, wrong on 1"
    assert (found.others_together.same, found.others_together.of) == (1, 1), "ann and bo on 0; question 4 is not yours"
    assert (found.others_with_taste.same, found.others_with_taste.of) == (3, 5)
    assert found.with_taste.value == pytest.approx(2 / 3) and found.with_taste.low < 2 / 3 < found.with_taste.high
    assert "2 of 3 (67%, 95% interval 21% to 94%)" in found.lines()[2]


def test_excluded_raters_and_known_answers_are_no_other_raters():
    with Store(":memory:") as store:
        fill(store, (0, "you", 1, 2), (0, "ann", 1, 2), (0, "bo", 2, 1), (0, "gold", 2, 1))
        assert worth(store, "default", "you", taste).with_others.of == 2
        people = People(store.database, b"")
        people.exclude("default", "bo", True, reason="guesses", actor="test")
        found = worth(store, "default", "you", taste)
        people.exclude("default", "you", True, reason="left", actor="test")
        again = worth(store, "default", "you", taste)
    assert (found.with_others.same, found.with_others.of, found.others_together.of) == (1, 1, 0)
    assert again == found, "their own judgements are told, whether they count or not"


def test_who_judged_nothing_is_told_so():
    with Store(":memory:") as store:
        fill(store, (0, "ann", 1, 2))
        found = worth(store, "default", "you", taste)
    assert found.with_taste.value is None and found.lines() == ["you: no pair judged"]
