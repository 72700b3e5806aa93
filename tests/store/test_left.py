"""What is left for one rater."""

from __future__ import annotations

from tutelage.store.batches import Batches, Item
from tutelage.store.left import left
from tutelage.store.store import Store
from tutelage.store.work import Work
from tutelage.types import Comparison, Judgement, Prompt, Sample


def asked(number: int) -> Comparison:
    prompt = Prompt(f"p{number}", "?")
    return Comparison(f"q{number}", "pair", prompt, tuple(Sample(f"{x}{number}", prompt, f"{x}{number}") for x in "ab"))


def given(question: int, rater: str) -> Judgement:
    return Judgement(f"{rater}-{question}", f"q{question}", rater, ranks=(1, 2), shown=(0, 1))


def test_what_is_judged_skipped_or_full_is_not_left_and_what_is_taken_back_is_left_again():
    with Store(":memory:") as store:
        store.ask([asked(number) for number in range(4)], overlap=2)
        store.ask([asked(9)], project="other")
        count = lambda: left(store.database, "you")  # noqa: E731
        assert count() == 4
        store.answer(given(0, "you"))
        assert count() == 3
        store.answer_many([given(1, "ann"), given(1, "bo")])
        assert count() == 2, "two others have judged it: nothing is wanted any more"
        work = Work(store.database)
        [task] = work.take("you", "default", count=1, lease_seconds=60, rubric=0)
        assert count() == 2, "to hold it is not to judge it"
        work.skip(task.id, "s1", "you", "default", "unclear")
        assert count() == 1
        store.withdraw("you-0", "back")
        assert count() == 2
        work.unskip("s1", "s2", "you", "default", lease_seconds=60, rubric=0)
        assert count() == 3


def test_what_no_training_run_waits_for_any_more_is_not_left():
    with Store(":memory:") as store:
        store.ask([asked(number) for number in range(2)], overlap=2)
        batches = Batches(store.database)
        batches.post("b", project="default", run="r", step=0, items=[Item("q0")], wanted=2, kind="pair")
        assert left(store.database, "you") == 2
        batches.cancel("b", actor="test")
        assert left(store.database, "you") == 1, "it is handed out no more"
        assert [task.comparison.id for task in Work(store.database).take(
            "you", "default", count=4, lease_seconds=60, rubric=0)] == ["q1"]  # fmt: skip
