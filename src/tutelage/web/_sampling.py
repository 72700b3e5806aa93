"""Sampling started from the pages: `tutelage sample` in a process of its own, one for each project, one at a time.

queued ──► running ──► done (questions are asked)          the server imports no model, and is not slowed by one
   │          ├──► failed ───────┐
   └──────────┴──► cancelled ────┼──► go on (what is on the disk stays) · discard
     server ended: interrupted ──┘

What is known of a job lies in a file of its project, so a server that is started again tells what became of it. The
process gets no database and no hub; its stdin is a pipe that this server holds, and it ends when the pipe does.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import subprocess
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from tutelage.errors import DataError, TutelageError
from tutelage.store.rows import text_json
from tutelage.types import Prompt
from tutelage.web._orders import (
    LEFT,
    WAITING,
    Job,
    Order,
    RefusedError,
    TakenError,
    keep,
    last_words,
    load,
    private,
    write,
)
from tutelage.web._settings import Sampler

logger = logging.getLogger(__name__)

_FEWEST, _PARTS = 32, 10
"""Answers that are drawn at a time at the least, and parts in which progress is shown where there are more."""
_SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD", "PASSFILE", "DATABASE_URL")


class Jobs:
    """The jobs of one server.

    Args:
        done: (job, file of answers) → new questions asked; called in the thread of the jobs.
    """

    def __init__(self, sampler: Sampler, done: Callable[[Job, Path], int]) -> None:
        self.sampler, self._done = sampler, done
        self._known: dict[str, Job] = {}
        self._queue: deque[str] = deque()
        self._running: subprocess.Popen[bytes] | None = None
        self._killed: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._lock: int | None = None

    def of(self, project: str) -> Job | None:
        """The newest job of a project."""
        with self._changed:
            if project in self._known:
                return self._known[project]
            found = load(self._at(project) / "job.json")
            if found is None or not self._holds():
                return found  # another server's, as far as that one has written
            if found.state in WAITING:  # its server ended, and took it along
                found = replace(found, state="interrupted")
            self._known[project] = found
            return found

    def answered(self, project: str) -> int:
        """How many answers are on the disk."""
        folder = self._at(project)
        for name in ("answers.jsonl", "answers.jsonl.partial"):
            try:
                with (folder / name).open("rb") as file:
                    return sum(part.count(b"\n") for part in iter(lambda: file.read(1 << 20), b""))
            except OSError:
                continue
        return 0

    def start(self, project: str, order: Order, prompts: Sequence[Prompt], actor: str) -> Job | None:
        """Put an order in the queue; None where the project has one under way already.

        Raises:
            DiskError, CannotCreateError: its files cannot be written.
            TakenError: another server samples for this database.
        """
        with self._changed:
            self._take()
            found = self.of(project)
            if found and found.state in WAITING:
                return None
            folder = self._at(project)
            if "," in str(folder):
                raise DataError("the database's path holds a comma", fix="move it: a comma parts the files of `--data`")
            lines = (
                {"id": prompt.id, "prompt": text_json(prompt.content), "meta": dict(prompt.meta)} for prompt in prompts
            )
            text = "".join(json.dumps(line, ensure_ascii=False, default=str) + "\n" for line in lines)
            shutil.rmtree(folder, ignore_errors=True)
            write(folder / "prompts.jsonl", text)
            job = Job(
                id=uuid.uuid4().hex, project=project, actor=actor, order=order, state="queued", created=time.time()
            )
            return self._enqueue(job)

    def go_on(self, project: str, actor: str) -> Job | None:
        """Take up a job again that ended too early; None where there is none."""
        with self._changed:
            self._take()
            found = self.of(project)
            if found is None or found.state not in LEFT:
                return None
            again = replace(found, state="queued", actor=actor, ended=0.0, what="", fix="", signal=0)
            return self._enqueue(again)

    def cancel(self, project: str) -> bool:
        """End what is queued or under way; False where that is over. What was answered stays on the disk."""
        with self._changed:
            self._take()
            found = self.of(project)
            if found is None or found.state not in WAITING:
                return False
            if project in self._queue:
                self._queue.remove(project)
            elif self._running is None or self._running.poll() is not None:
                return False  # it has ended by itself; its answers are being made into questions
            else:
                self._killed = self._running
                self._running.kill()  # what it has on the disk is whole at any moment
                self._running.wait()
            self._keep(replace(found, state="cancelled", ended=time.time()))
            return True

    def discard(self, project: str) -> bool:
        """Forget a job that is over, with its answers; False where there is none."""
        with self._changed:
            self._take()
            found = self.of(project)
            if found is None or found.state in WAITING:
                return False
            shutil.rmtree(self._at(project), ignore_errors=True)
            del self._known[project]
            return True

    def close(self) -> None:
        """End the process that runs; its job can go on when a server is there again."""
        with self._changed:
            self._closed = True
            if self._running is not None:
                self._running.kill()
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(20)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take(self) -> None:
        if not self._holds():
            raise TakenError("elsewhere")

    def _holds(self) -> bool:
        """Whether the folder is this server's; on PostgreSQL there may be several. The system frees it at their end."""
        if self._lock is None:
            self.sampler.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.sampler.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                return False
            self._lock = lock
        return True

    def _at(self, project: str) -> Path:
        return self.sampler.folder / sha256(project.encode()).hexdigest()[:16]

    def _enqueue(self, job: Job) -> Job:
        self._keep(job)
        self._queue.append(job.project)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="sampling", daemon=True)
            self._thread.start()
        self._changed.notify_all()
        return job

    def _keep(self, job: Job) -> None:
        self._known[job.project] = job
        keep(job, self._at(job.project) / "job.json")

    def _work(self) -> None:
        """The thread: one job after the other."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closed)
                if self._closed:
                    return
                project = self._queue.popleft()
                job = self.of(project)
                assert job is not None, "what is in the queue is known"
                try:
                    self._running = self._begin(job)
                except OSError as error:
                    self._end(replace(job, state="failed", what=f"cannot start: {error}"))
                    continue
            code = self._running.wait()
            self._over(project, code)

    def _begin(self, job: Job) -> subprocess.Popen[bytes]:
        folder, order = self._at(job.project), job.order
        flags = {
            "--model": self.sampler.models / order.model,
            "--data": folder / "prompts.jsonl",
            "--out": folder / "answers.jsonl",
            "--n": order.answers,
            "--max-new-tokens": order.max_new_tokens,
            "--temperature": order.temperature,
            "--seed": order.seed,
            "--in-flight": min(256, max(_FEWEST, order.wanted // _PARTS)),
        }
        words = [str(word) for flag in flags.items() for word in flag]
        told = {name: value for name, value in os.environ.items() if not _opens_something(name)}
        self._keep(replace(job, state="running", started=time.time(), kept=self.answered(job.project)))
        with os.fdopen(private(folder / "log"), "wb") as log:
            return subprocess.Popen(
                [*self.sampler.command, *words, "--json"],
                stdin=subprocess.PIPE,  # never written to: it ends when this server does
                stdout=log,
                stderr=log,
                env=told | {"HF_HUB_OFFLINE": "1"},
                start_new_session=True,  # Ctrl-C in the terminal is the server's
            )

    def _over(self, project: str, code: int) -> None:
        """The process has ended: ask about its answers, or say why there are none."""
        with self._changed:
            running, job = self._running, self.of(project)
            assert running is not None and running.stdin is not None and job is not None
            running.stdin.close()
            self._running = None
            if self._closed or running is self._killed:
                return
        folder = self._at(project)
        if code:
            what, fix = last_words(folder)
            self._end(replace(job, state="failed", what=what, fix=fix, signal=max(0, -code)))
            return
        try:
            asked = self._done(job, folder / "answers.jsonl")
        except RefusedError as error:
            self._end(replace(job, state="failed", what=error.key))
        except TutelageError as error:
            self._end(replace(job, state="failed", what=error.what, fix=error.fix or ""))
        except Exception:  # the queue goes on whatever one job meets
            logger.exception("sampling for %s", project)
            self._end(replace(job, state="failed", what="the server made a mistake; its log says more"))
        else:
            with self._changed:  # the next order's files have the same names
                self._end(replace(job, state="done", questions=asked))
                for name in ("prompts.jsonl", "answers.jsonl", "log"):
                    (folder / name).unlink(missing_ok=True)

    def _end(self, job: Job) -> None:
        with self._changed:
            try:
                self._keep(replace(job, ended=time.time()))
            except TutelageError as error:  # said on the page while this server runs; the next one says "interrupted"
                logger.warning("sampling for %s: %s", job.project, error.what)


def _opens_something(name: str) -> bool:
    """Whether a variable may hold what lets into a database or a service: none of that is the process's business."""
    return name.startswith("PG") or name.upper().endswith(_SECRET)
