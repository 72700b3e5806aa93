"""The rating screen in a real browser on a real server: every kind of task by keys alone, mistakes, languages."""

from __future__ import annotations

from typing import Any

import pytest

from rating_browser import Room, all_sent, next_task, press, ready, shown_ranks
from tutelage.store.projects import Aspect

ASPECTS = (Aspect("right", {"en": "Right", "zh": "正确"}), Aspect("short", {"en": "Short", "zh": "简短"}))


# ---------------------------------------------------------------- each kind by keyboard


def test_a_pair_takes_one_key(room: Room, chrome: Any):
    room.ask("pair", ["Scattering.", "Paint."], copies=5)
    page = room.enter(chrome)
    task = ready(page)
    for key in ("1", "2", "3", "9"):
        press(page, key)
        task = next_task(page, task)
    all_sent(page)
    assert [shown_ranks(row) for row in room.rows()] == [[1, 2], [2, 1], [1, 1], [1, 1]]
    assert [row["both_bad"] for row in room.rows()] == [False, False, False, True]
    assert page.inner_text("[data-test=progress]") == "4 of 10 today"


def test_a_graded_pair_takes_side_and_step_or_arrows_and_enter(room: Room, chrome: Any):
    room.ask("pair", ["Scattering.", "Paint."], strength=3)
    page = room.enter(chrome)
    task = ready(page)
    press(page, "2", "3")
    task = next_task(page, task)
    press(page, "ArrowLeft", "ArrowLeft", "Enter")
    task = next_task(page, task)
    press(page, "1", "Enter")
    assert page.inner_text("[data-test=gap]").startswith("By how much?")
    press(page, "0")
    next_task(page, task)
    all_sent(page)
    assert [(shown_ranks(row), row["strength"]) for row in room.rows()] == [([2, 1], 3), ([1, 2], 2), ([1, 1], 0)]


def test_a_ranking_is_typed_best_first_with_ties_and_moves(room: Room, chrome: Any):
    room.ask("ranking", ["One.", "Two.", "Three.", "Four."])
    page = room.enter(chrome)
    task = ready(page)
    press(page, "3", "1", "=", "4", "Shift+ArrowLeft", "Enter")
    task = next_task(page, task)
    press(page, "2", "Enter")
    assert page.inner_text("[data-test=gap]") == "3 answers have no place yet."
    press(page, "Backspace", "1", "2", "3", "Enter")
    next_task(page, task)
    all_sent(page)
    assert [shown_ranks(row) for row in room.rows()] == [[2, 3, 2, 1], [1, 2, 3, 4]]


def test_a_ranking_of_nine_is_typed_whole(room: Room, chrome: Any):
    room.ask("ranking", [f"Answer {number}." for number in range(9)], copies=2)
    page = room.enter(chrome)
    task = ready(page)
    press(page, *"918273645", "Enter")
    next_task(page, task)
    all_sent(page)
    assert [shown_ranks(row) for row in room.rows()] == [[2, 4, 6, 8, 9, 7, 5, 3, 1]]


def test_a_ranking_that_nobody_touched_must_be_confirmed_and_says_so(room: Room, chrome: Any):
    room.ask("ranking", ["One.", "Two.", "Three."])
    page = room.enter(chrome)
    task = ready(page)
    press(page, "Enter")
    assert page.inner_text("[data-test=gap]").startswith("Nothing is ordered yet")
    assert page.get_attribute("#task", "data-task") == task
    press(page, "k")
    next_task(page, task)
    all_sent(page)
    (row,) = room.rows()
    assert shown_ranks(row) == [1, 2, 3] and row["confirmed"]


def test_scores_take_a_digit_each(room: Room, chrome: Any):
    room.ask("scores", ["Scattering."], aspects=ASPECTS)
    page = room.enter(chrome)
    task = ready(page)
    press(page, "4", "Enter")
    assert page.inner_text("[data-test=gap]") == "One score is missing."
    press(page, "0", "ArrowUp", "ArrowRight", "Enter")
    next_task(page, task)
    all_sent(page)
    assert [row["scores"] for row in room.rows()] == [{"right": 5, "short": 0}]


