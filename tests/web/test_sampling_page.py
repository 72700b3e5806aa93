"""Sampling on its page in a real browser: from a file of prompts to a rater's task by keyboard alone, for every eye."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostile import CORPUS
from rating_browser import Room, press, ready
from sampling_room import PATIENCE, jsonl, processes, rows, sampler, shelf, until
from tutelage.store.projects import Projects, ProjectSettings
from tutelage.web._models import models_below

HERE = Path(__file__).parent
WICKED = "<img src=x onerror=alert(1)> {{ 7*7 }}'\""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[tuple[Room, Path]]:
    folder = tmp_path_factory.mktemp("room")
    models = shelf(folder / "runs", tiny_model)
    (models / "rm").rename(models / WICKED)
    made = Room(folder / "ratings.db", sampler=sampler(folder, models))
    yield made, folder
    made.close()


@pytest.fixture
def at(place: tuple[Room, Path], request: pytest.FixtureRequest) -> Room:
    """The room with a project for this test alone."""
    room = place[0]
    room.project = request.node.name[:70].replace("[", "-").replace("]", "")
    Projects(room.store.database).change(room.project, ProjectSettings(goal=10, strength=0), actor="test")
    return room


def enter(room: Room, chrome: Any, **context: Any) -> Any:
    page = room.enter_admin(chrome, **context)
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(f"http://127.0.0.1:{room.port}/admin/projects/{room.project}/sampling")
    return page


def tab_to(page: Any, there: str) -> None:
    """Press Tab until what `there` selects has the focus, as somebody without a mouse does."""
    for _ in range(60):
        press(page, "Tab")
        if page.evaluate("there => document.activeElement.matches(there)", there):
            return
    raise AssertionError(f"the keyboard does not reach {there}")


def order(page: Any, count: int, **fields: str) -> None:
    page.check("[name=source][value=file]")
    page.set_input_files("#file", {"name": "p.jsonl", "mimeType": "text/plain", "buffer": jsonl(rows(count))})
    for name, value in fields.items():
        page.fill(f"#{name}", value)
    page.click(".form-foot .primary")


def state(page: Any, text: str) -> None:
    page.locator("#job-state", has_text=text).wait_for()


def test_a_model_is_asked_by_keyboard_and_a_rater_gets_what_it_said(at: Room, chrome: Any):
    page = enter(at, chrome)
    wrong: list[str] = []
    page.on("console", lambda told: wrong.append(told.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(f"http://127.0.0.1:{at.port}/admin/projects/{at.project}/questions")
    upload = {"name": "prompts.jsonl", "mimeType": "text/plain", "buffer": jsonl(rows(6, "Why is the sky blue?"))}
    page.set_input_files("#file", upload)
    tab_to(page, "#import .primary")
    press(page, "Enter")
    page.wait_for_url("**/sampling")
    assert "New prompts: 6" in page.inner_text(".notice")
    assert page.locator("[name=source]:checked").get_attribute("value") == "unanswered"
    tab_to(page, "#model")
    press(page, *"sft")
    tab_to(page, "#answers")
    page.keyboard.type("3")
    tab_to(page, "#max_new_tokens")
    page.keyboard.type("12")
    tab_to(page, ".form-foot .primary")
    press(page, "Enter")
    page.wait_for_url("**/sampling#job")
    state(page, "Answering")
    page.evaluate("() => { window.same = true }")
    tab_to(page, ".job .danger")
    page.locator("progress[value]").wait_for()
    assert page.evaluate("() => window.same && document.activeElement.matches('.job .danger')"), "the focus stays"
    state(page, "Done")
    assert page.title().startswith("Done · ") and page.locator("#model").count() == 1
    page.get_by_role("link", name="See the questions").click()
    assert page.locator("tbody tr").count() >= 6
    rater = at.enter(chrome, name="Ann")
    assert "Why is the sky blue?" in rater.inner_text("#task")
    before = ready(rater)
    press(rater, "1")
    rater.wait_for_function("id => document.querySelector('#task').dataset.task !== id", arg=before)
    rater.wait_for_selector("[data-test=saved][data-waiting='0']")
    [row] = at.rows()
    assert row["ranks"] in ([1, 2], [2, 1]) and {name.partition("@")[0] for name in row["models"]} == {
        str(at.sampling.sampler.models / "sft" / "model")
    }
    assert wrong == []


@pytest.mark.slow
def test_progress_is_seen_it_is_cancelled_by_keyboard_and_goes_on(at: Room, chrome: Any):
    page = enter(at, chrome)
    order(page, 700, max_new_tokens="90")
    state(page, "Answering")
    line = page.locator("[data-job=line]", has_text="of 1,400 answers.")
    line.wait_for()
    assert 0 < page.evaluate("() => document.querySelector('progress').position") < 1
    tab_to(page, ".job .danger")
    press(page, "Enter")
    state(page, "Cancelled")
    assert "It was ended after" in page.inner_text("[data-job=line]") and page.locator("script").count() == 0
    page.get_by_role("button", name="Go on").click()
    state(page, "Done")
    assert re.fullmatch(r"1,400 answers became \d\d\d new questions\.", page.inner_text("[data-job=line]"))


@pytest.mark.parametrize(
    ("language", "told"), [("en-GB", ("Answering", "ended from outside")), ("zh-CN", ("正在回答", "被外部终止"))]
)
def test_a_failure_is_told_aloud_with_the_way_out(
    language: str, told: tuple[str, str], at: Room, place: tuple[Room, Path], chrome: Any
):
    page = enter(at, chrome, locale=language)
    order(page, 3)
    state(page, told[0])
    [found] = until(lambda: processes(str(place[1]), "_leash"), "the process is there")
    os.kill(found, signal.SIGKILL)
    page.locator(".job [role=alert]", has_text=told[1]).wait_for()
    fit(page, "failed")
    assert page.locator(".job form button").count() == 2


LOOKS = [
    {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light", "locale": "en-GB"},
    {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark", "locale": "zh-CN"},
    {"viewport": {"width": 320, "height": 700}, "color_scheme": "dark", "locale": "en-GB", "has_touch": True},
    {"viewport": {"width": 390, "height": 800}, "color_scheme": "light", "locale": "zh-CN", "has_touch": True},
]


@pytest.mark.parametrize(
    "look",
    [pytest.param(look, marks=[] if place == 3 else [pytest.mark.slow]) for place, look in enumerate(LOOKS)],
    ids=[f"{look['viewport']['width']}-{look['locale']}" for look in LOOKS],
)
def test_every_state_is_fit_for_every_eye_and_screen_reader(look: Any, at: Room, chrome: Any):
    page = enter(at, chrome, **look)
    fit(page, "form")
    page.check("[name=source][value=file]")
    page.fill("#max_new_tokens", "9")
    page.click(".form-foot .primary")
    page.locator(".notice.bad").wait_for()
    fit(page, "refused")
    page.check("[name=source][value=file]")
    page.set_input_files("#file", {"name": "p.jsonl", "mimeType": "text/plain", "buffer": jsonl(rows(3))})
    page.click(".form-foot .primary")
    page.wait_for_url("**/sampling#job")
    fit(page, "running")
    page.click(".job .danger")
    page.locator(".job form:nth-of-type(2)").wait_for()
    fit(page, "cancelled")
    page.click(".job .primary")
    page.locator(".job a.primary").wait_for()
    fit(page, "done")


def fit(page: Any, name: str) -> None:
    """No fault of name, order, contrast, width or size of what is pressed; a picture where one is asked for."""
    if folder := os.environ.get("TUTELAGE_PICTURES"):
        size = page.viewport_size["width"]
        page.screenshot(
            path=f"{folder}/{size}-{page.evaluate('document.documentElement.lang')}-{name}.png", full_page=True
        )
    faults = page.evaluate((HERE / "screen_reader.js").read_text(encoding="utf-8"))
    assert [fault for fault in faults if fault != "nothing is said aloud" or name == "running"] == [], name
    assert page.evaluate((HERE / "contrast.js").read_text(encoding="utf-8")) == [], name
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), f"{name}: wider than the screen"
    if page.viewport_size["width"] < 640:
        pressed = "main button, main select, main input:not([type=radio]), main a.button"
        low = """what => [...document.querySelectorAll(what)].filter(e => e.checkVisibility())
            .filter(e => e.getBoundingClientRect().height < 44).map(e => e.outerHTML.slice(0, 90))"""
        assert page.evaluate(low, pressed) == [], name


@pytest.mark.slow
def test_wicked_names_and_texts_are_only_text(at: Room, chrome: Any, place: tuple[Room, Path]):
    assert any(model.name == WICKED for model in models_below(place[1] / "runs"))
    page = enter(at, chrome)
    wrong: list[str] = []
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda told: wrong.append(told.text) if "Security Policy" in told.text else None)
    page.on("request", lambda sent: None if f"//127.0.0.1:{at.port}/" in sent.url else wrong.append(sent.url))
    page.reload()
    page.click("summary")
    assert WICKED in page.inner_text("details dl")
    texts = [text for text in CORPUS if text.strip() and "\x00" not in text][:60]
    hostile = [{"prompt": text[:60], "meta": {text[:40]: text[:40]}} for text in texts]
    page.get_by_label("From a file").check()
    name = "<svg onload=alert(1)>.jsonl"
    page.set_input_files("#file", {"name": name, "mimeType": "text/plain", "buffer": jsonl([{"no": WICKED}])})
    page.click(".form-foot .primary")
    assert name in page.inner_text(".notice.bad")
    page.get_by_label("From a file").check()
    page.set_input_files("#file", {"name": name, "mimeType": "text/plain", "buffer": jsonl(hostile)})
    page.fill("#max_new_tokens", "4")
    page.click(".form-foot .primary")
    page.locator("#job-state", has_text="Done").or_(page.locator(".job [role=alert]")).wait_for()
    assert page.locator("#job-state").inner_text() == "Done", page.inner_text(".job")
    page.get_by_role("link", name="See the questions").click()
    page.locator("tbody tr a").first.click()
    assert wrong == []
