"""The rating screen for every hand, eye and ear: changed keys, touch, input methods, screen readers, focus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rating_browser import Room, all_sent, next_task, press, ready, shown_ranks
from tutelage.store.projects import Aspect

TWO = ["Scattering.", "Paint."]
ASPECTS = (Aspect("right", {"en": "Right"}), Aspect("short", {"en": "Short"}))


def change(page: Any, ours: str, key: str) -> None:
    page.click(f"[data-key='{ours}']")
    press(page, key)


def test_a_rater_changes_keys_and_they_stay_changed(room: Room, chrome: Any):
    room.ask("pair", TWO, copies=5)
    page = room.enter(chrome)
    task = ready(page)
    press(page, "?")
    page.click(".key-tools .button")
    change(page, "1", "a")
    change(page, "2", "s")  # the letter of "skip": that takes the free 2
    press(page, "Escape")
    page.wait_for_selector("dialog", state="detached")
    press(page, "1")  # means nothing now
    assert page.locator(".grade.a kbd").inner_text() == "A" and page.locator(".grade.b kbd").inner_text() == "S"
    press(page, "s")
    task = next_task(page, task)
    press(page, "a")
    task = next_task(page, task)
    page.reload()
    ready(page)
    press(page, "2")  # skip, by its new key
    page.wait_for_selector("dialog.skip")
    assert [cap.lower() for cap in page.locator("dialog.skip kbd").all_inner_texts()[:2]] == ["a", "s"]
    press(page, "a")
    next_task(page, task)
    press(page, "?")
    page.get_by_text("All keys as they were").click()
    press(page, "Escape")
    page.wait_for_selector("dialog", state="detached")
    press(page, "1")
    all_sent(page)
    assert [shown_ranks(row) for row in room.rows()][:2] == [[2, 1], [1, 2]]
    page.wait_for_function("() => document.querySelector('[data-test=progress]').innerText.startsWith('3 of')")


def test_escape_leaves_a_key_as_it_is_and_the_sheet_open(room: Room, chrome: Any):
    room.ask("pair", TWO, copies=2)
    page = room.enter(chrome)
    press(page, "?")
    page.click(".key-tools .button")
    change(page, "z", "Escape")
    assert page.locator("[data-key=z] kbd").inner_text() == "Z" and page.locator("dialog.help").count() == 1
    press(page, "Escape")
    page.wait_for_selector("dialog", state="detached")


@pytest.mark.parametrize("kind", ["ranking", "pair"])
def test_scrolling_with_a_finger_orders_and_answers_nothing(kind: Any, room: Room, chrome: Any):
    texts = ["word " * 400, "other " * 400] if kind == "pair" else ["word " * 120 + str(n) for n in range(6)]
    room.ask(kind, texts, copies=2)
    page = room.enter(chrome, viewport={"width": 390, "height": 740}, has_touch=True, is_mobile=True)
    task = ready(page)
    if kind == "ranking":
        press(page, "2", "1")
    order = [node.get_attribute("aria-label") for node in page.locator(".order li").all()]
    touch = page.context.new_cdp_session(page)
    answers = page.locator(".answer h2, .answer .choose, .answer .words").all()
    targets = [*answers[:3], page.locator(".verdict button").first]
    for target in targets:
        box = target.bounding_box()
        x, y = box["x"] + box["width"] / 2, min(max(box["y"] + 10, 120), 560)
        for moved in (-300, 250):  # up, and down again
            swipe(touch, x, y, moved)
    page.wait_for_timeout(300)
    assert page.get_attribute("#task", "data-task") == task and room.rows() == []
    assert [node.get_attribute("aria-label") for node in page.locator(".order li").all()] == order


def swipe(touch: Any, x: float, y: float, by: float) -> None:
    point = {"x": x, "y": y}
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
    for step in range(1, 9):
        moved = {"x": x, "y": y + by * step / 8}
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [moved]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_an_input_method_composes_in_fields_and_sends_nothing(room: Room, chrome: Any):
    room.ask("edit", ["The sky is blue because of paint."])
    page = room.enter(chrome)
    task = ready(page)
    press(page, "e")
    page.wait_for_selector("#edit:focus")
    page.keyboard.press("Control+a")
    method = page.context.new_cdp_session(page)
    for said in ("s", "san", "三", "散射"):
        method.send("Input.imeSetComposition", {"text": said, "selectionStart": len(said), "selectionEnd": len(said)})
    composing = "{key: 'Enter', code: 'Enter', ctrlKey: true, isComposing: true, bubbles: true}"
    page.evaluate(f"document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {composing}))")
    method.send("Input.insertText", {"text": "散射"})
    page.wait_for_timeout(200)
    assert page.get_attribute("#task", "data-task") == task and room.rows() == []
    assert page.input_value("#edit") == "散射"
    page.click("[data-test=language]")
    assert page.input_value("#edit") == "散射", "another language leaves what was written"
    press(page, "e", "Control+Enter")
    next_task(page, task)
    all_sent(page)
    assert [row["edit"] for row in room.rows()] == ["散射"]


def test_another_language_in_the_middle_loses_nothing_of_scores_comments_and_flags(room: Room, chrome: Any):
    room.ask("scores", ["Scattering."], aspects=ASPECTS)
    page = room.enter(chrome)
    task = ready(page)
    press(page, "4", "c")
    page.wait_for_selector("#comment:focus")
    page.keyboard.insert_text("half a thou")
    page.click("[data-test=language]")
    assert page.get_attribute("html", "lang") == "zh-Hans" and page.input_value("#comment") == "half a thou"
    press(page, "f", "1", "Escape")
    page.click("[data-test=language]")
    press(page, "2", "Enter")
    next_task(page, task)
    all_sent(page)
    (row,) = room.rows()
    assert (row["scores"], row["comment"], row["flags"]) == ({"right": 4, "short": 2}, "half a thou", ["unsafe"])


AUDIT, CONTRAST = (Path(__file__).with_name(name).read_text() for name in ("screen_reader.js", "contrast.js"))
KINDS: dict[str, tuple[list[str], tuple[Aspect, ...]]] = {
    "pair": (["# Light\n\n## Blue\n\nScattering.", "Paint."], ()),
    "ranking": (["One.", "Two.", "Three."], ()),
    "scores": (["Scattering."], ASPECTS),
    "best": (["One.", "Two.", "Three."], ()),
    "edit": (["Scattering."], ()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_screen_reader_and_weak_eyes_find_their_way(kind: Any, room: Room, chrome: Any):
    texts, aspects = KINDS[kind]
    room.ask(kind, texts, copies=2, aspects=aspects, strength=3, prompt="# The sky\n\nWhy is it blue?")
    for scheme in ("light", "dark"):
        page = room.enter(chrome, color_scheme=scheme)
        ready(page)
        assert page.evaluate("document.activeElement.tagName") == "H1", "reading starts at the question"
        for sheet in ("", "?", "g", "s", "f") if kind == "pair" else ("",):
            press(page, *sheet)
            page.wait_for_timeout(250)
            assert (scheme, sheet, page.evaluate(AUDIT)) == (scheme, sheet, [])
            assert (scheme, sheet, page.evaluate(CONTRAST)) == (scheme, sheet, [])
            if sheet:
                assert page.evaluate("document.activeElement.closest('dialog') !== null")
                press(page, "Escape")
                page.wait_for_selector("dialog", state="detached")
        page.context.close()


def test_tab_goes_through_the_page_from_top_to_bottom_and_shows_where_it_is(room: Room, chrome: Any):
    room.ask("pair", TWO, strength=3)
    page = room.enter(chrome)
    ready(page)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    order: list[float] = []
    for _ in range(30):
        page.keyboard.press("Tab")
        told = page.evaluate("""() => {
            const at = document.activeElement, style = getComputedStyle(at);
            const top = at.getBoundingClientRect().top;
            return at === document.body ? null : [at.tagName, top, style.outlineStyle, at.className];
        }""")
        if told is None:
            break
        assert told[2] != "none", f"no ring around {told}"
        if told[3] != "skip-link":
            order.append(round(told[1] / 12))
    assert len(order) >= 12 and order == sorted(order)


def test_what_happens_is_said_aloud(room: Room, chrome: Any):
    room.ask("pair", TWO)
    page = room.enter(chrome)
    task = ready(page)
    told = "[role=status][aria-live=polite]"
    press(page, "Enter")
    assert page.inner_text(told).startswith("Choose an answer first.")
    press(page, "1")
    task = next_task(page, task)
    assert page.inner_text(told).startswith("Answered. Next task.")
    press(page, "z")
    next_task(page, task)
    assert page.inner_text(told).startswith("Taken back.")


@pytest.mark.parametrize(("locale", "asked"), [("en-GB", "new invitation link"), ("zh-CN", "新的邀请链接")])
def test_signing_out_is_asked_once_more_also_by_keyboard(locale: str, asked: str, room: Room, chrome: Any):
    room.ask("pair", TWO, copies=2)
    page = room.enter(chrome, locale=locale)
    press(page, "?")
    page.locator("[data-test=sign-out]").focus()
    press(page, "Enter")
    assert asked in page.inner_text("dialog.help [role=alert]")
    press(page, "Enter")  # the same key again stays
    page.wait_for_selector("dialog.help [role=alert]", state="detached")
    press(page, "Enter", "Escape")
    page.wait_for_selector("dialog", state="detached")
    press(page, "?")
    assert page.locator("dialog.help [role=alert]").count() == 0, "leaving the window takes the question back"
    assert page.evaluate("fetch('/api/v1/me').then(reply => reply.status)") == 200
    page.locator("[data-test=sign-out]").focus()
    press(page, "Enter", "Shift+Tab", "Enter")
    page.wait_for_url("**/signed-out")


@pytest.mark.parametrize("width", [390, 1280])
def test_a_double_click_signs_nobody_out(width: int, room: Room, chrome: Any):
    room.ask("pair", TWO, copies=2)
    page = room.enter(chrome, viewport={"width": width, "height": 800})
    press(page, "?")
    page.locator("[data-test=sign-out]").dblclick()
    page.wait_for_timeout(300)
    assert "/rate" in page.url and page.evaluate("fetch('/api/v1/me').then(reply => reply.status)") == 200
