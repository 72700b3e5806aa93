"""Batches that wait for people: what closes them, what counts, and what comes too late."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from live_room import verdict
from tutelage.errors import DataError, ServiceError, TryAgainError, UsageError
from tutelage.labelers._live import Trainer
from tutelage.labelers._scores import asking
from tutelage.rewards._base import RewardSource
from tutelage.rewards._grammar import folders, model_of, short_name
from tutelage.rewards._named import Tools, named
from tutelage.rewards.function import Function
from tutelage.store.batches import Batches
from tutelage.store.people import People
from tutelage.store.store import Store
from tutelage.types import Judgement, Prompt, Sample

HALF = f"{__name__}:half"


class Room:
    """A database, and sources as a run at work makes them."""

    def __init__(self, folder: Path, url: str = "") -> None:
        self.folder, self.db, self.heard = folder, url or str(folder / "r.db"), list[str]()
        self.store = Store(self.db)
        self.batches = Batches(self.store.database)
        self.count = 0

    def source(self, name: str, *, rehearsal: bool = False, run: str = "run") -> RewardSource:
        trainer = Trainer(self.folder / run, rehearsal=rehearsal)
        asked = asking(self.heard.append, self.heard.append, trainer)
        model: Callable[[str, float], RewardSource] = lambda name, lower: Function(half if name == "half" else much)  # noqa: E731
        return named(name, Tools(model, asked, self.folder, self.heard.append, self.db, "P"))

    def rate(self, rater: str, count: int = 10**6, *, score: float | None = None) -> int:
        """Answer what is handed out; how many it was."""
        for done in range(count):
            question = self.store.next_question(rater, project="P")
            if question is None:
                return done
            text, self.count = question.candidates[0].text, self.count + 1
            said = {"overall": verdict(text, int(rater)) if score is None else score}
            self.store.answer(Judgement(f"j{self.count}", question.id, rater, scores=said))
        return count

    def meanwhile(self, act: Callable[[], object]) -> threading.Thread:
        """Do it once a batch is open."""

        def later() -> None:
            while not self.batches.all("P", "open"):
                time.sleep(0.01)
            act()

        thread = threading.Thread(target=later)
        thread.start()
        return thread


def half(prompt: str, answer: str) -> float:
    return 0.5


def much(prompt: str, answer: str) -> float:
    return 3.0


def said(*texts: str, prompt: str = "p", seed: int = 1) -> list[Sample]:
    return [Sample(f"{prompt}/{n}", Prompt(prompt, f"Say {prompt}."), text, seed=seed) for n, text in enumerate(texts)]


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_ten_raters_of_0_to_5_become_the_mean_over_5(room: Room) -> None:
    source, answers = room.source("human?n=10"), said("a", "b", "c")
    raters = room.meanwhile(lambda: [room.rate(str(number)) for number in range(10)])
    assert source.ready(answers, 0) == [True] * 3
    raters.join()
    found = source.score(answers)
    wanted = [sum(verdict(text, number) for number in range(10)) / 50 for text in "abc"]
    torch.testing.assert_close(found.value, torch.tensor(wanted))
    assert found.parts["people/raters"].tolist() == [10.0] * 3
    [batch] = room.batches.all("P")
    assert (batch.state, batch.missing, batch.items) == ("quorum", 0, 3)
    source.settle()
    assert room.batches.get(batch.id).state == "consumed"


def test_what_comes_late_is_kept_and_never_changes_the_batch(room: Room) -> None:
    source, answers = room.source("human?n=2&deadline=0&late=train"), said("a") + said("b", prompt="q")
    lease = lambda: room.store.next_question("7", project="P")  # noqa: E731
    held = room.meanwhile(lambda: [held_by_7.append(lease()), room.rate("1", 1, score=5)])
    held_by_7: list[object] = []
    assert source.ready(answers, 3).count(True) == 1
    held.join()
    used = room.batches.settled(room.batches.all("P")[0].id)
    assert room.store.next_question("1", project="P") is None, "a closed batch asks no more"
    question = held_by_7[0]
    room.store.answer(Judgement("late", question.id, "7", scores={"overall": 0}))  # type: ignore[attr-defined]
    assert "late" in [judgement.id for judgement in room.store.judgements("P")]
    assert room.batches.settled(room.batches.all("P")[0].id) == used
    again = room.source("human?n=2&deadline=0&late=train")
    assert again.ready(answers, 3) == source.ready(answers, 3), "a restarted run reads what counted then"
    [kept] = [answer for answer, ready in zip(answers, again.ready(answers, 3), strict=True) if ready]
    assert again.score([kept]).value.tolist() == [1.0]


def test_train_leaves_out_what_nobody_judged_and_waits_for_one_whole_prompt(room: Room) -> None:
    source, answers = room.source("human?n=1&deadline=0&late=train"), said("a", "b") + said("c", "d", prompt="q")
    times: list[float] = []

    def one_by_one() -> None:
        room.rate("1", 1)
        time.sleep(1.5)  # half a prompt is judged, and the deadline is long over
        times.append(time.monotonic())
        room.rate("1", 1)

    raters = room.meanwhile(one_by_one)
    assert source.ready(answers, 0) == [True, True, False, False]
    assert times and time.monotonic() > times[0], "half a prompt is of no use"
    raters.join()
    assert any("nobody has judged 2 of 4 answers" in line for line in room.heard)
    assert room.batches.all("P")[0].state == "deadline"
    with pytest.raises(DataError, match="2 of 4 answers have no score"):
        source.score(answers)


def test_a_model_stands_in_at_the_deadline_and_is_told_apart(room: Room) -> None:
    source, answers = room.source("human?n=2&deadline=1&late=model&model=half"), said("a", "b")
    raters = room.meanwhile(lambda: room.rate("1", 1, score=4))
    assert source.ready(answers, 0) == [True, True]
    raters.join()
    found = source.score(answers)
    assert sorted(found.value.tolist()) == pytest.approx([0.5, 0.8])
    assert sorted(found.parts["people/model"].tolist()) == [0, 1]
    assert sorted(found.parts["people/raters"].tolist()) == [0, 1]
    stored = room.batches.settled(room.batches.all("P")[0].id)
    assert sorted(item.fallback is None for item in stored) == [False, True]
    with pytest.raises(DataError, match="scores 3, and people's scores are from 0 to 1"):
        room.source("human?n=2&deadline=1&late=model&model=much").ready(said("x"), 1)


def test_wait_waits_on(room: Room) -> None:
    source, answers = room.source("human?n=1&deadline=0"), said("a")
    raters = room.meanwhile(lambda: (time.sleep(1.2), room.rate("1")))
    assert source.ready(answers, 0) == [True]
    raters.join()
    assert any("deadline over, waiting on" in line for line in room.heard)
    assert room.batches.all("P")[0].state == "quorum"


def test_a_batch_that_was_posted_ahead_waits_beside_the_one_that_is_due(room: Room) -> None:
    source, now, ahead = room.source("human?n=1&deadline=1000"), said("a", "b"), said("c", "d", prompt="q", seed=2)
    source.announce(now, 0)
    source.announce(ahead, 1)
    source.announce(now, 0)
    first, second = room.batches.all("P")
    assert [(one.step, one.state) for one in (first, second)] == [(0, "open"), (1, "open")]
    assert 1900 < min(first.seconds_left, second.seconds_left) < 2000, "there are two, so each has twice the time"
    assert room.rate("1", 3) == 3
    assert source.ready(now, 0) == [True, True]
    source.settle()
    assert [one.state for one in room.batches.all("P")] == ["consumed", "open"], "the other waits on"
    assert room.batches.get(second.id).missing == 1, "and keeps what it has"
    again = room.source("human?n=1&deadline=1000")  # the run was killed here
    again.announce(ahead, 1)
    assert [one.id for one in room.batches.all("P")] == [first.id, second.id]
    room.rate("1")
    assert again.ready(ahead, 1) == [True, True]
    later = said("e", prompt="r", seed=3)
    again.announce(later, 2)
    again.withdraw(later, 2)
    assert room.batches.all("P")[-1].state == "cancelled" and room.store.next_question("2", project="P") is None
    again.withdraw(said("never"), 9)
    raters = room.meanwhile(lambda: room.rate("1"))
    assert again.ready(later, 2) == [True], "a run that is prolonged asks for it again"
    raters.join()
    rehearsed = room.source("human?n=1", rehearsal=True)
    rehearsed.announce(said("x"), 5)
    assert len(room.batches.all("P")) == 3, "a dry run asks nobody"


@pytest.mark.slow
def test_a_run_waits_through_a_restart_of_postgresql(tmp_path: Path) -> None:
    import postgres_server

    with postgres_server.restartable() as (url, control):
        room = Room(tmp_path, url)
        source, answers, found = room.source("human?n=1"), said("a", "b"), list[bool]()
        waits = threading.Thread(target=lambda: found.extend(source.ready(answers, 0)))
        waits.start()
        while not room.batches.all("P", "open"):
            time.sleep(0.05)
        control("stop")
        with pytest.raises(ServiceError, match="does not answer"):
            room.batches.all("P")
        end = time.monotonic() + 120
        while not any("does not answer" in line for line in room.heard):
            assert waits.is_alive() and time.monotonic() < end, "the run ended"
            time.sleep(0.05)
        control("start")
        assert room.rate("1", score=5) == 2, "the connections of the time before are made anew"
        control("restart")  # between two looks of the run: it finds its connection cut
        waits.join(120)
        assert found == [True, True] and source.score(answers).value.tolist() == [1.0, 1.0]
        assert sum("waiting until it answers again" in line for line in room.heard) >= 1
        assert "the database answers again" in room.heard
        room.store.close()


def test_a_database_that_never_answered_ends_the_run_at_once(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="does not answer"):
        Store("postgresql+psycopg://nobody@127.0.0.1:9/none")


def test_a_batch_is_cancelled_or_ended_by_hand(room: Room) -> None:
    source, answers = room.source("human?n=1&deadline=9999"), said("a") + said("b", prompt="q")
    ended = room.meanwhile(lambda: room.batches.cancel(room.batches.all("P")[0].id, actor="test"))
    with pytest.raises(TryAgainError, match="was cancelled"):
        source.ready(answers, 0)
    ended.join()
    assert room.store.next_question("1", project="P") is None
    raters = room.meanwhile(
        lambda: (room.rate("1", 1), room.batches.end_now(room.batches.all("P")[0].id, "train", actor="test"))
    )
    assert source.ready(answers, 0).count(True) == 1, "the same command asks again, in the same batch"
    raters.join()
    assert len(room.batches.all("P")) == 1


def test_training_comes_before_other_questions(room: Room) -> None:
    from tutelage.types import Comparison

    first = [Comparison(f"old{n}", "scores", s.prompt, (s,), ("overall",)) for n, s in enumerate(said("x", "y"))]
    room.store.ask(first, "P", 1)
    seen: list[str] = []

    def look() -> None:
        question = room.store.next_question("1", project="P")
        assert question is not None
        seen.append(question.id)
        room.rate("1")

    looks = room.meanwhile(look)
    room.source("human?n=1").ready(said("new"), 0)
    looks.join()
    assert seen[0].startswith("reward-")


def test_pairs_are_asked_where_they_are_wanted(room: Room) -> None:
    source, answers = room.source("human?n=2&ask=pairs"), said("a", "b", "b")

    def judge() -> None:
        for rater in ("1", "2"):
            question = room.store.next_question(rater, project="P")
            assert question is not None and question.kind == "pair"
            ranks = (1, 1) if rater == "1" else (1, 2)  # a tie, and a vote for the first
            room.store.answer(Judgement(f"p{rater}", question.id, rater, ranks=ranks))

    raters = room.meanwhile(judge)
    assert source.ready(answers, 0) == [True] * 3
    raters.join()
    first = 0.75 if source.score(answers).value[0] > 0.5 else 0.25
    assert source.score(answers).value.tolist() == [first, 1 - first, 1 - first]
    assert source.prefer([answers[0], answers[1]], [answers[1], answers[2]]).tolist() == [first, 0.5]
    same = said("c", "c")
    assert source.ready(same, 1) == [True, True] and source.score(same).value.tolist() == [0.5, 0.5], "nothing to ask"
    with pytest.raises(UsageError, match="one answer only"):
        source.ready(said("alone"), 1)


def test_severity_goes_by_what_was_heard_before_and_a_restart_says_the_same(room: Room) -> None:
    name = "human?n=2&zscore=1"
    values: list[list[float]] = []
    raw: list[float] = []
    for step in range(3):
        source, answers = room.source(name), said(*(f"{step}{letter}" for letter in "abcd"), seed=step)
        raters = room.meanwhile(lambda: (room.rate("1"), room.rate("2", score=1)))
        source.ready(answers, step)
        raters.join()
        values.append(source.score(answers).value.tolist())
        raw = source.score(answers).parts["people/raw"].tolist()
        assert source.state() == {}
    assert values[2] != raw
    for step in range(3):
        again, answers = room.source(name), said(*(f"{step}{letter}" for letter in "abcd"), seed=step)
        again.ready(answers, step)
        assert again.score(answers).value.tolist() == values[step]


def test_nobody_is_asked_in_a_dry_run_or_while_measuring(room: Room) -> None:
    source = room.source("human?n=2", rehearsal=True)
    assert source.ready(said("a", "b"), 0) == [True, True] and source.live
    assert ((source.score(said("a", "b")).value >= 0) & (source.score(said("a", "b")).value <= 1)).all()
    assert any("made-up scores stand in for 2 of 2" in line for line in room.heard)
    assert room.store.stats("P")["questions"] == 0 and room.batches.all() == []
    with pytest.raises(UsageError, match="training steps only"):
        named("human", Tools(lambda *_: source, asking(print), room.folder))
    at_work = room.source("human?n=2")
    with pytest.raises(UsageError, match="training steps"):
        at_work.score(said("never posted"))


def test_the_forms_are_one_grammar() -> None:
    for name in ("human", "human?n=3", "human#true,kind?late=train", "human:r.db", "people:postgresql://h/db?n=2"):
        assert model_of(name) is None and short_name(name, []) == "people"
    assert folders("0.5*human?late=model&model=org/name + 0.5*taste:news") == []


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("human?late=never", "choices: wait, train, model, stop"),
        ("human?late=model", "belong together"),
        ("human?model=half", "belong together"),
        ("human?deadline=-1", "wait 0 or more"),
        ("human?ask=pairs&zscore=1", "there are no scores"),
        ("human?ask=words", "choices: scores, pairs"),
    ],
)
def test_wrong_options_are_named(room: Room, name: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        room.source(name)


def test_the_gap_of_an_excluded_rater_is_asked_for_while_it_waits(tmp_path: Path, database_url: str) -> None:
    room = Room(tmp_path, database_url)
    try:
        people = People(room.store.database, b"")
        out = lambda rater: people.exclude("P", rater, True, reason="guesses", actor="test")  # noqa: E731
        source, answers = room.source("human?n=2"), said("a", "b")

        def rate() -> None:
            assert [room.rate("1"), room.rate("2", 1)] == [2, 1]
            out("2")
            [batch] = room.batches.all("P", "open")
            assert (batch.settled, batch.missing) == (0, 2), "whoever is excluded does not make a quorum"
            assert room.rate("3") == 2

        raters = room.meanwhile(rate)
        assert source.ready(answers, 0) == [True, True]
        raters.join()
        found = [{one.rater for one in item.judgements} for item in room.batches.settled(room.batches.all("P")[0].id)]
        assert found == [{"1", "3"}] * 2
        torch.testing.assert_close(
            source.score(answers).value, torch.tensor([(verdict(text, 1) + verdict(text, 3)) / 10 for text in "ab"])
        )
        out("3")
        assert source.ready(answers, 0) == [True, True], "a closed batch stays as it is"

        other = room.source("human?n=1", run="other")

        def again() -> None:
            [batch] = room.batches.all("P", "open")
            assert (batch.settled, batch.missing) == (1, 1), "what was said of `a` is known"
            out("1")
            [batch] = room.batches.all("P", "open")
            assert batch.settled == 0
            end = time.monotonic() + 60
            while room.batches.all("P", "open"):
                room.rate("6")
                assert time.monotonic() < end, "nobody was asked"
                time.sleep(0.5)

        raters = room.meanwhile(again)
        assert other.ready(said("a", "new"), 0) == [True, True]
        raters.join()
        used = [one.rater for item in room.batches.settled(room.batches.all("P")[1].id) for one in item.judgements]
        assert used == ["6", "6"]
    finally:
        room.store.close()


def test_postgresql_settles_batches_alike(tmp_path: Path, postgres_url: str) -> None:
    room = Room(tmp_path, postgres_url)
    try:
        source, answers = room.source("human?n=2&deadline=1&late=train&zscore=1"), said("a") + said("b", prompt="q")
        raters = room.meanwhile(lambda: room.rate("1", 1, score=5))
        assert source.ready(answers, 3).count(True) == 1
        raters.join()
        used = room.batches.settled(room.batches.all("P")[0].id)
        assert sum(len(item.judgements) for item in used) == 1 and room.store.next_question("2", project="P") is None
        raters = room.meanwhile(lambda: (room.rate("1"), room.rate("2")))
        patient = room.source("human?n=2&deadline=9999&late=train&zscore=1")
        assert patient.ready(said("c", "d"), 4) == [True, True]
        raters.join()
        assert [batch.state for batch in room.batches.all("P")] == ["deadline", "quorum"]
        assert room.batches.settled(room.batches.all("P")[0].id) == used
        again = room.source("human?n=2&deadline=1&late=train&zscore=1")
        again.ready(said("c", "d"), 4)
        assert again.score(said("c", "d")).value.tolist() == patient.score(said("c", "d")).value.tolist()
    finally:
        room.store.close()
