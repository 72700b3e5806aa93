"""What the server refuses for good: said, kept on the device with the reason, and gone when the rater says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rating_browser import Room, all_sent, deaf_tab, next_task, press, ready

TWO = ["Scattering.", "Paint."]
OTHER = {"error": {"what": "this id stands for another judgement", "wanted": "", "fix": "make a new id"}}


def answer_refused(page: Any, status: int, *keys: str) -> None:
    """Answer the task on the screen, and let the server refuse it."""
    page.route("**/api/v1/judgements", lambda route: route.fulfill(status=status, json=OTHER))
    task = ready(page)
    press(page, *keys)
    next_task(page, task)
    all_sent(page)
    page.unroute("**/api/v1/judgements")


@contextmanager
def offline(page: Any, path: str) -> Iterator[None]:
    """What goes to that path does not reach the server."""
    page.route(path, lambda route: route.abort())
    yield
    page.unroute(path)


def entries(page: Any) -> list[str]:
    return [box.input_value() for box in page.locator("[data-test=refused-entry] textarea").all()]


def test_a_refused_answer_stays_with_its_reason_until_the_rater_discards_it(room: Room, chrome: Any):
    room.ask("pair", TWO, copies=4)
    page = room.enter(chrome)
    press(page, "c")
    page.wait_for_selector("#comment:focus")
    page.keyboard.insert_text("because of Rayleigh")
    press(page, "Escape")
    answer_refused(page, 409, "1")
    said = page.inner_text("[data-test=refused] p")
    assert said.startswith("The server did not take one answer: something has changed")
    assert page.inner_text("[data-test=progress]") == "0 of 10 today"
    page.reload()
    ready(page)
    assert page.inner_text("[data-test=refused] p") == said, "it is there after a restart"
    page.click("[data-test=refused] button")
    better, worse = (page.locator(".answer .words").nth(at).inner_text() for at in (0, 1))
    (text,) = entries(page)
    assert text.splitlines()[0] == "Asked: Why is the sky blue?"
    assert text.splitlines()[-1] == "Comment: because of Rayleigh"
    assert {line.partition(": ")[2] for line in text.splitlines()[1:3]} == {better, worse} == set(TWO)
    assert text.splitlines()[1].startswith("1. Answer A: ") and text.splitlines()[2].startswith("2. Answer B: ")
    page.click("[data-test=refused-entry] .danger")
    page.wait_for_selector("dialog.refused", state="detached")
    assert page.locator("[data-test=refused]").count() == 0
    page.reload()
    ready(page)
    assert page.locator("[data-test=refused]").count() == 0 and room.rows() == []
    assert page.inner_text("[data-test=progress]") == "0 of 10 today"


def test_several_are_counted_shown_in_the_raters_language_and_copied_one_by_one(room: Room, chrome: Any):
    room.ask("pair", TWO, copies=5)
    page = room.enter(chrome, locale="zh-CN", permissions=["clipboard-read", "clipboard-write"])
    for status in (409, 418):
        answer_refused(page, status, "2")
    assert page.inner_text("[data-test=refused] p") == "服务器没有接受 2 条回答。"
    page.click("[data-test=refused] button")
    reasons = page.locator("[data-test=refused-entry] > p").all_text_contents()
    assert "任务会再次出现" in reasons[0] and reasons[1] == "this id stands for another judgement: make a new id"
    first, second = entries(page)
    assert all(text.startswith("题目：Why is the sky blue?\n1. 回答 B: ") for text in (first, second))
    page.locator("[data-test=refused-entry] button").first.click()
    assert page.evaluate("navigator.clipboard.readText()") == first
    page.locator("[data-test=refused-entry] .danger").first.click()
    assert len(entries(page)) == 1
    press(page, "Escape")
    assert "make a new id" in page.inner_text("[data-test=refused] p"), "the other is still there"


@pytest.mark.parametrize(("kind", "texts", "keys", "line"), [
    ("ranking", ["One.", "Two.", "Three."], ("2", "1", "3", "Enter"), "1. Answer B: "),
    ("edit", ["Blue."], ("e", "!", "Control+Enter"), "Your answer: Blue.!"),
])  # fmt: skip
def test_every_kind_of_answer_can_be_read_again(
    kind: Any, texts: list[str], keys: tuple[str, ...], line: str, room: Room, chrome: Any
):
    room.ask(kind, texts, copies=3)
    page = room.enter(chrome)
    if kind == "edit":
        page.locator("#edit").evaluate("field => field.setSelectionRange(99, 99)")
    answer_refused(page, 400, *keys)
    page.click("[data-test=refused] button")
    assert entries(page)[0].splitlines()[1].startswith(line)


def test_a_skip_and_an_undo_that_are_refused_say_what_they_were(room: Room, chrome: Any):
    room.ask("pair", TWO, copies=5)
    page = room.enter(chrome)
    page.route("**/api/v1/**/skip", lambda route: route.fulfill(status=404, json=OTHER))
    page.route("**/api/v1/judgements/*/undo", lambda route: route.fulfill(status=404, json=OTHER))
    task = ready(page)
    press(page, "s", "2")
    task = next_task(page, task)
    press(page, "1")
    task = next_task(page, task)
    press(page, "z")
    next_task(page, task)
    all_sent(page)
    page.click("[data-test=refused] button")
    skip, undo = (text.splitlines()[1] for text in entries(page))
    assert (skip, undo) == ("Your answer: Skip, Too long", "Your answer: Undo")


def test_what_takes_an_answer_back_finds_it_after_a_reload_though_another_tabs_stands(room: Room, chrome: Any):
    """The server keeps the first tab's answer; what the second has queued to take its own back means that one."""
    room.ask("pair", TWO, copies=1)
    page = room.enter(chrome)
    other = deaf_tab(page)
    press(page, "1")
    all_sent(page)
    with offline(other, "**/undo"):
        with offline(other, "**/api/v1/judgements"):
            press(other, "1")
            other.wait_for_selector("[data-test=empty], [data-test=loading]")
            press(other, "z")
            ready(other)
            other.wait_for_selector("[data-test=saved][data-waiting='2']")
        other.wait_for_selector("[data-test=saved][data-waiting='1']", timeout=20_000)
    other.reload()
    ready(other)  # the task comes again once it is taken back
    all_sent(other)
    assert [row["withdrawn"] for row in room.rows()] == [False, True]
    assert other.locator("[data-test=refused]").count() == 0


def test_an_answer_is_taken_back_after_a_reload_though_another_tabs_stands(room: Room, chrome: Any):
    room.ask("pair", TWO, copies=1)
    page = room.enter(chrome)
    other = deaf_tab(page)
    press(page, "1")
    all_sent(page)
    press(other, "1")
    other.wait_for_selector("[data-test=empty]")
    all_sent(other)
    other.reload()
    other.wait_for_selector("[data-test=empty]")
    press(other, "z")
    ready(other)
    all_sent(other)
    assert [row["withdrawn"] for row in room.rows()] == [False, True]
    assert other.locator("[data-test=refused]").count() == 0
