"""The rating server as a process of its own, which tests kill and start again; and a client that never retries."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any


class Server:
    """`tutelage rate serve` on one database and port, started again whenever it was killed."""

    def __init__(self, db: Path) -> None:
        self.db, self.port, self.ready_after = db, 0, list[float]()
        self.start()

    def start(self) -> None:
        began = time.monotonic()
        command = [sys.executable, "-m", "tutelage", "rate", "serve", "--db", str(self.db), "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline())
        self.port = int(told["url"].rpartition(":")[2])
        while ask(self.port, "GET", "/healthz")[0] != 200:
            time.sleep(0.005)
        self.ready_after.append(time.monotonic() - began)

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def ask(port: int, method: str, path: str, body: Any = None, cookie: str = "", host: str = "") -> tuple[int, Any, str]:
    """(status, JSON, cookie that was set); status 0 = no whole answer, whether or not the server got it."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"content-type": "application/json", "cookie": f"tutelage={cookie}"}
    headers |= {"host": host} if host else {}
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