def test_a_slider_is_no_answer_until_it_is_moved_or_kept(room: Room, chrome: Any):
    room.ask("scores", ["Scattering."], aspects=(Aspect("overall", {"en": "Overall"}, scale=(0.0, 100.0)),))
    page = room.enter(chrome)
    task = ready(page)
    press(page, "Enter")
    assert "not moved" in page.inner_text("[data-test=gap]")
    press(page, "7", "3", "Enter", "Enter")
    task = next_task(page, task)
    press(page, "k")
    next_task(page, task)
    all_sent(page)
    assert [(row["scores"], row["confirmed"]) for row in room.rows()] == [
        ({"overall": 73}, False),
        ({"overall": 50}, True),
    ]


def test_the_best_of_k_takes_one_key(room: Room, chrome: Any):
    room.ask("best", ["One.", "Two.", "Three."])
    page = room.enter(chrome)
    task = ready(page)
    press(page, "3")
    next_task(page, task)
    all_sent(page)
    assert [shown_ranks(row) for row in room.rows()] == [[2, 2, 1]]


def test_an_edit_is_written_and_sent_without_a_mouse(room: Room, chrome: Any):
    room.ask("edit", ["The sky is blue because of paint."])
    page = room.enter(chrome)
    task = ready(page)
    press(page, "Enter")
    assert page.inner_text("[data-test=gap]").startswith("You have changed nothing.")
    press(page, "e", "Control+a")
    page.keyboard.type("Air scatters blue light 12 times. 散射。")
    press(page, "Escape", "d")
    assert page.locator(".editor mark").count() > 0
    press(page, "d", "e", "Control+Enter")
    next_task(page, task)
    all_sent(page)
    (row,) = room.rows()
    assert row["edit"] == "Air scatters blue light 12 times. 散射。" and not row["confirmed"]


def test_comment_flags_and_skip_go_along(room: Room, chrome: Any):
    room.ask("pair", ["Scattering.", "Paint."])
    page = room.enter(chrome)
    task = ready(page)
    press(page, "c")
    page.wait_for_selector("#comment:focus")
    page.keyboard.type("1 2 s z: paint?!")  # letters in a field, keys outside
    press(page, "Escape", "f", "2", "f", "1")
    task = next_task(page, task)
    press(page, "s", "3")
    next_task(page, task)
    all_sent(page)
    (row,) = room.rows()
    assert (row["comment"], row["flags"], shown_ranks(row)) == ("1 2 s z: paint?!", ["off_topic"], [1, 2])
    assert page.inner_text("[data-test=progress]") == "1 of 10 today"


# ---------------------------------------------------------------- mistakes, languages, keys


def test_undo_brings_the_task_back_as_it_was_left(room: Room, chrome: Any):
    room.ask("pair", ["Scattering.", "Paint."])
    page = room.enter(chrome)
    first = ready(page)
    press(page, "1")
    next_task(page, first)
    all_sent(page)
    page.reload()  # undo survives a closed page
    second = ready(page)
    press(page, "z")
    assert next_task(page, second) == first
    assert page.locator(".answer.picked h2").inner_text().strip().endswith("A")
    press(page, "2")
    next_task(page, first)
    all_sent(page)
    assert [row["withdrawn"] for row in room.rows()] == [False, True, False]
    (kept,) = room.store.judgements(room.project)
    assert [kept.ranks[index] for index in kept.shown] == [2, 1]


def test_another_language_keeps_the_task_and_what_was_said(room: Room, chrome: Any):
    room.ask("ranking", ["One.", "Two.", "Three."])
    page = room.enter(chrome)
    task = ready(page)
    press(page, "2")
    page.click("[data-test=language]")
    assert page.inner_text("h1") == "给 3 个回答排序，最好的在前"
    assert page.get_attribute("html", "lang") == "zh-Hans"
    assert page.get_attribute("#task", "data-task") == task and page.locator(".answer.placed").count() == 1
    press(page, "1", "3", "Enter")
    next_task(page, task)
    all_sent(page)
    assert [shown_ranks(row) for row in room.rows()] == [[2, 1, 3]]
    page.reload()
    ready(page)
    assert page.get_attribute("html", "lang") == "zh-Hans"  # the account remembers


