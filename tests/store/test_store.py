"""Questions, leases and judgements: what goes in comes out, once, and nothing is ever lost or changed."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tutelage.errors import DataError
from tutelage.store.store import Store
from tutelage.types import Comparison, Judgement, Sample

Ask = Callable[..., list[Comparison]]


def test_questions_come_back_as_they_were_asked(make_questions: Ask) -> None:
    asked = [*make_questions(2), *make_questions(1, "ranking", 4), *make_questions(1, "scores", 1)]
    with Store(":memory:") as store:
        assert store.ask(asked, "news", overlap=2) == 4
        assert store.comparisons("news") == asked
        assert store.comparisons("news", kinds=["ranking"]) == asked[2:3]
        assert store.projects() == ["news"]


def test_asking_twice_asks_nothing_new(make_questions: Ask) -> None:
    with Store(":memory:") as store:
        assert (store.ask(make_questions(3)), store.ask(make_questions(4))) == (3, 1)


def test_an_id_cannot_come_to_stand_for_another_text(make_questions: Ask) -> None:
    first = make_questions(1)[0]
    changed = Sample("p0-a0", first.prompt, "something else")
    with Store(":memory:") as store:
        store.ask([first])
        with pytest.raises(DataError, match="'p0-a0' already stands for another text"):
            store.ask([Comparison("other", "pair", first.prompt, (changed, first.candidates[1]))])
        with pytest.raises(DataError, match="another project"):
            store.ask([first], project="elsewhere")


def test_a_nul_in_an_answer_is_named_where_the_database_cannot_keep_it(make_questions: Ask, database_url: str) -> None:
    question = make_questions(1)[0]
    odd = replace(question, candidates=(replace(question.candidates[0], text="a\x00b"), question.candidates[1]))
    with Store(database_url) as store:
        if store.database.dialect == "postgresql":
            with pytest.raises(DataError, match="NUL character, which PostgreSQL cannot keep"):
                store.ask([odd])
            assert store.comparisons() == []
        else:
            store.ask([odd])
            assert store.comparisons()[0].candidates[0].text == "a\x00b"


def test_the_same_judgement_sent_again_is_stored_once(make_questions: Ask) -> None:
    judgement = Judgement(
        "id-1", "pair-0", "ann", ranks=(1, 2), shown=(1, 0), strength=2, comment="更准确", seconds=3.5
    )
    with Store(":memory:") as store:
        store.ask(make_questions(1))
        assert store.answer(judgement) == judgement
        assert store.answer(judgement) == judgement
        assert store.judgements() == [judgement]
        assert store.answer_many([judgement]) == 0


def test_a_changed_mind_supersedes_and_the_history_keeps_both(make_questions: Ask) -> None:
    with Store(":memory:") as store:
        store.ask(make_questions(1))
        store.answer(Judgement("id-1", "pair-0", "ann", ranks=(1, 2)))
        before = store.history()[0]["created"]
        store.answer_many([Judgement("id-2", "pair-0", "ann", ranks=(2, 1))], created=before + 10)
        assert [judgement.ranks for judgement in store.judgements()] == [(2, 1)]
        assert [row["id"] for row in store.history()] == ["id-1", "id-2"]
        assert [judgement.ranks for judgement in store.judgements(at=before + 1)] == [(1, 2)]


def test_an_undone_judgement_opens_its_question_again(make_questions: Ask) -> None:
    with Store(":memory:") as store:
        store.ask(make_questions(1))
        store.answer(Judgement("id-1", "pair-0", "ann", ranks=(1, 2)))
        assert store.next_question("bob") is None
        store.withdraw("id-1", "undo-1")
        store.withdraw("id-1", "undo-1")  # sent again
        assert store.judgements() == []
        assert len(store.history()) == 2
        assert store.next_question("ann") is not None
        with pytest.raises(DataError, match="superseded"):
            store.withdraw("id-1", "undo-2")


@pytest.mark.parametrize(
    ("judgement", "message"),
    [
        (Judgement("i", "pair-0", "ann"), "do not rank 2 candidates"),
        (Judgement("i", "pair-0", "ann", ranks=(2, 2)), "do not rank"),
        (Judgement("i", "pair-0", "ann", ranks=(1, 2), shown=(0, 0)), "not an order of 2"),
        (Judgement("i", "pair-0", "", ranks=(1, 2)), "an id and a rater"),
        (Judgement("i", "nowhere", "ann", ranks=(1, 2)), "no question 'nowhere'"),
        (Judgement("i", "scores-0", "ann", scores={"faithful": 3}), "aspects missing: .'fluent'."),
        (Judgement("i", "scores-0", "ann", scores={"faithful": 3, "fluent": 9}), "not on the scale 0 to 5"),
        (Judgement("i", "scores-0", "ann", scores={"faithful": 3, "fluent": float("nan")}), "not on the scale"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused_and_nothing_stored(
    make_questions: Ask, judgement: Judgement, message: str
) -> None:
    good = Judgement("good", "pair-0", "ann", ranks=(1, 2))
    with Store(":memory:") as store:
        store.ask([*make_questions(1), *make_questions(1, "scores", 1)])
        with pytest.raises(DataError, match=message):
            store.answer_many([good, judgement])
        assert store.judgements() == []


def test_a_question_nobody_could_answer_is_refused(make_questions: Ask) -> None:
    pair = make_questions(1)[0]
    with Store(":memory:") as store:
        with pytest.raises(DataError, match="1 candidates"):
            store.ask([Comparison("q", "pair", pair.prompt, pair.candidates[:1])])
        with pytest.raises(DataError, match="at least one aspect"):
            store.ask([Comparison("q", "scores", pair.prompt, pair.candidates[:1])])
        with pytest.raises(DataError, match="different prompts"):
            store.ask([Comparison("q", "pair", make_questions(2)[1].prompt, pair.candidates)])
        with pytest.raises(DataError, match="at least one judgement"):
            store.ask([pair], overlap=0)


def test_leases_give_every_question_its_overlap_exactly(make_questions: Ask, tmp_path: Path) -> None:
    """Eight raters at once, three per question, nobody twice."""
    with Store(tmp_path / "r.db") as store:
        store.ask(make_questions(12), overlap=3)

        def rate(name: str) -> None:
            while (question := store.next_question(name)) is not None:
                store.answer(Judgement(f"{name}-{question.id}", question.id, name, ranks=(1, 2)))

        threads = [threading.Thread(target=rate, args=(f"r{number}",)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counts = store.stats()
    assert (counts["judgements"], counts["open_questions"], counts["extra_judgements"]) == (36, 0, 0)


def test_a_lease_is_kept_until_it_runs_out_and_a_late_answer_still_counts(make_questions: Ask) -> None:
    with Store(":memory:") as store:
        store.ask(make_questions(1))
        held = store.next_question("ann", lease_seconds=60)
        assert held == store.next_question("ann", lease_seconds=-1)  # the same again; now it has run out
        assert store.next_question("bob") is not None
        assert store.next_question("cem") is None  # bob holds it
        store.release("pair-0", "bob")
        assert store.next_question("cem") is not None
        store.answer(Judgement("1", "pair-0", "cem", ranks=(1, 2)))
        store.answer(Judgement("2", "pair-0", "ann", ranks=(2, 1)))
        assert store.stats()["extra_judgements"] == 1


def test_judgements_cannot_be_changed_even_by_another_program(make_questions: Ask, tmp_path: Path) -> None:
    with Store(tmp_path / "r.db") as store:
        store.ask(make_questions(1))
        store.answer(Judgement("1", "pair-0", "ann", ranks=(1, 2)))
    connection = sqlite3.connect(tmp_path / "r.db")
    for statement in ("UPDATE judgements SET rater = 'x'", "DELETE FROM judgements"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()


def test_open_questions_say_who_is_missing(make_questions: Ask) -> None:
    with Store(":memory:") as store:
        store.ask(make_questions(2), overlap=2)
        store.answer(Judgement("1", "pair-0", "ann", ranks=(1, 1)))
        waiting = {open_.comparison.id: (open_.missing, open_.raters) for open_ in store.open_questions()}
    assert waiting == {"pair-0": (1, frozenset({"ann"})), "pair-1": (2, frozenset())}
