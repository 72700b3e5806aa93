"""What was known of an answer before a batch was posted counts as its rater says it when the batch is closed."""

from __future__ import annotations

from pathlib import Path

from rating_room import questions
from tutelage.store.batches import Batch, Batches, Item
from tutelage.store.store import Store
from tutelage.types import Judgement


def scored(store: Store, name: str, rater: str, score: int, on: str) -> None:
    store.answer(Judgement(name, on, rater, scores={"faithful": score, "fluent": score}))


def post(batches: Batches, *items: Item) -> Batch:
    return batches.post("b", project="P", run="r", step=0, items=items, wanted=2)


def asked_and_judged_twice(store: Store) -> tuple[list[str], Batches]:
    """Two questions, of which ann and bo have answered the first."""
    asked = [one.id for one in questions(2, kind="scores")]
    store.ask(questions(2, kind="scores"), "P", overlap=2)
    scored(store, "j1", "ann", 1, asked[0])
    scored(store, "j2", "bo", 2, asked[0])
    return asked, Batches(store.database)


def test_an_edit_after_posting_counts_and_a_closed_batch_changes_no_more(tmp_path: Path) -> None:
    with Store(tmp_path / "r.db") as store:
        asked, batches = asked_and_judged_twice(store)
        post(batches, Item(None, ("j1", "j2")), Item(asked[1], ("j1",)))
        scored(store, "j3", "ann", 5, asked[0])
        scored(store, "j4", "cy", 4, asked[1])
        assert batches.get("b").missing == 0
        assert batches.close("b").state == "quorum"
        used = [[told.id for told in item.judgements] for item in batches.settled("b")]
        assert used == [["j3", "j2"], ["j3", "j4"]]
        scored(store, "j5", "ann", 0, asked[0])
        assert [[told.id for told in item.judgements] for item in batches.settled("b")] == used


def test_what_is_taken_back_after_posting_is_asked_for_again(tmp_path: Path) -> None:
    with Store(tmp_path / "r.db") as store:
        asked, batches = asked_and_judged_twice(store)
        assert post(batches, Item(None, ("j1", "j2"))).missing == 0
        store.withdraw("j2", "j2-undone")
        found = batches.get("b")
        assert (found.missing, found.unasked) == (1, (0,))
        assert batches.close("b").state == "open"
        batches.ask_too("b", {0: asked[1]})
        scored(store, "j3", "bo", 4, asked[1])
        assert batches.close("b").state == "quorum"
        assert [told.id for told in batches.settled("b")[0].judgements] == ["j1", "j3"]


def test_of_two_batches_the_one_that_is_due_first_says_what_is_needed(tmp_path: Path) -> None:
    with Store(tmp_path / "r.db") as store:
        asked = [one.id for one in questions(3, kind="scores")]
        store.ask(questions(3, kind="scores"), "P", overlap=2)
        batches = Batches(store.database)
        assert batches.waiting("P") is None
        first = batches.post("b", project="P", run="r", step=0, items=[Item(asked[0])], wanted=2, seconds=600)
        later = [Item(name) for name in asked[1:]]
        batches.post("c", project="P", run="s", step=0, items=later, wanted=2, seconds=900)
        needed = batches.waiting("P")
        assert needed is not None and needed[0] == 2 and 500 < needed[1] <= first.seconds_left
        scored(store, "j1", "ann", 1, asked[0])
        scored(store, "j2", "bo", 2, asked[0])
        needed = batches.waiting("P")
        assert needed is not None and needed[0] == 4 and needed[1] > 700