def test_composing_chinese_presses_no_keys(room: Room, chrome: Any):
    room.ask("pair", ["Scattering.", "Paint."])
    page = room.enter(chrome)
    task = ready(page)
    page.evaluate("""() => {
        for (const more of [{isComposing: true}, {keyCode: 229}, {key: 'Process'}, {repeat: true}, {ctrlKey: true}])
            document.body.dispatchEvent(
                new KeyboardEvent('keydown', {key: '1', code: 'Digit1', bubbles: true, ...more}));
    }""")
    page.wait_for_timeout(300)
    assert page.get_attribute("#task", "data-task") == task and room.rows() == []


def test_a_double_press_or_click_answers_one_task(room: Room, chrome: Any):
    """Events of one moment, made in the page: on a busy machine those of a driver come apart like two answers."""
    room.ask("pair", ["Scattering.", "Paint."])
    page = room.enter(chrome)
    task = ready(page)
    key = "document.body.dispatchEvent(new KeyboardEvent('keydown', { key: '1', code: 'Digit1', bubbles: true }))"
    page.evaluate(f"() => {{ for (let times = 0; times < 3; times++) {key} }}")
    task = next_task(page, task)
    page.evaluate("() => { for (let times = 0; times < 2; times++) document.querySelector('.grade.a').click() }")
    next_task(page, task)
    page.wait_for_timeout(300)
    all_sent(page)
    assert len(room.rows()) == 2


def test_single_keys_can_be_turned_off(room: Room, chrome: Any):
    room.ask("pair", ["Scattering.", "Paint."])
    page = room.enter(chrome)
    task = ready(page)
    press(page, "?")
    page.uncheck(".settings input[type=checkbox]")
    press(page, "Escape", "1")
    page.wait_for_timeout(300)
    assert page.get_attribute("#task", "data-task") == task
    page.click(".grade.b")
    next_task(page, task)
    all_sent(page)
    assert [shown_ranks(row) for row in room.rows()] == [[2, 1]]


# ---------------------------------------------------------------- what is shown


def test_texts_are_shown_formatted_exact_and_compared(room: Room, chrome: Any):
    room.ask("pair", ["The **blue** light\u202e scatters most.", "The **red** light scatters most."])
    page = room.enter(chrome)
    assert sorted(page.locator(".answer strong").all_inner_texts()) == ["blue", "red"]
    assert page.locator(".unseen").all_inner_texts() == ["U+202E"]
    press(page, "m")
    assert page.locator(".answer strong").count() == 0 and "**blue**" in page.inner_text(".answers")
    press(page, "d")
    assert {text.strip() for text in page.locator("mark").all_inner_texts()} >= {"red"}
    assert page.locator(".unseen").all_inner_texts() == ["U+202E"]
    press(page, "g")
    assert page.inner_text("dialog .prose strong") == "right"


def test_a_waiting_run_says_what_it_needs_and_an_empty_list_is_friendly(room: Room, chrome: Any):
    room.waiting = (7, 125.0)
    room.ask("pair", ["Scattering.", "Paint."], copies=1)
    page = room.enter(chrome)
    assert "waits for 7 more answers" in page.inner_text("[data-test=waiting]")
    press(page, "1")
    page.wait_for_selector("[data-test=empty]")
    assert "still waits for 6 answers from others" in page.inner_text("[data-test=waiting]")
    press(page, "z")
    ready(page)


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_page_is_wider_than_the_screen_and_every_control_has_a_name(room: Room, chrome: Any, width: int):
    long = "word " * 300 + "x" * 400 + "\n\n```\n" + "y" * 500 + "\n```\n\n|" + "a|" * 40 + "\n|" + "-|" * 40
    room.ask("ranking", [long, "短。" * 200, long, "b", "c", "d", "e", "f", "g"], copies=1, prompt=long)
    page = room.enter(chrome, viewport={"width": width, "height": 720}, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    order = page.locator(".answer").evaluate_all("all => all.map(each => each.getAttribute('aria-label'))")
    page.mouse.wheel(0, 900)
    assert order == [f"Answer {letter}" for letter in "ABCDEFGHI"]
    name = "each.getAttribute('aria-label') || each.labels?.length || each.textContent.trim()"
    nameless = page.locator("button, input, textarea, a").evaluate_all(f"all => all.filter(each => !({name})).length")
    assert nameless == 0
    small = page.locator(".verdict button").evaluate_all("all => all.filter(each => each.offsetHeight < 36).length")
    assert small == 0
