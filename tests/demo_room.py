"""What tests of `demo --serve` share: a demo that has sampled its answers already, and a terminal to start it in."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

from tutelage.cli.demo import Config, commands
from tutelage.cli.main import main
from tutelage.flow import write_json

PATIENCE = 120.0
"""Seconds that a busy machine is given."""
_OWN_TERMINAL = (
    "import os, sys, fcntl, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "from tutelage.cli.main import main; sys.exit(main(sys.argv[1:]))"
)
_OURS = ("project", "ask", "serve", "simulate")


def sampled(out: Path) -> None:
    """A demo folder in which the models are made and have answered, and of which nothing after the rating is left."""
    data = out / "data"
    small = ("--prompts", "48", "--documents", "60", "--demonstrations", "24")
    assert main(["data", "make", "news", "--out", str(data), "--seed", "0", "--quiet", *small]) == 0
    rows = [json.loads(line) for line in (data / "prompts.rate.jsonl").read_text(encoding="utf-8").splitlines()]
    answers: list[str] = []
    for row in rows[:60]:
        meta, good = row["meta"], row["reference"]
        texts = (good, good[: len(good) // 2], "?")
        for number, text in enumerate(texts):
            told = {"id": f"{row['id']}/{number}", "prompt_id": row["id"], "prompt": row["prompt"], "completion": text}
            answers.append(
                json.dumps(told | {"finish": "stop", "model": "sft", "seed": number, "run": "r", "meta": meta})
            )
    (out / "answers.jsonl").write_text("\n".join(answers) + "\n", encoding="utf-8")
    (out / "eval").mkdir()
    write_json(out / "eval" / "summary.json", {"win_rate": 0.7})
    done = [str(one) for one in commands(Config(out=out)) if one.words[1] not in _OURS and one.words[0] != "report"]
    write_json(out / "flow.json", {"done": done, "seconds": 1.0, "peak_gib": 0.5})


class Terminal:
    """A command in a terminal of its own, in which keys can be pressed."""

    def __init__(self, *words: str) -> None:
        self._own, theirs = pty.openpty()
        call = [sys.executable, "-c", _OWN_TERMINAL, *words]
        env = os.environ | {"COLUMNS": "400"}
        self.process = subprocess.Popen(call, stdin=theirs, stdout=theirs, stderr=theirs, env=env)
        os.close(theirs)
        self.text = ""

    def press(self, key: str) -> None:
        """A key, or several; `\\x03` is Ctrl-C, `\\x04` Ctrl-D."""
        os.write(self._own, key.encode())

    def until(self, pattern: str) -> re.Match[str]:
        """Read on until the words match."""
        end = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self.text)) is None:
            assert time.monotonic() < end and self._read(), f"{pattern!r} is not in: {self.text}"
        return found

    def ended(self) -> int:
        """Wait for the end; the exit code."""
        end = time.monotonic() + PATIENCE
        while self._read():
            assert time.monotonic() < end, self.text
        os.close(self._own)
        return self.process.wait(PATIENCE)

    def _read(self) -> bool:
        """Some more of what it says; False at the end."""
        if not select.select([self._own], [], [], 0.2)[0]:
            return True
        try:
            more = os.read(self._own, 65536).decode(errors="replace")
        except OSError:  # Linux: the other side of the terminal was closed
            return False
        self.text += more.replace("\r\n", "\n")
        return bool(more)
