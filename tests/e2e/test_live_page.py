"""A small PPO run is taught through the real page: a browser, the keyboard, and the banner of the run that waits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from live_room import PATIENCE, Server
from rating_browser import all_sent, browser, press, ready
from tutelage.store.batches import Batch, Batches
from tutelage.store.people import People
from tutelage.store.store import Store

STEPS, PROMPTS, DEADLINE = 2, 2, 3000
TYPED = (5, 0, 3, 1)
"""what the rater thinks of one answer after the other"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "r.db")
    yield made
    made.kill()


def start(model: Path, folder: Path, db: Path) -> subprocess.Popen[str]:
    rows = [{"id": f"p{n}", "prompt": f"Summarise bridge {n}."} for n in range(STEPS * PROMPTS)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given: dict[str, Any] = {"model": model, "data": folder / "prompts.jsonl", "out": folder / "run", "steps": STEPS}
    given |= {"reward": f"human?n=1&deadline={DEADLINE}", "db": db, "project": "P", "batch-size": PROMPTS, "updates": 1}
    given |= {"max-new-tokens": 6, "max-length": 96}
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    return subprocess.Popen([sys.executable, "-m", "tutelage", "ppo", *words], stderr=subprocess.PIPE, text=True)


def enter(chrome: Any, server: Server) -> Any:
    """The page of a rater who comes in by an invitation before anything is to be rated."""
    with Store(server.db) as store:
        people = People(store.database, Path(f"{server.db}.secret").read_bytes())
        token = people.invite("P", actor="test", name="Ann")
    page = chrome.new_context(locale="en-GB", viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(f"http://127.0.0.1:{server.port}/join/{token}")
    page.locator(".card form button").click()
    page.wait_for_url("**/rate")
    return page


def waiting(db: Path) -> Batch:
    """The batch that waits now."""
    with Store(db) as store:
        [batch] = Batches(store.database).all("P", "open")
    return batch


def banner(page: Any, batch: Batch) -> str:
    """What the page says of the run that waits: as many answers and as much time as the database says."""
    need = "one more answer" if batch.missing == 1 else f"{batch.missing} more answers"
    found = page.locator("[data-test=waiting]", has_text=f"A model is learning from this and waits for {need}.")
    found.wait_for()
    told = found.locator(".time").inner_text()
    minutes, seconds = told.split(":")
    assert abs(int(minutes) * 60 + int(seconds) - batch.seconds_left) < 60, (told, batch.seconds_left)
    return told


def test_what_is_typed_on_the_page_is_the_reward_of_the_run(server: Server, tiny_model: Path, tmp_path: Path):
    with browser() as chrome:
        page = enter(chrome, server)
        page.wait_for_selector("[data-test=empty]")
        run = start(tiny_model, tmp_path, server.db)
        try:
            typed = _teach(page, run, server.db)
            said = run.communicate(timeout=PATIENCE)[1]
        finally:
            run.kill()
            run.communicate()
    assert run.returncode == 0, said
    _are_the_rewards(typed, server.db, tmp_path / "run")


def _teach(page: Any, run: subprocess.Popen[str], db: Path) -> list[int]:
    """Score what the page shows until the run is over; what was typed."""
    typed, seen, end, task = list[int](), list[int](), time.monotonic() + PATIENCE, ""
    while run.poll() is None:
        assert time.monotonic() < end, "the run does not end"
        now = page.get_attribute("#task", "data-task") if page.locator("#task").count() else ""
        if not now or now == task:
            if not seen and page.locator("[data-test=empty]").count():
                page.get_by_role("button", name="Look again").click()  # the page does so every 15 s
            page.wait_for_timeout(200)
            continue
        task, batch = ready(page), waiting(db)
        told = banner(page, batch)
        if batch.step not in seen:
            seen.append(batch.step)
            if folder := os.environ.get("TUTELAGE_SCREENSHOTS"):
                page.screenshot(path=f"{folder}/live-{batch.step}.png")
            assert told, "with a deadline"
        typed.append(TYPED[len(typed)])
        press(page, str(typed[-1]))
        all_sent(page)
    assert seen == list(range(STEPS))
    return typed


def _are_the_rewards(typed: list[int], db: Path, run: Path) -> None:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    logged = [line["reward/mean"] for line in lines if "reward/mean" in line]
    with Store(db) as store:
        batches = Batches(store.database)
        all_ = batches.all("P")
        assert [(one.state, one.missing) for one in all_] == [("consumed", 0)] * STEPS
        assert [int(one.scores["overall"]) for one in store.judgements("P")] == typed
        texts = {one.id: one.candidates[0].text for one in store.comparisons("P")}
        thought = {texts[one.comparison]: one.scores["overall"] / 5 for one in store.judgements("P")}
    assert len(typed) == STEPS * PROMPTS, "each answer was scored once"
    means = [sum(typed[at : at + PROMPTS]) / PROMPTS / 5 for at in range(0, len(typed), PROMPTS)]
    assert logged == pytest.approx(means, abs=1e-6)
    written = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    assert {row["completion"] for row in written} <= set(thought)
    assert written and all(row["reward"] == pytest.approx(thought[row["completion"]], abs=1e-4) for row in written)
