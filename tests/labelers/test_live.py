"""What a run hears of people: by what was asked when it was posted, and from those who count."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.errors import DataError
from tutelage.labelers._live import Live
from tutelage.labelers._posing import Plan
from tutelage.labelers._trainer import Trainer
from tutelage.store.batches import Batches
from tutelage.store.people import People
from tutelage.store.projects import Aspect, Projects
from tutelage.store.store import Store
from tutelage.types import Comparison, Judgement, Prompt, Sample


def said(*texts: str) -> list[Sample]:
    return [Sample(f"p/{number}", Prompt("p", "Say p."), text) for number, text in enumerate(texts)]


def rate(store: Store, rater: str, score: float) -> int:
    """Score whatever is handed out; how many it was."""
    count = 0
    while (question := store.next_question(rater, project="P")) is not None:
        scores = dict.fromkeys(question.aspects, score)
        store.answer(Judgement(f"{rater}-{question.id}", question.id, rater, scores=scores))
        count += 1
    return count


def scored_before(store: Store, rater: str, aspect: str, *scores: float) -> None:
    """What a rater has scored in the project before any run asked."""
    for number, score in enumerate(scores):
        prompt = Prompt(f"old{number}", f"Old {number}?")
        question = Comparison(f"{aspect}-{number}", "scores", prompt, (Sample(f"o{number}", prompt, "old"),), (aspect,))
        store.ask([question], "P")
        store.answer(Judgement(f"{rater}-{aspect}-{number}", question.id, rater, scores={aspect: score}))


def test_scores_count_though_the_rubric_was_changed_before_they_were_read(tmp_path: Path) -> None:
    with Store(tmp_path / "r.db") as store:
        answers = said("a", "b")
        live = Live(str(tmp_path / "r.db"), Plan(project="P", raters=1), Trainer(tmp_path / "run"))
        live.post(answers, 0)
        assert rate(store, "ann", 4.0) == 2
        Projects(store.database).publish("P", {}, (Aspect("clear", scale=(1.0, 5.0)),), actor="test")
        again = Live(str(tmp_path / "r.db"), Plan(project="P", raters=1), Trainer(tmp_path / "run"))
        assert again.wait(answers, 0) == [True, True]
        assert [(one.aspect, one.score, one.scale) for heard in again(answers) for one in heard] == [
            ("overall", 4.0, (0.0, 5.0)), ("overall", 4.0, (0.0, 5.0))
        ]  # fmt: skip


def test_a_dry_run_makes_up_what_was_asked_and_not_answered(tmp_path: Path) -> None:
    with Store(tmp_path / "r.db") as store:
        answers, heard = said("a", "b"), list[str]()
        plan = Plan(project="P", raters=1)
        Live(str(tmp_path / "r.db"), plan, Trainer(tmp_path / "run")).post(answers, 0)
        question = store.next_question("ann", project="P")
        assert question is not None
        store.answer(Judgement("j", question.id, "ann", scores={"overall": 2.0}))
        rehearsal = Live(str(tmp_path / "r.db"), plan, Trainer(tmp_path / "try", rehearsal=True), warn=heard.append)
        assert rehearsal.wait(answers, 0) == [True, True]
        assert sorted(one.rater for each in rehearsal(answers) for one in each) == ["(made up)", "ann"]
        assert heard == ["dry run: nobody is asked; made-up scores stand in for 1 of 2 answers"]


def levelled(store: Store, folder: Path, plan: Plan) -> float:
    """What 0.8 from ann is worth after a batch in which she gave 4."""
    live = Live(str(folder / "r.db"), plan, Trainer(folder / "run"), shrinkage=2.0)
    live.post(said("a"), 0)
    rate(store, "ann", 4.0)
    live.wait(said("a"), 0)
    return live.level("ann", 0.8)


def test_severity_goes_by_the_aspects_that_the_reward_is_made_of(tmp_path: Path) -> None:
    with Store(tmp_path / "r.db") as store:
        scored_before(store, "ann", "style", 0.0, 1.0, 1.0)
        scored_before(store, "bo", "style", 4.0, 4.0, 5.0)
        level = levelled(store, tmp_path, Plan(project="P", raters=1, aspects=("overall",)))
        assert abs(level - 0.8) < 1e-9, "nothing was heard on this aspect before"


def test_severity_does_not_go_by_who_was_excluded_before(tmp_path: Path) -> None:
    with Store(tmp_path / "r.db") as store:
        scored_before(store, "ann", "overall", 3.0, 4.0, 4.0)
        scored_before(store, "liar", "overall", 0.0, 1.0, 0.0)
        People(store.database, b"").exclude("P", "liar", True, reason="lies", actor="test")
        level = levelled(store, tmp_path, Plan(project="P", raters=1))
        assert abs(level - 0.8) < 1e-9, "nobody else who counts was heard before"


def test_two_rewards_of_one_run_do_not_cancel_each_others_batches(tmp_path: Path) -> None:
    """0.7*human#faithful + 0.3*human#fluent, asked ahead and again by the run that was started again."""
    url, folder = str(tmp_path / "r.db"), tmp_path / "run"
    plans = [Plan(project="P", raters=1, aspects=(aspect,)) for aspect in ("faithful", "fluent")]
    with Store(url) as store:
        for _ in range(2):
            trainer = Trainer(folder)
            for step in (0, 1):
                for plan in plans:
                    Live(url, plan, trainer).post(said(f"a{step}"), step)
            found = Batches(store.database).all("P")
            assert [(batch.step, batch.state) for batch in found] == [(0, "open")] * 2 + [(1, "open")] * 2
        assert rate(store, "ann", 3.0) == 4
        trainer = Trainer(folder)
        rewards = [Live(url, plan, trainer) for plan in plans]
        assert [live.wait(said("a0"), 0) for live in rewards] == [[True], [True]]
        states = [(batch.step, batch.state) for batch in Batches(store.database).all("P")]
        assert states == [(0, "quorum")] * 2 + [(1, "open")] * 2


@pytest.mark.parametrize("rehearsal", [False, True])
def test_a_project_that_is_not_there_beside_others_is_refused_unless_raters_are_invited(
    rehearsal: bool, tmp_path: Path
) -> None:
    url, plan, trainer = str(tmp_path / "r.db"), Plan(project="skool"), Trainer(tmp_path / "run", rehearsal=rehearsal)
    Live(url, plan, trainer)  # a new database: nothing is mistyped, and a dry run makes none
    assert (tmp_path / "r.db").exists() is not rehearsal
    with Store(url) as store:
        scored_before(store, "ann", "overall", 3.0)
        people = People(store.database, b"")
        people.invite("skool", actor="test", role="admin")
        with pytest.raises(DataError, match="no project 'skool'.*nobody is invited") as caught:
            Live(url, plan, trainer)
        assert "--project P;" in str(caught.value)
        people.invite("skool", actor="test")
        Live(url, plan, trainer)
        Live(url, Plan(project="P"), trainer)
