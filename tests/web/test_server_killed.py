"""A real server, killed at random under raters who try again: what was acknowledged is there, once."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from rating_room import answer, questions
from tutelage.store.people import People
from tutelage.store.store import Store

RATERS = 8


class Server:
    """`tutelage rate serve` on one database and port, started again whenever it was killed."""

    def __init__(self, db: Path) -> None:
        self.db, self.port, self.ready_after = db, 0, list[float]()
        self.start()

    def start(self) -> None:
        began = time.monotonic()
        command = [
            sys.executable,
            "-m",
            "tutelage",
            "rate",
            "serve",
            "--db",
            str(self.db),
            "--port",
            str(self.port),
            "--json",
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline())
        self.port = int(told["url"].rpartition(":")[2])
        while ask(self.port, "GET", "/healthz")[0] != 200:
            time.sleep(0.01)
        self.ready_after.append(time.monotonic() - began)

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def ask(
    port: int, method: str, path: str, body: Any = None, cookie: str = "", timeout: float = 20.0
) -> tuple[int, Any, str]:
    """(status, JSON, cookie that was set); status 0 = no answer, whether or not the server got it."""
    connection = HTTPConnection("127.0.0.1", port, timeout=timeout)
    headers = {"content-type": "application/json", "cookie": f"tutelage={cookie}"}
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        reply = connection.getresponse()
        text = reply.read()
        found = re.search(r"tutelage=([^;]+)", reply.headers.get("set-cookie", ""))
        told = json.loads(text) if reply.headers.get("content-type") == "application/json" else None
        return reply.status, told, found.group(1) if found else ""
    except (OSError, HTTPException, json.JSONDecodeError):
        return 0, None, ""
    finally:
        connection.close()


class Rater(threading.Thread):
    """Answers until nothing is left; sends each answer, now and then twice, until it is acknowledged."""

    def __init__(self, server: Server, cookie: str, seed: int) -> None:
        super().__init__(daemon=True)
        self.server, self.cookie, self.random = server, cookie, random.Random(seed)
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.seconds: list[float] = []
        self.sent: set[str] = set()

    def run(self) -> None:
        while tasks := self._until_answered("/api/v1/tasks/next", {"n": 2})["tasks"]:
            for task in tasks:
                judgement = answer(task, id=str(uuid.UUID(int=self.random.getrandbits(128))))
                self.sent.add(judgement["id"])
                began = time.monotonic()
                reply = self._until_answered("/api/v1/judgements", judgement)
                self.seconds.append(time.monotonic() - began)
                self.acknowledged[reply["id"]] = judgement
                if self.random.random() < 0.2:
                    assert self._until_answered("/api/v1/judgements", judgement) == reply

    def _until_answered(self, path: str, body: Any) -> Any:
        while True:
            cut = self.random.random() < 0.03  # the network fails before the reply is here
            timeout = 0.002 if cut else 20.0
            status, told, _ = ask(self.server.port, "POST", path, body, self.cookie, timeout)
            if status == 200:
                return told
            assert status in (0, 429, 503), (status, told)
            time.sleep(0.02)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "ratings.db"


def test_every_acknowledged_judgement_is_there_exactly_once_whenever_the_server_dies(db: Path):
    told = rate_under_kills(db, items=134, overlap=3, kills=5, seed=1)
    print(told)
    assert told["ready_after"] <= 5, told  # 2 s on an idle machine; the start of Python is in it


@pytest.mark.slow
def test_ten_thousand_judgements_survive_a_hundred_kills(db: Path):
    told = rate_under_kills(db, items=3334, overlap=3, kills=100, seed=2)
    print(told)


def rate_under_kills(db: Path, items: int, overlap: int, kills: int, seed: int) -> dict[str, float]:
    """All items are rated by 8 raters while the server is killed `kills` times; the figures seen."""
    with Store(db) as store:
        store.ask(questions(items), overlap=overlap)
    server = Server(db)
    with Store(db) as store:
        people = People(store.database, Path(f"{db}.secret").read_bytes())
        tokens = [people.invite("default", actor="test") for _ in range(RATERS)]
    raters = [Rater(server, ask(server.port, "POST", f"/join/{token}")[2], seed + n) for n, token in enumerate(tokens)]
    chance = random.Random(seed)
    try:
        for rater in raters:
            rater.start()
        done, wanted = 0, items * overlap
        for kill in range(kills):
            while any(rater.is_alive() for rater in raters):
                done = sum(len(rater.acknowledged) for rater in raters)
                if done >= wanted * (kill + chance.random()) / (kills + 1):
                    break
                time.sleep(0.01)
            server.kill()
            server.start()
        for rater in raters:
            rater.join(600)
            assert not rater.is_alive()
    finally:
        server.kill()
    with Store(db) as store:
        history, standing = store.history(), store.judgements()
    there = [row["id"] for row in history]
    acknowledged = {name: judgement for rater in raters for name, judgement in rater.acknowledged.items()}
    assert len(set(there)) == len(there) and set(acknowledged) == set(there), "lost, doubled or never sent"
    assert set(there) <= {name for rater in raters for name in rater.sent}
    assert all(row["ranks"] == acknowledged[row["id"]]["ranks"] for row in history)
    assert len(standing) == len(history) == items * overlap
    assert len({(row.comparison, row.rater) for row in standing}) == len(standing)
    seconds = sorted(second for rater in raters for second in rater.seconds)
    told = {"judgements": len(history), "kills": kills, "ready_after": max(server.ready_after)}
    return told | {"p50": seconds[len(seconds) // 2], "p95": seconds[int(len(seconds) * 0.95)]}
