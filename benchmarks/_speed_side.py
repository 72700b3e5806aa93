"""One side of speed.py as the runner sees it: a process that waits on a pipe."""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from _speed_peers import Side, python_of, tcmalloc
from _speed_pipe import PIPES

HERE = Path(__file__).parent
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
PATIENCE = 900
"""seconds that a side may take to start, or for one round"""


@dataclass
class Started:
    """A side whose model is loaded and warm."""

    side: Side
    process: subprocess.Popen[bytes]
    asks: IO[str]
    answers: IO[str]
    log: Path
    ready: dict[str, Any] = field(default_factory=dict)
    rounds: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def start(cls, side: Side, told: dict[str, Any], asked: argparse.Namespace, folder: Path) -> Started | None:
        """Start it and wait until it is warm; None, said loudly, where it cannot run."""
        given = {name: getattr(asked, name) for name in ("trl116", "trl19", "vllm")}
        try:
            python = python_of(side.environment, asked.peers_dir.resolve(), given)
        except subprocess.CalledProcessError as error:
            print(f"LEFT OUT {side.name}: its environment could not be made ({error})", flush=True)
            return None
        own = folder / "".join(letter if letter.isalnum() else "-" for letter in side.name)
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir(parents=True)
        told = told | {"setting": side.setting, "flags": side.flags, "out": str(own / "run")}
        (own / "job.json").write_text(json.dumps(told), encoding="utf-8")
        started = cls._open(side, [str(python), str(HERE / side.script), str(own / "job.json")], own, asked.threads)
        try:
            started.ready = started._heard()
        except RuntimeError as error:
            print(f"LEFT OUT {error}", flush=True)
            return None
        print(f"ready after {started.ready['ready']:.0f}s: {side.name}", flush=True)
        return started

    @classmethod
    def _open(cls, side: Side, command: list[str], own: Path, threads: int) -> Started:
        asks_read, asks_write = os.pipe()
        answers_read, answers_write = os.pipe()
        surroundings = os.environ | _OFFLINE | {PIPES: f"{asks_read},{answers_write}"}
        surroundings |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        if side.environment:
            surroundings.pop("PYTHONPATH", None)
        if side.tcmalloc and tcmalloc():
            surroundings["LD_PRELOAD"] = str(tcmalloc())
        if side.tcmalloc:
            surroundings["THP_MEM_ALLOC_ENABLE"] = "1"  # large pages, which PyTorch hands out when told so
        with (own / "log.txt").open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=surroundings, pass_fds=(asks_read, answers_write)
            )
        os.close(asks_read)
        os.close(answers_write)
        return cls(side, process, os.fdopen(asks_write, "w"), os.fdopen(answers_read, "r"), own / "log.txt")

    def round(self, index: int) -> dict[str, Any]:
        """Do one round and answer what it took.

        Raises:
            RuntimeError: the process has ended.
        """
        load = os.getloadavg()[0]
        try:
            self.asks.write(json.dumps({"round": index}) + "\n")
            self.asks.flush()
        except BrokenPipeError:
            raise RuntimeError(f"{self.side.name}: it ended between two rounds; see {self.log}") from None
        found = self._heard() | {"load": load}
        self.rounds.append(found)
        return found

    def _heard(self) -> dict[str, Any]:
        if not select.select([self.answers], [], [], PATIENCE)[0]:
            self.process.kill()
            raise RuntimeError(f"{self.side.name}: not a word for {PATIENCE} seconds; see {self.log}")
        line = self.answers.readline()
        if not line:
            code = self.process.wait()
            tail = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise RuntimeError(f"{self.side.name}: it ended with {code} ({''.join(tail)[:200]}); see {self.log}")
        return json.loads(line)

    def end(self) -> None:
        """Let it go."""
        for pipe in (self.asks, self.answers):
            try:
                pipe.close()
            except BrokenPipeError:
                continue
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
