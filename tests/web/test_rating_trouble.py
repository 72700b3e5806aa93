"""The rating screen when things go wrong: tabs, going back, sessions that end, full disks; nothing lost or doubled."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import Connection, event

from rating_browser import Room, all_sent, deaf_tab, next_task, press, ready, shown_ranks
from rating_room import SECRET
from rating_server import ask
from tutelage.store.people import People
from tutelage.store.projects import Projects

TWO = ["Scattering.", "Paint."]


def test_what_one_tab_answers_the_other_asks_no_more(room: Room, chrome: Any):
    room.ask("pair", TWO, copies=3)
    page = room.enter(chrome)
    other = page.context.new_page()
    other.goto(page.url)
    first = ready(page)
    assert ready(other) == first
    press(page, "1")
    second = next_task(page, first)
    assert next_task(other, first) == second
    press(other, "2")
    third = next_task(other, second)
    assert next_task(page, second) == third
    all_sent(page)
    all_sent(other)
    assert [shown_ranks(row) for row in room.rows()] == [[1, 2], [2, 1]]
    assert len({row["question"] for row in room.rows()}) == 2


def test_two_tabs_count_together_what_is_answered_taken_back_and_refused(room: Room, chrome: Any):
    room.ask("pair", TWO, copies=5)
    page = room.enter(chrome)
    other = page.context.new_page()
    other.goto(page.url)
    both = (page, other)

    def counted(count: int) -> None:
        for tab in both:
            tab.wait_for_function(
                "text => document.querySelector('[data-test=progress]').innerText === text", arg=f"{count} of 10 today"
            )

    ready(other)
    task = ready(page)
    press(page, "1")
    task = next_task(page, task)
    counted(1)
    ready(other)
    press(other, "1")
    counted(2)
    press(page, "s", "2")
    next_task(page, task)
    counted(2)
    press(other, "z")
    counted(1)
    refuse = {"error": {"what": "no", "wanted": "", "fix": ""}}
    page.route("**/api/v1/judgements", lambda route: route.fulfill(status=409, json=refuse))
    ready(page)
    press(page, "1")
    page.wait_for_selector("[data-test=refused]")
    counted(1)


def test_a_goal_that_nothing_is_left_for_is_not_held_up_to_the_rater(room: Room, chrome: Any):
    """While tasks come the goal stands as it is: one that moved with them would tell which are checks."""
    room.ask("pair", TWO, copies=2)
    page = room.enter(chrome)
    task = ready(page)
    for count in range(2):
        assert page.inner_text("[data-test=progress]") == f"{count} of 10 today"
        press(page, "1")
        task = next_task(page, task) if count == 0 else ""
    page.wait_for_selector("[data-test=empty]")
    assert page.inner_text("[data-test=progress]") == "2 today" and page.locator(".day progress").count() == 0
    room.ask("pair", TWO, copies=1, name="more")
    page.click("[data-test=empty] .primary")
    ready(page)
    assert page.inner_text("[data-test=progress]") == "2 of 10 today"


def test_a_look_again_counts_though_an_earlier_reply_is_still_on_its_way(room: Room, chrome: Any):
    room.ask("pair", TWO, copies=1)
    page = room.enter(chrome)
    press(page, "1")
    page.wait_for_selector("[data-test=empty]")
    all_sent(page)
    page.wait_for_load_state("networkidle")
    late: list[tuple[Any, Any]] = []
    page.route("**/tasks/next", lambda route: late.append((route, route.fetch())), times=1)
    with page.expect_request("**/tasks/next"):
        page.click("[data-test=empty] .primary")
    for _ in range(800):
        if not late:
            page.wait_for_timeout(10)
    room.ask("pair", TWO, copies=1, name="more")
    page.locator("[data-test=empty] .primary").dispatch_event("click")
    route, reply = late[0]
    route.fulfill(response=reply)
    ready(page)


def test_the_same_answer_from_two_tabs_is_one_row_and_undo_in_either_takes_it_back(room: Room, chrome: Any):
    room.ask("pair", TWO, copies=1)
    page = room.enter(chrome)
    other = deaf_tab(page)
    press(page, "1")
    all_sent(page)
    press(other, "1")
    all_sent(other)
    assert [shown_ranks(row) for row in room.rows()] == [[1, 2]]
    other.wait_for_selector("[data-test=empty]")
    press(other, "z")
    ready(other)
    all_sent(other)
    assert [row["withdrawn"] for row in room.rows()] == [False, True] and room.store.judgements(room.project) == []


def test_something_said_about_a_task_stays_when_another_tab_answers_it(room: Room, chrome: Any):
    room.ask("ranking", ["One.", "Two.", "Three."], copies=2)
    page = room.enter(chrome)
    other = page.context.new_page()
    other.goto(page.url)
    task = ready(other)
    press(other, "2")
    press(page, "1", "2", "3", "Enter")
    next_task(page, task)
    other.wait_for_timeout(300)
    assert other.get_attribute("#task", "data-task") == task and other.locator(".answer.placed").count() == 1


def test_the_back_button_leads_to_a_task_that_is_open_and_doubles_nothing(room: Room, chrome: Any):
    room.ask("pair", TWO, copies=3)
    page = room.enter(chrome)
    task = ready(page)
    press(page, "1")
    second = next_task(page, task)
    page.goto(f"http://127.0.0.1:{room.port}/guidelines")
    page.go_back()
    assert ready(page) == second
    press(page, "1")
    next_task(page, second)
    page.go_back()
    page.wait_for_timeout(300)
    page.go_forward()
    ready(page)
    all_sent(page)
    assert len(room.rows()) == len({row["question"] for row in room.rows()}) == 2


def test_ten_parallel_sends_from_the_page_are_one_row_and_one_reply_also_after_a_restart(room: Room, chrome: Any):
    room.ask("pair", TWO, copies=2)
    page = room.enter(chrome)
    send = """async ([task, id]) => {
        const body = JSON.stringify({id, task, shown: [0, 1], ranks: [1, 2], confirmed: false, seconds: 1});
        const headers = {'content-type': 'application/json'};
        const one = () => fetch('/api/v1/judgements', {method: 'POST', body, headers})
            .then(async reply => `${reply.status} ${await reply.text()}`);
        return Promise.all(Array.from({length: 10}, one));
    }"""
    given = [ready(page), str(uuid.uuid4())]
    replies = set(page.evaluate(send, given))
    room.stop()
    room.start()
    replies |= set(page.evaluate(send, given))
    assert len(replies) == 1 and replies.pop().startswith("200") and len(room.rows()) == 1


def test_a_session_that_ends_in_a_task_keeps_the_answers_until_the_rater_is_back(room: Room, chrome: Any):
    room.ask("pair", TWO, copies=5)
    page = room.enter(chrome)
    task = ready(page)
    page.wait_for_timeout(300)
    people = People(room.store.database, SECRET)
    (session,) = [kept for kept in map(people.session, cookies(page)) if kept is not None]
    people.sign_out(session)
    press(page, "1")
    page.wait_for_selector("[data-test=trouble]")
    assert page.inner_text("[data-test=trouble] p").startswith("You are signed out. Your answer is kept")
    task = next_task(page, task)
    press(page, "2")
    page.wait_for_function(
        "() => document.querySelector('[data-test=trouble]').innerText.includes('2 answers are kept')"
    )
    assert room.rows() == []
    token = people.invite(room.project, actor="test", rater=session.rater)
    page.click("[data-test=trouble] a")
    assert "invitation" in page.inner_text("main")
    page.goto(f"http://127.0.0.1:{room.port}/join/{token}")
    page.locator(".card form button").click()
    page.wait_for_url("**/rate")
    ready(page)
    all_sent(page)
    assert [shown_ranks(row) for row in room.rows()] == [[1, 2], [2, 1]]
    assert {row["rater"] for row in room.rows()} == {session.rater}


def test_what_one_rater_left_unsent_never_goes_out_in_the_name_of_the_next(room: Room, chrome: Any):
    room.ask("pair", TWO, copies=5)
    page = room.enter(chrome)
    task = ready(page)
    page.wait_for_timeout(300)
    first = page.evaluate("fetch('/api/v1/me').then(reply => reply.json())")["rater"]
    token = People(room.store.database, SECRET).invite(room.project, actor="test", name="Bo")
    other = page.context.new_page()
    other.goto(f"http://127.0.0.1:{room.port}/join/{token}")
    other.locator(".card form button").click()
    ready(other)
    press(page, "1")
    next_task(page, task)
    page.wait_for_selector("[data-test=trouble]")
    press(other, "2")
    all_sent(other)
    (row,) = room.rows()
    assert row["rater"] != first and shown_ranks(row) == [2, 1]


def cookies(page: Any) -> list[str]:
    return [cookie["value"] for cookie in page.context.cookies() if cookie["name"] == "tutelage"]


def test_a_full_disk_is_said_answers_wait_and_go_out_when_there_is_room(room: Room, chrome: Any):
    room.ask("pair", TWO, copies=6)
    page = room.enter(chrome)
    task = ready(page)
    page.wait_for_timeout(300)
    full = [True]

    def narrow(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {1 if full[0] else 10_000_000}")  # 1: what is there

    event.listen(room.store.database.engine, "begin", narrow, insert=True)
    try:
        for number in range(3):
            press(page, "c")
            page.wait_for_selector("#comment:focus")
            page.keyboard.insert_text("x" * 3900)
            press(page, "Escape", "1")
            if number < 2:
                task = next_task(page, task)
        page.wait_for_selector("[data-test=trouble]")
        assert page.inner_text("[data-test=trouble] p").startswith("The server's disk is full.")
        stored = len(room.rows())
        assert stored < 3
    finally:
        full[0] = False
        page.wait_for_selector("[data-test=saved][data-waiting='0']", timeout=30_000)
        event.remove(room.store.database.engine, "begin", narrow)
    assert len(room.rows()) == len({row["question"] for row in room.rows()}) == 3
    assert page.locator("[data-test=trouble]").count() == 0


def test_a_skip_is_taken_back_and_the_task_answered(room: Room, chrome: Any):
    room.ask("pair", TWO, copies=3)
    page = room.enter(chrome)
    first = ready(page)
    press(page, "s", "2")
    second = next_task(page, first)
    press(page, "z")
    assert next_task(page, second) == first
    press(page, "2")
    next_task(page, first)
    all_sent(page)
    assert [shown_ranks(row) for row in room.rows()] == [[2, 1]]
    assert page.inner_text("[data-test=progress]") == "1 of 10 today"


def test_eight_pages_of_one_rater_at_once_store_each_answer_once(room: Room, chrome: Any):
    """The interface under what eight tabs would do; `ThreadPoolExecutor` stands for their fetches."""
    room.ask("pair", TWO, copies=1)
    page = room.enter(chrome)
    task, cookie = ready(page), cookies(page)[0]

    def send(number: int) -> tuple[int, str]:
        body = {"id": str(uuid.UUID(int=number)), "task": task, "shown": [0, 1], "ranks": [1, 2]}
        status, told, _ = ask(
            room.port, "POST", "/api/v1/judgements", body | {"confirmed": False, "seconds": 1}, cookie
        )
        return status, str(told)

    with ThreadPoolExecutor(8) as pool:
        replies = set(pool.map(send, range(1, 9)))
    assert len(replies) == 1 and replies.pop()[0] == 200 and len(room.rows()) == 1


def test_an_answer_stands_under_the_guidelines_with_which_its_task_came(room: Room, chrome: Any):
    room.ask("pair", TWO, copies=7)
    page = room.enter(chrome)
    came, answered = dict[str, str](), list[str]()

    def note(reply: Any) -> None:
        for task in reply.json()["tasks"] if reply.url.endswith("/tasks/next") and reply.ok else ():
            came.setdefault(task["id"], str(task["rubric"]))

    page.on("response", note)
    page.reload()
    task = ready(page)
    page.wait_for_timeout(300)  # more are fetched ahead by then, and are handed out again with each that is asked for
    Projects(room.store.database).publish(room.project, {"en": "Another word."}, (), actor="test")
    for _ in range(6):
        answered.append(task)
        press(page, "1")
        all_sent(page)
        task = next_task(page, task)
    rubrics = [row["rubric"] for row in room.rows()]
    assert rubrics == [came[task] for task in answered] and set(rubrics) == {"1", "2"}
