"""Gold, repeats, the quiz and the budget on real databases: what raters are given, and what it leaves unchanged."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from rating_room import questions
from tutelage.errors import DataError
from tutelage.labelers import _desk
from tutelage.labelers._consensus import report
from tutelage.store.checks import agree, checks
from tutelage.store.choosing import Choice, Choosing
from tutelage.store.decisions import Decisions, add_gold
from tutelage.store.hidden import NotAdmittedError, what_next
from tutelage.store.people import People
from tutelage.store.projects import Projects, ProjectSettings
from tutelage.store.schema import questions as table
from tutelage.store.standing import rebuild
from tutelage.store.store import Store
from tutelage.store.work import ConflictError, Task, Work
from tutelage.types import Judgement

SECRET = b"k" * 32


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with Store(database_url) as made:
        yield made


def new_project(store: Store, count: int, golds: int = 0, overlap: int = 1, name: str = "", **settings: Any) -> str:
    """A project of its own; which answer is the better one: see `truth`."""
    project = name or f"p{uuid.uuid4().hex[:8]}"
    store.ask(questions(count, name=f"{project}q"), project=project, overlap=overlap)
    asked = questions(golds, name=f"{project}g")
    add_gold(store, asked, [Judgement("", one.id, "", truth(one.id)) for one in asked], project)
    Projects(store.database).change(project, ProjectSettings(**settings), actor="test")
    return project


def truth(question: str) -> tuple[int, ...]:
    """The first answer is better in every other question."""
    return (1, 2) if int(question.rpartition("-")[2]) % 2 else (2, 1)


def given(task: Task, rater: str, right: bool = True) -> Judgement:
    best = truth(task.comparison.id)
    shown = random.Random(f"{task.id} {rater}").choice([(0, 1), (1, 0)])
    return Judgement(str(uuid.uuid4()), task.id, rater, best if right else best[::-1], shown=shown, seconds=3.0)


def take(work: Work, rater: str, project: str, count: int = 1) -> list[Task]:
    return work.take(rater, project, count=count, lease_seconds=600, rubric=0)


def rate(store: Store, project: str, rater: str, most: int, right: float = 1.0) -> list[Task]:
    """Answer up to `most` tasks, each right with that probability; what was given."""
    work, chance, done = Work(store.database, SECRET), random.Random(rater), list[Task]()
    while len(done) < most and (tasks := take(work, rater, project)):
        work.submit(given(tasks[0], rater, chance.random() < right), project)
        done += tasks
    return done


def test_gold_comes_at_its_rate_where_nobody_can_foresee_it(store: Store):
    project = new_project(store, 250, golds=90, gold_rate=0.2)
    done = rate(store, project, "ann", 250)
    hit = [task.purpose == "gold" for task in done]
    deviation = (250 * 0.2 * 0.8) ** 0.5
    assert abs(sum(hit) - 50) < 3.3 * deviation, "within the 99.9% interval of the binomial"
    gaps = {two - one for one, two in pairwise(at for at, gold in enumerate(hit) if gold)}
    assert len(gaps) > 5, "not every k-th"
    told = [what_next(SECRET, project, "ann", at, gold_rate=0.2, repeat_rate=0.0) == "gold" for at in range(250)]
    assert told == hit, "by the secret, the rater and the count alone"
    other = [what_next(b"x" * 32, project, "ann", at, gold_rate=0.2, repeat_rate=0.0) == "gold" for at in range(250)]
    assert other != hit, "who lacks the secret knows nothing"


def test_gold_and_repeats_have_their_own_rates():
    rates = {"gold_rate": 0.1, "repeat_rate": 0.05}
    drawn = Counter(what_next(SECRET, "p", "ann", count, **rates) for count in range(4000))
    assert abs(drawn["gold"] - 400) < 60 and abs(drawn["repeat"] - 200) < 45


def test_checks_change_no_export_no_count_and_no_overlap(store: Store):
    project = new_project(store, 40, golds=30, overlap=2, gold_rate=0.2, repeat_rate=0.2)
    plain = new_project(store, 40, overlap=2)
    names = {one.id.replace(plain, project): one.id for one in store.comparisons(plain)}
    for rater in ("ann", "bob"):
        done = rate(store, project, rater, 150)
        assert {task.purpose for task in done} == {"", "gold", "repeat"}
    for row in store.history(project):
        if row["rater"] != "gold" and not row["purpose"]:
            told = Judgement(f"x{row['id']}", names[row["question"]], row["rater"], tuple(row["ranks"]))
            store.answer_many([replace(told, shown=tuple(row["shown"]), seconds=3.0)])
    for kind in ("preference", "unpaired", "ranking", "rated", "demonstration"):
        one, two = (list(_desk.rows_of(store, name, kind)) for name in (project, plain))
        assert str(one).replace(project, plain) == str(two), kind
    stats, other = store.stats(project), store.stats(plain)
    assert stats["judgements"] == other["judgements"] == 80 and stats["questions"] == other["questions"] == 40
    assert stats["open_questions"] == 0 and set(Counter(j.comparison for j in ordinary(store, project)).values()) == {2}


def ordinary(store: Store, project: str) -> list[Judgement]:
    return [one for one in store.judgements(project) if one.rater != "gold"]


def test_a_repeat_supersedes_nothing_and_never_comes_too_soon(store: Store):
    project = new_project(store, 80, repeat_rate=0.3)
    work, first, order = Work(store.database, SECRET), dict[int, str](), list[int]()
    for _ in range(90):
        for task in take(work, "ann", project):
            kept = work.submit(given(task, "ann", task.purpose != "repeat"), project)
            if task.purpose == "repeat":
                assert task.number not in order[-10:] and task.number in order
                assert kept.id != first[task.number]
            else:
                first[task.number] = kept.id
                order.append(task.number)
    again = checks(store.database, project)["ann"].again
    assert len(again) > 10 and not any(again), "each was answered the other way round"
    assert {one.id for one in ordinary(store, project)} == set(first.values())
    assert all(one.ranks == truth(one.comparison) for one in ordinary(store, project))


def test_a_repeat_can_be_taken_back_and_the_first_answer_stays(store: Store):
    project = new_project(store, 30, repeat_rate=0.5)
    work = Work(store.database, SECRET)
    while (task := take(work, "ann", project)[0]).purpose != "repeat":
        work.submit(given(task, "ann"), project)
    before = {one.id for one in ordinary(store, project)}
    answer = given(task, "ann", False)
    work.submit(answer, project)
    back = work.undo(answer.id, str(uuid.uuid4()), "ann", project, lease_seconds=600, rubric=0)
    assert (back.id, back.purpose) == (task.id, "repeat") and checks(store.database, project) == {}
    assert {one.id for one in ordinary(store, project)} == before
    assert take(work, "ann", project)[0].id == task.id, "it is held again"


def test_an_id_answers_its_question_once_not_its_repeat_too(store: Store):
    """All else alike: what the row was given for is part of what it says."""
    project = new_project(store, 30, repeat_rate=0.5)
    work, first = Work(store.database, SECRET), dict[int, Judgement]()
    while (task := take(work, "ann", project)[0]).purpose != "repeat":
        first[task.number] = given(task, "ann")
        work.submit(first[task.number], project)
    earlier = first[task.number]
    assert work.submit(earlier, project).id == earlier.id, "sent again, it is told the same"
    with pytest.raises(ConflictError, match="another judgement"):
        work.submit(replace(earlier, comparison=task.id), project)
    assert checks(store.database, project) == {}
    work.submit(again := replace(earlier, id=str(uuid.uuid4()), comparison=task.id), project)
    with pytest.raises(ConflictError, match="another judgement"):
        work.submit(replace(again, comparison=earlier.comparison), project)
    assert ordinary(store, project) and checks(store.database, project)["ann"].again == [True]


@pytest.mark.parametrize("database_url", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)], indirect=True)
def test_planted_raters_are_found(store: Store):
    project = new_project(store, 60, golds=40, overlap=5, name="planted", gold_rate=0.25, repeat_rate=0.2)
    rights = {"ann": 0.95, "bob": 0.9, "cleo": 0.9, "random": 0.5, "liar": 0.05}
    for rater, right in rights.items():
        rate(store, project, rater, 95, right)
    lines = {line["rater"]: line for line in report(store, project)["raters"]}
    assert {name for name, line in lines.items() if "fails_gold" in line["faults"]} == {"random", "liar"}
    assert "contradicts" in lines["liar"]["faults"] and "inconsistent" in lines["random"]["faults"]
    assert {name: lines[name]["faults"] for name in ("ann", "bob", "cleo")} == {"ann": [], "bob": [], "cleo": []}
    gold = lines["liar"]["detail"]["gold"]
    assert gold["value"] < 0.3 and gold["value"] < gold["high"] < 0.5


def test_fifty_raters_never_pass_the_budget(store: Store):
    project = new_project(store, 100, golds=30, overlap=3, gold_rate=0.1, budget=90)
    with ThreadPoolExecutor(50) as pool:
        list(pool.map(lambda number: rate(store, project, f"{project}r{number}", 1000), range(50)))
    assert len(ordinary(store, project)) == 90
    assert Work(store.database).held(project) == []


def test_the_budget_counts_what_is_on_screens(store: Store):
    project = new_project(store, 10, budget=3)
    work = Work(store.database, SECRET)
    held = take(work, "ann", project, 2)
    assert len(take(work, "bob", project, 4)) == 1 and take(work, "cleo", project) == []
    for task in held:
        work.submit(given(task, "ann"), project)
    assert take(work, "ann", project) == [] and len(take(work, "bob", project, 4)) == 1
    with store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE leases SET expires = 0")
    assert len(take(work, "cleo", project, 4)) == 1, "what was left lying comes back"


def test_the_quiz_stands_before_the_work_and_survives_a_lease_that_ran_out(store: Store):
    project = new_project(store, 5, golds=6, quiz=3, pass_mark=0.6)
    work = Work(store.database, SECRET)
    tasks = take(work, "ann", project, 4)
    assert [task.purpose for task in tasks] == ["quiz"] * 3 and take(work, "ann", project, 4) == tasks
    with store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE leases SET expires = 0")
    assert {task.id for task in take(work, "ann", project, 4)} == {task.id for task in tasks}
    for task, right in zip(tasks, (True, True, False), strict=True):
        work.submit(given(task, "ann", right), project)
    assert {task.purpose for task in take(work, "ann", project, 2)} == {""}
    for task in take(work, "bob", project, 3):
        work.submit(given(task, "bob", False), project)
    with pytest.raises(NotAdmittedError):
        take(work, "bob", project)
    assert work.refused("bob", project) and not work.refused("ann", project)
    decisions = Decisions(store.database)
    assert {name: row["right"] for name, row in decisions.admissions(project).items()} == {"ann": 2, "bob": 0}
    decisions.admit(project, "bob", actor="test")
    assert take(work, "bob", project)[0].purpose == ""


def test_skipping_the_quiz_is_no_way_round_it(store: Store):
    project = new_project(store, 5, golds=3, quiz=2)
    work = Work(store.database, SECRET)
    for _ in range(3):
        (task,) = take(work, "ann", project)[:1]
        work.skip(task.id, str(uuid.uuid4()), "ann", project, "too_long")
    with pytest.raises(NotAdmittedError):
        take(work, "ann", project)


def test_who_worked_before_there_was_a_quiz_goes_on(store: Store):
    project = new_project(store, 5, golds=3)
    rate(store, project, "ann", 2)
    Projects(store.database).change(project, ProjectSettings(quiz=3), actor="test")
    assert take(Work(store.database, SECRET), "ann", project)[0].purpose == ""


def test_nobody_is_called_gold(store: Store):
    project = new_project(store, 2)
    with pytest.raises(DataError, match="not for a person"):
        take(Work(store.database), "gold", project)
    with pytest.raises(DataError, match="not for a person"):
        People(store.database, SECRET).invite(project, actor="test", rater="gold")


def test_the_counts_of_a_question_are_what_its_judgements_say(store: Store):
    project = new_project(store, 12, golds=6, overlap=2, gold_rate=0.2, repeat_rate=0.3)
    work, chance = Work(store.database, SECRET), random.Random(1)
    for turn in range(120):
        rater = chance.choice("abc")
        for task in take(work, rater, project):
            answer = given(task, rater, chance.random() < 0.5)
            work.submit(answer, project)
            if chance.random() < 0.3:
                back = work.undo(answer.id, str(uuid.uuid4()), rater, project, lease_seconds=600, rubric=0)
                if turn % 3:
                    work.submit(given(back, rater), project)
    before = counts(store, project)
    rebuild(store.database, project)
    assert counts(store, project) == before
    standing = Counter(one.comparison for one in ordinary(store, project))
    assert all(row["given"] == standing.get(row["id"], 0) for row in before if not row["purpose"])
    assert all(row["open"] == (row["given"] < row["overlap"] and not row["purpose"]) for row in before)


def counts(store: Store, project: str) -> list[dict[str, Any]]:
    with store.database.reading() as connection:
        rows = connection.execute(table.select().where(table.c.project == project).order_by(table.c.number)).mappings()
        return [{name: row[name] for name in ("id", "given", "open", "overlap", "purpose")} for row in rows]


def test_chosen_questions_come_first_with_their_probability(store: Store):
    project = new_project(store, 10, selection="disagreement")
    choosing, work = Choosing(store.database), Work(store.database, SECRET)
    ids = [one.id for one in choosing.pool(project)]
    assert choosing.put(project, [Choice(ids[7], 0.3, "active"), Choice(ids[2], 0.4, "random")], actor="t", how={}) == 0
    assert choosing.put(project, [Choice(ids[5], 0.5, "active")], actor="t", how={}) == 1
    got = [task.comparison for task in take(work, "ann", project, 4)]
    assert [one.id for one in got] == [ids[7], ids[2], ids[5]], "what was not chosen waits for the next batch"
    assert [one.probability for one in got] == [0.15, 0.2, 0.25], "half of all pairs were asked about"
    assert choosing.left(project) == (3, 7, 3) and choosing.arms(project)[ids[2]] == "random"
    Projects(store.database).change(project, ProjectSettings(), actor="test")
    assert len(take(work, "bob", project, 10)) == 7


@pytest.mark.parametrize(
    ("kind", "one", "two", "same"),
    [
        ("pair", (1, 2), (1, 2), True),
        ("pair", (1, 2), (2, 1), False),
        ("pair", (1, 1), (1, 2), False),
        ("best", (1, 2, 3), (1, 2, 2), True),
        ("best", (1, 2, 2), (2, 1, 2), False),
        ("ranking", (1, 2, 3, 4), (2, 1, 3, 4), True),
        ("ranking", (1, 2, 3), (3, 2, 1), False),
    ],
)
def test_when_two_answers_say_the_same(kind: str, one: tuple[int, ...], two: tuple[int, ...], same: bool):
    rows = [{"kind": kind, "scale": [0, 5], "ranks": ranks, "scores": {}, "both_bad": False} for ranks in (one, two)]
    assert agree(*rows) is same


def test_scores_within_a_fifth_of_the_scale_say_the_same():
    def row(score: float) -> dict[str, Any]:
        return {"kind": "scores", "scale": [0, 5], "ranks": [], "scores": {"fluent": score}, "both_bad": False}

    assert agree(row(3), row(4)) and not agree(row(2), row(4))
