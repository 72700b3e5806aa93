"""A real server on a disk that is really full acknowledges nothing, and goes on by itself when there is room."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from rating_room import answer, questions
from rating_server import Server, ask
from tutelage.store.people import People
from tutelage.store.store import Store

LONG = "long " * 900
"""A comment that needs a page of its own in the database."""


def opened(folder: Path, items: int = 60) -> tuple[Server, list[str], Path]:
    """A server on a new database, and the cookies of three raters."""
    db = folder / "ratings.db"
    with Store(db) as store:
        store.ask(questions(items), overlap=3)
    server = Server(db)
    with Store(db) as store:
        people = People(store.database, Path(f"{db}.secret").read_bytes())
        tokens = [people.invite("default", actor="test") for _ in range(3)]
    return server, [ask(server.port, "POST", f"/join/{token}")[2] for token in tokens], db


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False) if os.geteuid() == 0 else None
    if done is None or done.returncode != 0:
        pytest.skip(f"NO REAL FULL DISK: cannot mount here ({done.stderr.strip() if done else 'not root'})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all the room that is left."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    return filler


def test_a_full_disk_is_507_and_the_same_answer_is_stored_once_when_there_is_room(tmpfs: Path):
    server, (cookie, *_), db = opened(tmpfs)
    try:
        tasks = ask(server.port, "POST", "/api/v1/tasks/next", {"n": 4}, cookie)[1]["tasks"]
        filler = fill(tmpfs)
        refused = refuse_until_full(server, cookie, tasks)
        assert ask(server.port, "GET", "/api/v1/me", cookie=cookie)[0] == 200, "reading goes on"
        assert ask(server.port, "GET", "/healthz")[0] == 200
        filler.unlink()
        acknowledged = refused["before"] + [store_again(server, cookie, kept) for kept in refused["kept"]]
    finally:
        server.kill()
    there_once(db, acknowledged)


def test_a_file_that_may_not_grow_is_507_as_well(tmp_path: Path):
    """The kernel's limit on the size of a file stands in for a disk, where nothing can be mounted."""
    server, (cookie, *_), db = opened(tmp_path)
    try:
        tasks = ask(server.port, "POST", "/api/v1/tasks/next", {"n": 4}, cookie)[1]["tasks"]
        _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (db.stat().st_size, hard))
        refused = refuse_until_full(server, cookie, tasks)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        acknowledged = refused["before"] + [store_again(server, cookie, kept) for kept in refused["kept"]]
    finally:
        server.kill()
    there_once(db, acknowledged)


def refuse_until_full(server: Server, cookie: str, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """Send long answers (pages that are free already take the first); what was acknowledged, and what was refused."""
    before: list[str] = []
    for number, task in enumerate(tasks):
        judgement = answer(task, comment=f"{number} {LONG}")
        status, told, _ = ask(server.port, "POST", "/api/v1/judgements", judgement, cookie)
        if status == 200:
            before.append(told["id"])
            continue
        assert status == 507 and "not saved" in told["error"]["what"], (status, told)
        again, _, _ = ask(server.port, "POST", "/api/v1/judgements", judgement, cookie)
        assert again == 507
        return {"before": before, "kept": [judgement]}
    raise AssertionError("the disk was never full")


def store_again(server: Server, cookie: str, judgement: dict[str, Any]) -> str:
    for _ in range(2):
        status, told, _ = ask(server.port, "POST", "/api/v1/judgements", judgement, cookie)
        assert (status, told["id"]) == (200, judgement["id"])
    return judgement["id"]


def there_once(db: Path, acknowledged: list[str]) -> None:
    with Store(db) as store:
        assert sorted(row["id"] for row in store.history()) == sorted(acknowledged)
        with store.database.reading() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


def test_three_raters_lose_nothing_while_the_disk_fills_up_again_and_again(tmpfs: Path):
    server, cookies, db = opened(tmpfs, items=40)
    acknowledged: dict[str, str] = {}
    seen: set[int] = set()
    raters = [Thread(target=rate, args=(server.port, cookie, acknowledged, seen), daemon=True) for cookie in cookies]
    try:
        for rater in raters:
            rater.start()
        for _ in range(4):
            time.sleep(0.4)
            filler = fill(tmpfs)
            wait_for(lambda: 507 in seen)
            seen.clear()
            filler.unlink()
        for rater in raters:
            rater.join(240)
            assert not rater.is_alive()
    finally:
        server.kill()
    assert len(acknowledged) == 120
    there_once(db, list(acknowledged))


def rate(port: int, cookie: str, acknowledged: dict[str, str], seen: set[int]) -> None:
    """Answer until nothing is left; send again whatever was not acknowledged."""

    def until_answered(path: str, body: Any) -> Any:
        while True:
            status, told, _ = ask(port, "POST", path, body, cookie)
            if status == 200:
                return told
            seen.add(status)
            assert status in (507, 503, 0), (status, told)
            time.sleep(0.05)

    while tasks := until_answered("/api/v1/tasks/next", {"n": 1})["tasks"]:
        kept = until_answered("/api/v1/judgements", answer(tasks[0], comment=LONG))
        acknowledged[kept["id"]] = cookie


def wait_for(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not true():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.02)
