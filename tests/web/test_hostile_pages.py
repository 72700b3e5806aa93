"""Hostile texts in every place that people or models can fill, on every page, in a browser that enforces the policy."""

from __future__ import annotations

from typing import Any

import pytest

from hostile import AWAY, CORPUS
from rating_browser import Room, all_sent, next_task, press, ready
from tutelage.store.projects import Aspect, Projects, ProjectSettings
from tutelage.types import Comparison, Judgement, Message, Prompt, Sample
from tutelage.web._admin_page import slug_of

PACKED = ["\n\n".join(CORPUS[start::3]) for start in range(3)]
"""The whole corpus in three texts; one by one its texts are shown by `test_rating_screen_safe.py`."""
WORSE = '"><script>alert(1)</script><img src=https://evil.example/x onerror=alert(1)>\u202e{{ 7*7 }}'
TABS = ("", "/questions", "/guidelines", "/settings", "/raters", "/agreement", "/leaderboard", "/exports", "/sampling")
KEYS = {
    "pair": ("1",),
    "scores": ("4",),
    "best": ("1",),
    "edit": ("e", "Control+a", "x", "Control+Enter"),  # a third of the corpus is more than an edit may hold
    "ranking": ("Enter", "k"),
}


def watch(page: Any, port: int) -> list[str]:
    """What must not happen, as it happens: dialogs, requests elsewhere, other windows, breaches of the policy."""
    wrong: list[str] = []
    page.on("dialog", lambda dialog: (wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda sent: None if f"//127.0.0.1:{port}/" in sent.url else wrong.append(sent.url))
    page.on("console", lambda told: wrong.append(told.text) if "Security Policy" in told.text else None)
    page.on("popup", lambda other: wrong.append(f"popup {other.url}"))
    page.on("framenavigated", lambda frame: None if frame == page.main_frame else wrong.append(f"frame {frame.url}"))
    return wrong


def ask(room: Room, kind: Any, answers: int) -> None:
    """One question for each part of the corpus, as prompt (a conversation) and in every answer; wicked names too."""
    made: list[Comparison] = []
    for number, part in enumerate(PACKED):
        turns = (Message("system", WORSE), Message("user", part), Message("assistant", part), Message("user", "?"))
        prompt = Prompt(f"{room.project}-{kind}-{number}-{WORSE}", turns)
        texts = [PACKED[(number + at) % 3] for at in range(answers)]
        named = [{"model": f"{WORSE}{at}", "checkpoint": f"{at}{WORSE}"} for at in range(answers)]
        said = tuple(Sample(f"{prompt.id}-{at}", prompt, text, **named[at]) for at, text in enumerate(texts))
        aspects = (WORSE,) if kind == "scores" else ()
        made.append(Comparison(f"{prompt.id}-q", kind, prompt, said, aspects))
    room.store.ask(made, project=room.project, overlap=9)


def wicked_project(room: Room) -> None:
    """Title, guidelines, aspects and anchors are hostile as well."""
    projects = Projects(room.store.database)
    projects.change(room.project, ProjectSettings(title=WORSE, goal=10, strength=0), actor=WORSE)
    label, anchors = {"en": WORSE, "zh": WORSE}, {"0": {"en": WORSE}, "5": {"zh": WORSE}}
    guidelines = {"en": "\n\n".join(PACKED), "zh": "\n\n".join(PACKED)}
    projects.publish(room.project, guidelines, (Aspect(WORSE, label, anchors=anchors),), actor=WORSE)


@pytest.mark.parametrize("kind", KEYS)
def test_no_kind_of_task_runs_or_fetches_anything(kind: Any, room: Room, chrome: Any):
    wicked_project(room)
    ask(room, kind, {"pair": 2, "ranking": 4, "best": 3}.get(kind, 1))
    page = room.enter(chrome, name=WORSE)
    wrong = watch(page, room.port)
    page.reload()
    task = ready(page)
    for number in range(len(PACKED)):
        if number == 0:  # the other views show text alone
            press(page, "p", "m", "d", "d", "m", "g")
            page.wait_for_selector("dialog .prose")
            press(page, "Escape")
            page.wait_for_selector("dialog", state="detached")
        press(page, *KEYS[kind])
        if number + 1 < len(PACKED):
            task = next_task(page, task)
    page.wait_for_selector("[data-test=empty]")
    all_sent(page)
    page.goto(f"http://127.0.0.1:{room.port}/guidelines")
    assert page.locator("article.prose").count() == 1
    assert wrong == [] and len(room.rows()) == len(PACKED)
    page.evaluate(f"document.body.insertAdjacentHTML('beforeend', '<img src={AWAY}/x onerror=alert(1)>')")
    page.wait_for_timeout(200)
    assert wrong, "what is watched for is seen when it does happen"


def test_no_page_of_the_admin_runs_or_fetches_anything(room: Room, chrome: Any):
    wicked_project(room)
    for kind, answers in (("pair", 2), ("ranking", 4), ("scores", 1), ("best", 3), ("edit", 1)):
        ask(room, kind, answers)
    given: list[Judgement] = []
    for number, asked in enumerate(room.store.comparisons(room.project)):
        for rater in ("one", WORSE, f"'{WORSE}"):
            count = len(asked.candidates)
            best = (
                {}
                if asked.kind in ("scores", "edit")
                else {"ranks": tuple(range(1, count + 1))[:: -1 if rater == "one" else 1]}
            )
            scores = {"scores": {WORSE: 3.0}} if asked.kind == "scores" else {}
            edit = {"edit": PACKED[number % 3]} if asked.kind == "edit" else {}
            name = f"{asked.id}-{rater}"
            said = {"comment": PACKED[number % 3][:4000], "shown": tuple(range(count)), "seconds": 3.0}
            given.append(Judgement(name, asked.id, rater, **best, **scores, **edit, **said))
    room.store.answer_many(given)
    page = room.enter_admin(chrome)
    wrong, base = watch(page, room.port), f"http://127.0.0.1:{room.port}/admin"
    inside = f"{base}/projects/{slug_of(room.project)}"
    numbers = room.store.database
    with numbers.reading() as connection:
        query = "SELECT number FROM questions WHERE project = ?"
        asked_for = connection.exec_driver_sql(query, (room.project,)).scalars().all()
    pages = [base, f"{base}/people", f"{base}/audit", f"{base}/new", *(inside + tab for tab in TABS)]
    pages += [f"{inside}/questions?show={show}" for show in ("disputed", "skipped", "open")]
    pages += [f"{inside}/questions/{number}" for number in asked_for] + [f"{inside}/guidelines?version=1"]
    for address in pages:
        reply = page.goto(address)
        assert reply.status == 200, (address, reply.status)
        assert "script-src 'self'" in reply.headers["content-security-policy"]
        for summary in page.locator("summary").all():
            summary.click()
    assert wrong == [] and page.url.startswith(base)
    for kind in ("raw", "preference"):  # an export is a file to keep, which a browser never shows as a page
        sent = page.request.post(f"{inside}/exports", form={"kind": kind}, headers={"origin": base[: -len("/admin")]})
        assert sent.status == 200 and sent.headers["content-disposition"].startswith("attachment")
        assert "html" not in sent.headers["content-type"] and sent.headers["x-content-type-options"] == "nosniff"
