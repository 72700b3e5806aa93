"""`demo --serve`: the user is one of the raters, in a real browser, and the demo goes on with or without them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from demo_room import Terminal, sampled
from rating_browser import all_sent, browser, next_task, press, ready
from tutelage.store.store import Store

TASKS = 3


def demo(out: Path, *flags: str) -> Terminal:
    return Terminal("demo", str(out), "--serve", "--serve-tasks", str(TASKS), *flags)


def enter(chrome: Any, terminal: Terminal) -> Any:
    """The page behind the link that the terminal shows."""
    page = chrome.new_context(locale="en-GB").new_page()
    page.set_default_timeout(30_000)
    page.goto(terminal.until(r"open this once, you: (http://127\.0\.0\.1:\d+/join/\S+)").group(1))
    page.locator(".card form button").click()
    page.wait_for_url("**/rate")
    return page


def judged(out: Path) -> dict[str, list[str]]:
    """question → who has judged it"""
    found: dict[str, list[str]] = {}
    with Store(out / "ratings.db") as store:
        for one in store.judgements():
            found.setdefault(one.comparison, []).append(one.rater)
    return found


def test_the_user_rates_some_pairs_ctrl_c_and_all_and_is_told_what_it_was_worth(tmp_path: Path):
    out = tmp_path / "demo"
    out.mkdir()
    sampled(out)
    with browser() as chrome:
        first = demo(out)
        page = enter(chrome, first)
        first.until(f"{TASKS} questions waiting; Enter or Ctrl-D here goes on without the rest; in 30 min")
        task = ready(page)
        assert "Summarise" in page.locator("#task").inner_text(), "pairs in the language that was asked for"
        press(page, "1", "3")
        next_task(page, task)
        all_sent(page)
        first.press("\x03")
        assert first.ended() == 130 and "the same command goes on from there" in first.text
        assert [len(raters) for raters in judged(out).values()] == [1], "nobody else has judged yet"

        second = demo(out)
        page = enter(chrome, second)
        second.until(f"{TASKS - 1} questions waiting")
        task = ready(page)
        press(page, "2", "1")
        next_task(page, task)
        press(page, "3")
        all_sent(page)
        assert f"{TASKS} of {TASKS} today" in page.locator("body").inner_text()
        assert second.ended() == 0, second.text
        page.locator("[data-test=unreachable]", has_text="All your answers have arrived").wait_for()
    assert "all is judged, thank you" in second.text
    assert "you: 3 pairs judged (1 ties, 0 skipped)" in second.text
    _everybody_was_heard(out)


def _everybody_was_heard(out: Path) -> None:
    found = judged(out)
    yours = [raters for raters in found.values() if "you" in raters]
    assert len(yours) == TASKS and {len(set(raters)) for raters in found.values()} == {3}
    told = json.loads((out / "people.json").read_text(encoding="utf-8"))
    assert (told["judged"], told["ties"], told["with_taste"]["of"]) == (3, 1, 2)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<b>you</b>" in page and 'scope="row">you</th>' in page


@pytest.mark.parametrize(("key", "flags", "reason"), [
    ("\n", (), "going on without waiting; 3 questions not judged"),
    ("\x04", (), "going on without waiting; 3 questions not judged"),
    ("", ("--serve-minutes", "0.02"), "the time is over; 3 questions not judged"),
], ids=["enter", "ctrl-d", "deadline"])  # fmt: skip
def test_the_demo_goes_on_without_the_user(key: str, flags: tuple[str, ...], reason: str, tmp_path: Path):
    out = tmp_path / "demo"
    out.mkdir()
    sampled(out)
    terminal = demo(out, *flags)
    terminal.until("questions waiting")
    terminal.press(key)
    assert terminal.ended() == 0, terminal.text
    assert reason in terminal.text and "you: no pair judged" in terminal.text
    assert {len(raters) for raters in judged(out).values()} == {3}
    assert not any("you" in raters for raters in judged(out).values())
    if key == "\n":
        again = demo(out, *flags)
        assert again.ended() == 0 and "/join/" not in again.text, "what is done is done"
