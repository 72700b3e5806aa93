"""What browser tests of the rating screen share: a real server on a real database, a real Chromium, a rater's page."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_server
from typing import Any

import pytest
import uvicorn

from rating_room import OPEN, SECRET
from tutelage.labelers import _desk
from tutelage.labelers._consensus import report
from tutelage.store.people import People
from tutelage.store.projects import Aspect, Projects, ProjectSettings
from tutelage.store.store import Store
from tutelage.types import Comparison, Prompt, QuestionKind, Sample
from tutelage.web._settings import Settings
from tutelage.web.app import create_app

SETTLED = 0.2
"""Seconds after which a new task takes an answer."""


def chromium() -> str | None:
    """The system's browser; None lets Playwright use its own."""
    named = os.environ.get("TUTELAGE_CHROMIUM")
    return named or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium; the test is skipped, loudly, where there is neither Playwright nor a browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="NO BROWSER TEST: pip install playwright")
    with playwright.sync_playwright() as driver:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        try:
            opened = driver.chromium.launch(executable_path=chromium(), args=flags)
        except playwright.Error as error:
            pytest.skip(f"NO BROWSER TEST: no Chromium to start ({str(error).splitlines()[0]}); install one")
        yield opened
        opened.close()


class Room:
    """A server in a thread on the database at `path`; it can be stopped and started on the same port.

    A test that shares it with others works on a `project` of its own.
    """

    def __init__(self, path: Path, **settings: Any) -> None:
        self.store = Store(path)
        self.settings = settings
        self.sampling: Any = None
        self.port = 0
        self.project = "p"
        self.waiting: tuple[int, float] | None = None
        self.start()

    def start(self) -> None:
        socket = create_server(("127.0.0.1", self.port))
        self.port = socket.getsockname()[1]
        hosts = (f"127.0.0.1:{self.port}",)
        lent = {"report": report, "questions": _desk.questions_of, "rows": _desk.rows_of}
        lent |= {"limits": OPEN, "waiting": lambda store, project: self.waiting} | self.settings
        app = create_app(self.store, Settings(hosts, SECRET, **lent))
        self.sampling = app.state.sampling
        config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [socket]})
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.force_exit = self.server.should_exit = True
        self.thread.join()
        if self.sampling is not None:
            self.sampling.close()

    def close(self) -> None:
        self.stop()
        self.store.close()

    def ask(
        self,
        kind: QuestionKind,
        texts: list[str],
        copies: int = 4,
        prompt: str = "Why is the sky blue?",
        aspects: tuple[Aspect, ...] = (),
        name: str = "",
        **settings: Any,
    ) -> None:
        """Questions of one kind in the project, with these settings."""
        project, projects = self.project, Projects(self.store.database)
        projects.change(project, ProjectSettings(**{"goal": 10, "strength": 0} | settings), actor="test")
        guidelines = {"en": "# Good answers\n\nare **right**.", "zh": "# 好的回答\n\n是**正确**的。"}
        projects.publish(project, guidelines, aspects, actor="test")
        names, scale = tuple(aspect.name for aspect in aspects), aspects[0].scale if aspects else (0.0, 5.0)
        made: list[Comparison] = []
        for number in range(copies):
            posed = Prompt(f"{project}-{kind}-{name}{number}", prompt)
            said = tuple(Sample(f"{posed.id}-{at}", posed, text, model=f"m{at}") for at, text in enumerate(texts))
            made.append(Comparison(f"{posed.id}-q", kind, posed, said, names, scale))
        self.store.ask(made, project=project, overlap=9)

    def enter(self, chrome: Any, name: str = "Ann", **context: Any) -> Any:
        """The page of a new rater who came in by an invitation, as a person does: link, button, first task."""
        token = People(self.store.database, SECRET).invite(self.project, actor="test", name=name)
        page = chrome.new_context(**({"locale": "en-GB"} | context)).new_page()
        page.set_default_timeout(8000)
        page.goto(f"http://127.0.0.1:{self.port}/join/{token}")
        page.locator(".card form button").click()
        page.wait_for_url("**/rate")
        ready(page)
        return page

    def enter_admin(self, chrome: Any, **context: Any) -> Any:
        """The page of a new admin."""
        token = People(self.store.database, SECRET).invite(self.project, actor="test", role="admin", name="Dana")
        page = chrome.new_context(**({"locale": "en-GB"} | context)).new_page()
        page.set_default_timeout(8000)
        page.goto(f"http://127.0.0.1:{self.port}/join/{token}")
        page.locator(".card form button").click()
        page.wait_for_url("**/admin**")
        return page

    def rows(self) -> list[dict[str, Any]]:
        return self.store.history(self.project)


def ready(page: Any) -> str:
    """Wait for a task that takes an answer; its id."""
    page.wait_for_selector("#task[data-phase=rating]")
    page.wait_for_timeout(SETTLED * 1000)
    return page.get_attribute("#task", "data-task")


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def next_task(page: Any, before: str) -> str:
    """Wait until another task than `before` is on the screen and takes an answer; its id."""
    other = "before => { const id = document.querySelector('#task').dataset.task; return id && id !== before }"
    page.wait_for_function(other, arg=before)
    return ready(page)


def deaf_tab(page: Any) -> Any:
    """Another tab of the same rater, with its task, in a browser in which tabs do not hear each other."""
    other = page.context.new_page()
    other.add_init_script("delete window.BroadcastChannel")
    other.goto(page.url)
    ready(other)
    return other


def all_sent(page: Any) -> None:
    """Wait until the server has everything."""
    page.wait_for_selector("[data-test=saved][data-waiting='0']")


def shown_ranks(row: dict[str, Any]) -> list[int]:
    """Ranks of a judgement in the order on the screen."""
    return [row["ranks"][index] for index in row["shown"]]
