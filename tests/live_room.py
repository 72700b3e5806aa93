"""What tests of live reward share: a real rating server, and raters who use its HTTP interface and judge alike."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from tutelage.store.people import People
from tutelage.store.store import Store

PATIENCE = 900.0
"""Seconds that a busy machine is given."""


def ask(port: int, method: str, path: str, body: Any = None, cookie: str = "") -> tuple[int, Any, str]:
    """(status, JSON, cookie that was set); status 0 = no whole answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
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


class Server:
    """`tutelage rate serve`, a process of its own."""

    def __init__(self, db: Path | str, secret: Path | None = None) -> None:
        self.db, self.port, self.secret = db, 0, secret or Path(f"{db}.secret")
        self.start()

    def start(self) -> None:
        words = ["rate", "serve", "--db", str(self.db), "--port", str(self.port), "--json"]
        words += ["--secret-file", str(self.secret)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tutelage", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline())
        assert "url" in told, told
        self.port = int(told["url"].rpartition(":")[2])
        until(lambda: ask(self.port, "GET", "/healthz")[0] == 200)

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def let_in(self, project: str, count: int) -> list[Rater]:
        """Raters who came by an invitation link, and rate from now on."""
        with Store(self.db) as store:
            people = People(store.database, self.secret.read_bytes())
            tokens = [people.invite(project, actor="test") for _ in range(count)]
        raters = [Rater(self, ask(self.port, "POST", f"/join/{token}")[2], index) for index, token in enumerate(tokens)]
        for rater in raters:
            rater.start()
        return raters


class Nursery:
    """Starts commands of `tutelage` as processes of their own that need not load PyTorch first.

    One process has loaded what every run loads and does nothing else; each command is a fork of it.
    """

    _WORK = """
import json, os, sys
import tutelage.build, transformers.models.llama.modeling_llama
from tutelage.cli.main import main
for line in sys.stdin:
    told = json.loads(line)
    if "wait" in told:
        print(os.waitstatus_to_exitcode(os.waitpid(told["wait"], 0)[1]), flush=True)
        continue
    pid = os.fork()
    if pid == 0:
        log = os.open(told["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(log, stream)
        code = 70
        try:
            code = main(told["words"])
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    print(pid, flush=True)
os._exit(0)  # taking it all apart takes seconds
"""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self._WORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, words: list[str], log: Path) -> int:
        """The pid of a new process that runs the command; what it says goes to `log`."""
        return self._ask({"words": words, "log": str(log)})

    def wait(self, pid: int) -> int:
        """Its exit code, once it has ended; −9 = killed."""
        return self._ask({"wait": pid})

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _ask(self, told: dict[str, Any]) -> int:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(told)}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


class Rater(threading.Thread):
    """Takes tasks and judges them until told to stop; what it is not told was kept it sends again."""

    def __init__(self, server: Server, cookie: str, index: int) -> None:
        super().__init__(daemon=True)
        assert cookie, "the link let nobody in"
        self.server, self.cookie, self.index = server, cookie, index
        self.may = threading.Semaphore(0)
        """one for each judgement that it may give"""
        self.free = threading.Event()
        self.stopped = threading.Event()
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.waiting: list[Any] = []
        """what /api/v1/me said of runs that wait"""

    def run(self) -> None:
        while not self.stopped.is_set():
            self.waiting.append((self._call("GET", "/api/v1/me") or {}).get("waiting"))
            tasks = (self._call("POST", "/api/v1/tasks/next", {"n": 2}) or {}).get("tasks", [])
            for task in tasks:
                while not self.free.is_set() and not self.may.acquire(timeout=0.05):
                    if self.stopped.is_set():
                        return
                self._judge(task)
            if not tasks:
                self.stopped.wait(0.3)  # a busy machine has other things to do

    def _judge(self, task: dict[str, Any]) -> None:
        told: dict[str, Any] = {"id": str(uuid.uuid4()), "task": task["id"], "shown": task["shown"], "seconds": 1.0}
        told["confirmed"] = True
        texts = [one["text"] for one in task["candidates"]]
        if task["kind"] == "scores":
            told["scores"] = {one["name"]: verdict(text, self.index) for one in task["aspects"] for text in texts}
        else:
            said = dict(zip(task["shown"], (verdict(text, self.index) for text in texts), strict=True))
            told["ranks"] = [1 + sum(other > said[index] for other in said.values()) for index in sorted(said)]
        if self._call("POST", "/api/v1/judgements", told) is not None:
            self.acknowledged[told["id"]] = told

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        while not self.stopped.is_set():
            status, told, _ = ask(self.server.port, method, path, body, self.cookie)
            if status == 200:
                return told
            assert status == 0, (status, told)
            time.sleep(0.05)
        return None


def verdict(text: str, rater: int) -> int:
    """0 to 5: a rater's word on a text, always the same."""
    return hashlib.sha256(f"{rater}|{text}".encode()).digest()[0] % 6


def taste(meta: Mapping[str, Any], text: str) -> dict[str, float]:
    """For simulated raters, `taste=live_room:taste`: what rater 0 thinks."""
    return {"overall": verdict(text, 0) / 5}


def until(true: Callable[[], object]) -> None:
    """Wait for it."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.1)  # looking costs: most open the database anew
