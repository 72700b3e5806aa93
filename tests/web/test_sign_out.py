"""Signing out of the pages that the server renders: asked once more, as on the rating page."""

from __future__ import annotations

from typing import Any

import pytest

from rating_browser import Room
from rating_room import questions
from tutelage.store.decisions import add_gold
from tutelage.types import Judgement


def who(page: Any) -> int:
    return page.evaluate("fetch('/api/v1/me').then(reply => reply.status)")


def stays_then_leaves(page: Any, asked: str) -> None:
    """Two presses of the same place, by pointer or key, sign nobody out; the button that appears does."""
    summary, leave = page.locator("details.leave summary"), page.locator("details.leave form button")
    summary.dblclick()
    page.wait_for_timeout(200)
    assert who(page) == 200 and not leave.is_visible()
    summary.focus()
    page.keyboard.press("Enter")
    assert asked in page.inner_text("details.leave form") and leave.is_visible()
    box, size = page.locator("details.leave form").bounding_box(), page.viewport_size
    assert box["x"] >= 0 and box["x"] + box["width"] <= size["width"], "whole on the screen"
    page.keyboard.press("Enter")
    assert who(page) == 200 and not leave.is_visible()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/signed-out")
    assert who(page) == 401


@pytest.mark.parametrize(("locale", "width", "asked"), [
    ("en-GB", 1280, "To come back you need a new link"), ("zh-CN", 375, "再次进入需要新的链接"),
])  # fmt: skip
def test_an_admin_signs_out_by_a_second_step(locale: str, width: int, asked: str, room: Room, chrome: Any):
    room.ask("pair", ["One.", "Two."])
    page = room.enter_admin(chrome, locale=locale, viewport={"width": width, "height": 720})
    stays_then_leaves(page, asked)


@pytest.mark.parametrize(("locale", "asked"), [("en-GB", "you need a new invitation link"), ("zh-CN", "新的邀请链接")])
def test_who_failed_the_quiz_signs_out_by_a_second_step(locale: str, asked: str, room: Room, chrome: Any):
    project = room.project = f"quiz {locale}"
    known = questions(1, name=project)
    add_gold(room.store, known, [Judgement("", known[0].id, "", (1, 2))], project)
    room.ask("pair", ["One.", "Two."], quiz=1, pass_mark=1.0)
    page = room.enter(chrome, locale=locale, viewport={"width": 375, "height": 720})
    first = page.locator(".answer .words").first.inner_text()
    page.keyboard.press("2" if "Answer 0" in first else "1")
    page.wait_for_selector("[data-test=denied]")
    page.goto(f"http://127.0.0.1:{room.port}/rate")
    stays_then_leaves(page, asked)
