"""The wheel holds all that runs: installed alone, it serves the rating pages to a real browser."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rating_browser import all_sent, browser, press, ready
from tutelage.store.store import Store

REPO = Path(__file__).resolve().parent.parent
SOURCES = REPO / "src" / "tutelage"
NOT_SHIPPED = ("web/ui/", "__pycache__/")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which nothing is but the package, installed from a wheel of this tree."""
    pytest.importorskip("hatchling", reason="NO WHEEL TEST: pip install hatchling")
    made, target = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(made)]
    subprocess.run(build, cwd=REPO, check=True, capture_output=True)
    [wheel] = made.glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*install, "--disable-pip-version-check", "--target", str(target), str(wheel)], check=True)
    return target


def call(installed: Path, *words: str) -> dict[str, Any]:
    """How the installed package is run: from its folder, and from nowhere else."""
    env = os.environ | {"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    return {"args": [sys.executable, *words], "env": env, "cwd": installed.parent, "text": True}


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(installed: Path):
    def files(folder: Path) -> set[str]:
        names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        return {name for name in names if not any(part in f"{name}" for part in NOT_SHIPPED)}

    shipped = {path.relative_to(installed / "tutelage").as_posix() for path in (installed / "tutelage").rglob("*.*")}
    assert not [name for name in shipped if any(part in name for part in NOT_SHIPPED)]
    assert files(installed / "tutelage") == files(SOURCES)
    for name in ("web/static/rating.js", "web/words/zh.json", "ops/native/decoder.cpp", "recipes/ppo.yaml", "py.typed"):
        assert name in shipped, name


@contextmanager
def serving(installed: Path, db: Path) -> Iterator[dict[str, Any]]:
    words = ["-m", "tutelage", "rate", "serve", "--db", str(db), "--port", "0", "--rater", "you", "--json"]
    with subprocess.Popen(**call(installed, *words), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        try:
            assert server.stdout is not None
            yield json.loads(server.stdout.readline())
        finally:
            server.terminate()


def test_the_installed_package_serves_the_rating_pages(installed: Path, tmp_path: Path):
    where = subprocess.run(**call(installed, "-c", "import tutelage; print(tutelage.__file__)"), capture_output=True)
    assert Path(where.stdout.strip()).is_relative_to(installed), "another tutelage was run"
    db, answers = tmp_path / "r.db", tmp_path / "answers.jsonl"
    rows = [
        {"id": f"a{n}", "prompt_id": "p", "prompt": "Why?", "completion": f"Because {n}.", "model": "m", "run": "r"}
        for n in range(3)
    ]
    answers.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ask = ["-m", "tutelage", "rate", "ask", "--db", str(db), "--samples", str(answers), "--kinds", "pair"]
    subprocess.run(**call(installed, *ask), check=True, capture_output=True)
    wrong = list[str]()
    with serving(installed, db) as told, browser() as chrome:
        page = chrome.new_context(locale="en-GB").new_page()
        page.set_default_timeout(30_000)
        page.on("response", lambda reply: wrong.append(f"{reply.status} {reply.url}") if reply.status >= 400 else None)
        page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        page.goto(told["rater_link"])
        page.locator(".card form button").click()
        page.wait_for_url("**/rate")
        ready(page)
        styled = "getComputedStyle(document.querySelector('#task')).getPropertyValue('--accent').trim()"
        assert page.evaluate(styled), "the style sheets are there"
        press(page, "1", "2")
        all_sent(page)
        end = time.monotonic() + 30
        with Store(db) as store:
            while not (given := store.judgements()) and time.monotonic() < end:
                time.sleep(0.1)
        assert [(one.rater, one.strength) for one in given] == [("you", 2)]
    assert wrong == []
