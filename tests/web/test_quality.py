"""Hidden gold, repeats, the quiz and decisions, through the pages and the interface that people use."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from chosen_pairs import judge_alike, judge_taught
from rating_room import HOST, OPEN, SECRET, Enter, answer, questions, take
from tutelage.errors import TryAgainError
from tutelage.labelers import _desk
from tutelage.labelers._choosing import saving
from tutelage.labelers._consensus import report
from tutelage.store.batches import Batches, Item
from tutelage.store.choosing import Choice, Choosing
from tutelage.store.decisions import Decisions, add_gold
from tutelage.store.people import People
from tutelage.store.projects import Projects, ProjectSettings
from tutelage.store.store import Store
from tutelage.types import Comparison, Judgement, Prompt, Sample
from tutelage.web._pages import words
from tutelage.web._settings import Settings
from tutelage.web.app import create_app

IN = "/admin/projects/default"


@pytest.fixture
def app(store: Store) -> Starlette:
    lent: dict[str, Any] = {"report": report, "questions": _desk.questions_of, "rows": _desk.rows_of, "saving": saving}
    return create_app(store, Settings(hosts=(HOST,), secret=SECRET, limits=OPEN, **lent))


def with_gold(store: Store, count: int, **settings: Any) -> None:
    """Gold questions of which the first answer is the better one."""
    asked = questions(count, name="gold")
    add_gold(store, asked, [Judgement("", one.id, "", (1, 2)) for one in asked], "default")
    Projects(store.database).change("default", ProjectSettings(**settings), actor="test")


def says(task: dict[str, Any], right: bool) -> dict[str, Any]:
    first = "Answer** 0" in task["candidates"][0]["text"]
    return answer(task) | {"ranks": [1, 2] if right == first else [2, 1]}


def _number(task: str) -> int:
    return int(task[1:].partition("-")[0])


def test_a_check_looks_like_any_other_task(store: Store, enter: Enter):
    with_gold(store, 40, gold_rate=0.3, repeat_rate=0.2)
    store.ask(questions(60), overlap=1)
    rater = enter("ann")
    seen: list[dict[str, Any]] = []
    for number in range(60):
        (task,) = take(rater)
        seen.append(task)
        reply = rater.post("/api/v1/judgements", json=answer(task))
        assert reply.json() == {"id": reply.json()["id"], "stored": True, "extra": False}
        assert rater.get("/api/v1/me").json()["today"]["done"] == number + 1, "the count goes on for every task alike"
    purposes = {row["purpose"] for row in store.history() if row["rater"] != "gold"}
    assert purposes == {"", "gold", "repeat"}
    assert len({frozenset(task) for task in seen}) == 1 and not any(task["repeated"] for task in seen)
    ids = [str(task["id"]) for task in seen]
    assert len(set(ids)) == 60 and ids == sorted(ids, key=_number), "ids tell the order and no more"
    assert "gold" not in json.dumps([{**task, "prompt": "", "candidates": ""} for task in seen])


def test_who_fails_the_quiz_gets_no_work_until_an_admin_lets_them_in(store: Store, enter: Enter):
    with_gold(store, 5, quiz=4, pass_mark=0.75)
    store.ask(questions(3), overlap=3)
    bad, good, admin = enter("bad"), enter("good"), enter("Dana", role="admin")
    for rater, right in ((bad, 2), (good, 3)):
        for number in range(4):
            (task,) = take(rater)
            assert rater.post("/api/v1/judgements", json=says(task, number < right)).status_code == 200
    assert len(take(good, 2)) == 2
    for language, word in (("en", "no more work"), ("zh", "没有更多任务")):
        bad.post("/api/v1/language", json={"language": language})
        refused = bad.post("/api/v1/tasks/next", json={"n": 1})
        assert refused.status_code == 403 and word in refused.json()["error"]["what"]
        page = bad.get("/rate")
        assert page.status_code == 403 and word in page.text
    assert {row["purpose"] for row in store.history()} == {"quiz", ""}, "'' is that of the known answers"
    raters = admin.get(f"{IN}/raters").text
    found = re.search(r'name="rater" value="([^"]+)"', raters)
    assert found and "not passed, 2 of 4 right" in raters
    reply = admin.post(f"{IN}/raters/admit", data={"rater": found.group(1)})
    assert "may work from now on" in admin.get(reply.headers["location"]).text
    assert len(take(bad, 2)) == 2 and bad.get("/rate").status_code == 200
    assert "let a rater in" in admin.get("/admin/audit").text
    again = admin.post(f"{IN}/raters/admit", data={"rater": found.group(1)})
    assert "no such rater" in admin.get(again.headers["location"]).text


def test_taking_a_quiz_answer_back_afterwards_changes_nothing(store: Store, enter: Enter):
    with_gold(store, 3, quiz=2, pass_mark=1.0)
    store.ask(questions(3), overlap=3)
    rater = enter("ann")
    sent = [says(take(rater)[0], right) for right in (True,)]
    assert rater.post("/api/v1/judgements", json=sent[0]).status_code == 200
    wrong = says(take(rater)[0], False)
    assert rater.post("/api/v1/judgements", json=wrong).status_code == 200
    undone = rater.post(f"/api/v1/judgements/{wrong['id']}/undo", json={"id": answer(undone_task())["id"]})
    task = undone.json()["task"]
    assert rater.post("/api/v1/judgements", json=says(task, True)).status_code == 200
    assert rater.post("/api/v1/tasks/next", json={"n": 1}).status_code == 403


def test_the_list_of_doubts_shows_prompts_in_one_harmless_line(store: Store, enter: Enter):
    asked = Prompt("p", "<script>alert(1)</script>\n\n第二行\u202e " + "x" * 500)
    said = tuple(Sample(f"p-{at}", asked, f"answer {at}") for at in range(2))
    store.ask([Comparison("q", "pair", asked, said)], overlap=2)
    given = [Judgement(rater, "q", rater, ranks, shown=(0, 1)) for rater, ranks in (("a", (1, 2)), ("b", (2, 1)))]
    store.answer_many(given)
    admin = enter("Dana", role="admin")
    for page in ("adjudication", "agreement"):
        text = admin.get(f"{IN}/{page}").text
        assert "&lt;script&gt;alert(1)&lt;/script&gt; 第二行⟨U+202E⟩ xxx" in text and "<script>alert" not in text
        assert "x" * 200 not in text and "…</a>" in text
    admin.post("/api/v1/language", json={"language": "zh"})
    chinese = admin.get(f"{IN}/adjudication").text
    assert "<th>提示</th>" in chinese and "第二行" in chinese


def undone_task() -> dict[str, Any]:
    return {"id": "t1", "shown": [0, 1], "kind": "pair"}


@pytest.mark.parametrize(("language", "few", "reading"), [
    ("en", "no interval: one prompt", "too few prompts to say"),
    ("zh", "无区间：只有一个提示", "提示太少，尚难判断"),
])  # fmt: skip
def test_one_prompt_gives_no_interval_and_its_ranking_one_line(
    language: str, few: str, reading: str, store: Store, enter: Enter
):
    prompt = Prompt("p", "Which?")
    said = tuple(Sample(f"s{name}", prompt, name, model=name) for name in "abc")
    store.ask([Comparison("q", "ranking", prompt, said)], overlap=2)
    orders = (("ann", (1, 2, 3)), ("bo", (3, 2, 1)))
    store.answer_many([Judgement(rater, "q", rater, ranks, shown=(0, 1, 2)) for rater, ranks in orders])
    admin = enter("Dana", role="admin")
    admin.post("/api/v1/language", json={"language": language})
    agreement, board = (admin.get(f"{IN}/{page}").text for page in ("agreement", "leaderboard"))
    assert agreement.count(few) == 6, "the tile, the two figures above, and three other measures"
    assert reading in agreement and reading in board.lower() and board.count(few) == 3
    assert agreement.count(f'href="{IN}/questions/1"') == 1


def test_a_doubtful_question_is_decided_and_may_become_gold(store: Store, enter: Enter):
    store.ask(questions(3), overlap=2)
    for number, (ann, bob) in enumerate((((1, 2), (2, 1)), ((1, 2), (1, 2)), ((2, 1), (2, 1)))):
        for rater, ranks in (("ann", ann), ("bob", bob)):
            told = Judgement(f"{rater}{number}", f"SECRET-q-pair-{number}", rater, ranks, shown=(0, 1), seconds=4.0)
            store.answer_many([told])
    admin = enter("Dana", role="admin")
    queue = admin.get(f"{IN}/adjudication").text
    assert "/questions/1#decide" in queue and "/questions/2#decide" not in queue
    assert "Why is the sky blue? 0" in queue, "the list says what was asked"
    exports = [export(admin, kind) for kind in ("preference", "raw")]
    assert admin.post(f"{IN}/questions/1", data={"comment": "?"}).status_code == 303
    assert "Choose an answer first." in admin.get(f"{IN}/questions/1").text
    decided = admin.post(f"{IN}/questions/1", data={"choice": "1", "comment": "more faithful", "gold": "on"})
    page = html.unescape(admin.get(decided.headers["location"]).text)
    assert "Decided. Exports" in page and "decided by an admin" in page and "more faithful" in page
    assert "/questions/1#decide" not in admin.get(f"{IN}/adjudication").text
    rows = [row for row in export(admin, "preference") if row["meta"]["samples"][0].startswith("SECRET-q0")]
    assert len(rows) == 1 and rows[0]["chosen"][0]["content"] == "**Answer** 1 to q0", "the decision holds"
    assert len(exports[0]) == 2 and len(export(admin, "preference")) == 3, "what was split now counts"
    assert "decided a question" in admin.get("/admin/audit").text
    assert "1 in this list" in admin.get(f"{IN}/questions?show=gold").text
    admin.post(f"{IN}/questions/1", data={"unmark": "1"})
    assert "0 in this list" in admin.get(f"{IN}/questions?show=gold").text


def test_what_a_training_run_waits_for_does_not_become_gold(store: Store, enter: Enter):
    store.ask(questions(2), overlap=1)
    live, decisions = Batches(store.database), Decisions(store.database)
    items = [Item("SECRET-q-pair-0")]
    live.post("b", project="default", run="r", step=0, items=items, wanted=1, kind="pairs")
    with pytest.raises(TryAgainError, match="waits for judgements of this question"):
        decisions.decide("default", 1, Judgement("", "", "", (1, 2)), gold=True, actor="test")
    admin, rater = enter("Dana", role="admin"), enter("ann")
    for language, word in (("en", "a training run waits"), ("zh", "训练正在等待")):
        admin.post("/api/v1/language", json={"language": language})
        reply = admin.post(f"{IN}/questions/1", data={"choice": "1", "gold": "on"})
        assert reply.status_code == 303 and word in admin.get(reply.headers["location"]).text
    assert store.history() == [] and decisions.golds("default") == 0, "nothing is written"
    admin.post(f"{IN}/questions/1", data={"choice": "1"})
    assert [row["rater"] for row in store.history()] == ["gold"], "an answer without gold is free"
    (task,) = take(rater)
    assert rater.post("/api/v1/judgements", json=answer(task)).status_code == 200
    assert live.close("b").state == "quorum", "it was asked, and the run goes on"
    admin.post(f"{IN}/questions/1", data={"choice": "1", "gold": "on"})
    assert decisions.golds("default") == 1
    live.post("c", project="default", run="s", step=0, items=items, wanted=2, kind="pairs")
    assert decisions.golds("default") == 0 and live.get("c").missing == 1, "a later run asks it like any other"
    with pytest.raises(TryAgainError):
        decisions.decide("default", 1, Judgement("", "", "", (1, 2)), gold=True, actor="test")


def export(admin: TestClient, kind: str) -> list[dict[str, Any]]:
    reply = admin.post(f"{IN}/exports", data={"kind": kind, "weights": "reliability"})
    return [json.loads(line) for line in reply.text.splitlines()]


def test_a_raters_page_shows_what_is_known_and_every_exclusion(store: Store, enter: Enter):
    with_gold(store, 30, gold_rate=0.4, repeat_rate=0.1)
    store.ask(questions(50), overlap=2)
    for name, right in (("ann", True), ("liar", False)):
        rater = enter(name)
        for _ in range(50):
            for task in take(rater):
                rater.post("/api/v1/judgements", json=says(task, right))
    admin = enter("Dana", role="admin")
    overview = admin.get(f"{IN}/raters").text
    liar = re.search(r'/raters/([^"]+)">liar<', overview)
    assert liar
    page = admin.get(f"{IN}/raters/{liar.group(1)}").text
    assert "fails known answers" in page and "Known answers right" in page and "0 %" in page
    admin.post(f"{IN}/raters", data={"rater": liar.group(1), "exclude": "1", "reason": "upside down"})
    page = admin.get(f"{IN}/raters/{liar.group(1)}").text
    assert "upside down" in page and "Dana" in page
    assert admin.get(f"{IN}/raters/nobody").status_code == 404


def test_what_choosing_saved_is_counted_anew_when_a_rater_is_excluded(store: Store, enter: Enter):
    store.ask(questions(4), overlap=1)
    names = [f"SECRET-q-pair-{number}" for number in range(4)]
    arms = ("random", "random", "active", "active")
    batch = [Choice(name, 0.5, arm) for name, arm in zip(names, arms, strict=True)]
    Choosing(store.database).put("default", batch, actor="test", how={})
    admin = enter("Dana", role="admin")
    store.answer_many([Judgement(name, name, "ann", (1, 2), shown=(0, 1)) for name in names])
    few = words("en")["admin"]["selection"]["few"]
    assert few.format(random=2, active=2) in admin.get(IN).text
    People(store.database, SECRET).exclude("default", "ann", True, reason="", actor="test")
    assert few.format(random=0, active=0) in admin.get(IN).text


SAID_OF_SAVING = {
    ("en", "none"): r"Labels saved against random:</b> no saving \(-?\d+ %, -\d+ to \d+: the interval covers zero\)",
    ("en", "some"): r"Labels saved against random:</b> [1-9]\d* % of the labels saved \([1-9]\d* to [1-9]\d*\)",
    ("en", "cost"): r"Labels saved against random:</b> costs [1-9]\d* % more labels \([1-9]\d* to [1-9]\d*\)",
    ("zh", "none"): r"相对随机节省的标注：</b> 没有节省（-?\d+ %，-\d+ 到 \d+：区间含零）",
    ("zh", "some"): r"相对随机节省的标注：</b> 节省 [1-9]\d* % 的标注（[1-9]\d* 到 [1-9]\d*）",
    ("zh", "cost"): r"相对随机节省的标注：</b> 多费 [1-9]\d* % 的标注（[1-9]\d* 到 [1-9]\d*）",
}


@pytest.mark.parametrize(("true", "judge"), [
    ("none", judge_alike), ("some", judge_taught), ("cost", partial(judge_taught, easy="active")),
])  # fmt: skip
def test_the_dashboard_says_no_saving_where_the_interval_covers_zero_and_else_how_much(
    true: str, judge: Callable[[Store, str], None], store: Store, enter: Enter
):
    judge(store, "default")
    admin = enter("Dana", role="admin")
    for language in ("en", "zh"):
        admin.post("/api/v1/language", json={"language": language})
        page = admin.get(IN).text
        told = {name: said for (spoken, name), said in SAID_OF_SAVING.items() if spoken == language}
        assert [name for name, said in told.items() if re.search(said, page)] == [true], language


def test_a_judge_whose_models_name_has_a_slash_has_a_page_too(store: Store, enter: Enter):
    name = "judge:Qwen/Qwen3-8B"
    store.ask(questions(2), overlap=1)
    store.answer_many([Judgement("j", "SECRET-q-pair-0", name, (1, 2), shown=(0, 1))], rater_kind="judge")
    admin = enter("Dana", role="admin")
    (link,) = re.findall(rf'href="({IN}/raters/judge[^"]+)"', admin.get(f"{IN}/raters").text)
    page = admin.get(link)
    assert page.status_code == 200 and name in page.text
    sent = admin.post(f"{IN}/raters", data={"rater": name, "exclude": "1", "reason": "tries"})
    assert sent.status_code == 303 and People(store.database, SECRET).excluded("default") == {name: "tries"}
    assert admin.get(f"{IN}/raters/nobody/at/all").status_code == 404
