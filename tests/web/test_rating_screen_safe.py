"""The rating screen in a real browser: hostile texts, speed, and answers that must arrive exactly once."""

from __future__ import annotations

import time
from typing import Any

import pytest

from hostile import CORPUS
from rating_browser import Room, all_sent, next_task, press, ready, shown_ranks
from tutelage.store.projects import Aspect


def test_hostile_texts_run_nothing_and_fetch_nothing(room: Room, chrome: Any):
    batches = [CORPUS[start : start + 9] for start in range(0, len(CORPUS), 9)]
    for number, batch in enumerate(batches):
        texts = [*batch, "x"] if len(batch) == 1 else list(batch)
        room.ask("ranking", texts, copies=1, name=f"{number}-", prompt="\n\n".join(batch))
    page, wrong = room.enter(chrome), list[str]()
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: None if f":{room.port}/" in request.url else wrong.append(request.url))
    page.on("console", lambda told: wrong.append(told.text) if "Security Policy" in told.text else None)
    page.on("popup", lambda other: wrong.append(other.url))
    task = ready(page)
    for number in range(1, len(batches)):
        keys = ("m", "d", "m", "d") if number < 4 else ()  # the other views show text alone
        press(page, "p", *keys, "Enter", "k")
        task = next_task(page, task)
    assert page.url.endswith("/rate") and wrong == []


KINDS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "pair": (["Scattering. " * 80, "Paint. " * 80], ("1",)),
    "ranking": (["Scattering. " * 60, "Paint. " * 60, "Both. " * 60, "No. " * 60], ("1", "2", "3", "4", "Enter")),
    "scores": (["Scattering. " * 80], ("4",)),
    "best": (["Scattering. " * 60, "Paint. " * 60, "Both. " * 60], ("2",)),
    "edit": (["Scattering. " * 80], ("e", "End", "!", "Control+Enter")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_next_task_is_there_within_a_tenth_of_a_second(kind: Any, room: Room, chrome: Any):
    texts, keys = KINDS[kind]
    room.ask(kind, texts, copies=64, aspects=(Aspect("right", {"en": "Right"}),) if kind == "scores" else ())
    page = room.enter(chrome)
    page.evaluate("""() => {
        window.took = [];
        let pressed = 0;
        addEventListener('keydown', () => { pressed = performance.now(); }, true);
        const drawn = () => window.took.push(performance.now() - pressed);
        new MutationObserver(() => requestAnimationFrame(() => requestAnimationFrame(drawn))).observe(
            document.querySelector('#task'), {attributeFilter: ['data-task']});
    }""")
    task, best, rounds = ready(page), float("inf"), 0
    for _ in range(3):  # other work on this machine can only make it slower: the quietest of three rounds counts
        page.evaluate("window.took.length = 0")
        for _ in range(20):
            press(page, *keys)
            task = next_task(page, task)
        rounds += 1
        took = sorted(page.evaluate("window.took"))
        print(
            f"{kind:>8}: next task drawn after (ms) median {took[10]:3.0f}, 95% {took[18]:3.0f}, worst {took[-1]:3.0f}"
        )
        if (best := min(best, took[18])) <= 100:
            break
    all_sent(page)
    assert best <= 100 and len(room.rows()) == 20 * rounds


# ---------------------------------------------------------------- nothing lost, nothing doubled


def test_answers_given_without_a_server_arrive_once_also_after_a_reload(room: Room, chrome: Any):
    room.ask("pair", ["Scattering.", "Paint."], copies=6)
    page = room.enter(chrome)
    task = ready(page)
    page.wait_for_timeout(300)  # the next ones are fetched
    room.stop()
    press(page, "1")
    task = next_task(page, task)
    press(page, "2")
    page.wait_for_selector("[data-test=trouble]")
    assert page.inner_text("[data-test=trouble] p").startswith("No connection.")
    assert room.rows() == []
    room.start()
    page.goto(f"http://127.0.0.1:{room.port}/rate")
    ready(page)
    all_sent(page)
    assert [shown_ranks(row) for row in room.rows()] == [[1, 2], [2, 1]]


def test_a_reply_that_was_lost_is_asked_for_again_and_stored_once(room: Room, chrome: Any):
    room.ask("pair", ["Scattering.", "Paint."])
    page = room.enter(chrome)
    task = ready(page)
    lost: list[str] = []

    def lose(route: Any) -> None:
        if len(lost) < 2:
            route.fetch()  # it reached the server, the answer did not reach the page
            lost.append(route.request.post_data)
            route.abort()
        else:
            route.continue_()

    page.route("**/api/v1/judgements", lose)
    press(page, "1")
    next_task(page, task)
    began = time.monotonic()
    all_sent(page)
    assert time.monotonic() - began < 8 and len(set(lost)) == 1
    assert len(room.rows()) == 1
