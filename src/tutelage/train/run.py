"""A run folder: begun, killed and gone on with by the same command, finished once.

with Run(folder, …) as run:            lock · config.yaml · run.json
    if run.done: return                "already complete"
    run.resume(algorithm, optimizer)   newest checkpoint that verifies, journals cut back to it
    run.begin(metrics)                 step 0, on a fresh run only
    for step in run.steps():           from the first step that is not done
        …
        run.finish(step, algorithm, optimizer, metrics)   journal · alarms · evaluation · checkpoint · stop rules
    run.complete(algorithm)            model/ · lineage.json · done.json
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from tutelage.algorithms import WatchRule
from tutelage.errors import DataError, DivergedError, TutelageError
from tutelage.train import checkpoint, durable, lineage, rng
from tutelage.train import folder as folders
from tutelage.train.checkpoint import Checkpoint, Learner, Updater
from tutelage.train.guard import Guard
from tutelage.train.health import Alarm, Health
from tutelage.train.interrupt import Interrupt
from tutelage.train.lock import Lock
from tutelage.train.progress import Reporter, counted, duration
from tutelage.train.record import Record


class Teachable(Learner, Protocol):
    """What of an algorithm a run asks for."""

    def texts(self) -> list[dict[str, Any]]:
        """A few samples of the last collect."""
        ...

    def stop(self) -> str | None:
        """A reason to stop now."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Held-out metrics."""
        ...

    def export(self, folder: Path) -> None:
        """Write a plain Hugging Face folder."""
        ...


class Run:
    """One training run and its folder.

    Attributes:
        done: the folder holds a complete run: nothing is left to do.
        fresh: nothing was resumed: the checks and the evaluation of step 0 are due (see `begin`).
        total: optimizer steps in all (known inside `with`).
        seconds: wall time so far, that of earlier starts up to their last checkpoint included.
    """

    def __init__(
        self,
        folder: Path,
        *,
        command: str,
        config: Mapping[str, Any],
        origins: Mapping[str, str],
        steps: int | Callable[[], int],
        save_every: int = 0,
        keep: int = 2,
        log_every: int = 1,
        eval_every: int = 0,
        max_minutes: float = 0,
        quiet: bool = False,
        json_lines: bool = False,
        parents: Sequence[str] = (),
        watch: WatchRule | None = None,
    ) -> None:
        """
        Args:
            config: resolved values by key; origins: where each came from, by dotted key.
            steps: optimizer steps in all; a function is asked once the folder is locked, so it may write into it.
            save_every, log_every, eval_every: beats in steps; 0 = every tenth of the run, every step, at the end only.
                The last step is always saved, logged and evaluated.
            keep: checkpoints to keep, at least 2.
            max_minutes: stop after so much time; 0 = no limit.
            parents: run or model folders this run starts from and that `config` does not name.
            watch: what to do when a held-out score that is not trained on parts from the reward (`guard`).
        """
        self.folder, self.command, self.config, self.origins = Path(folder), command, dict(config), dict(origins)
        self._steps, self.total, self.keep, self.parents = steps, 0, keep, tuple(parents)
        self.save_every = save_every
        self.log_every, self.eval_every, self.max_minutes = max(1, log_every), eval_every, max_minutes
        self.done, self.fresh = False, True
        self.checkpoints = self.folder / "checkpoints"
        self.health = Health(1)
        self.guard = Guard(watch or WatchRule())
        self.reporter = Reporter(total=0, title=command, quiet=quiet, json_lines=json_lines)
        self._lock = Lock(self.folder / "run.lock")
        self._interrupt = Interrupt(self._heard)
        self._voices: Record | None = None
        self._finished = 0
        self._earlier = 0.0
        self._began = time.monotonic()
        self._stopped: str | None = None
        self._rng: dict[str, Any] | None = None
        self._identity: dict[str, Any] = {}

    def __enter__(self) -> Self:
        folders.make(self.folder)
        self._lock.acquire()
        try:
            durable.sweep(self.folder)
            durable.sweep(self.checkpoints)
            folders.forget_failed_start(self.folder)
            self._plan(self._steps() if callable(self._steps) else self._steps)
            self._identity = folders.claim(
                self.folder,
                command=self.command,
                config=self.config,
                origins=self.origins,
                steps=self.total,
                parents=self.parents,
            )
            self.done = folders.completed(self.folder, steps=self.total, max_minutes=self.max_minutes)
            self._voices = Record(self.folder, self.reporter)
        except BaseException:
            self._close()
            raise
        self._interrupt.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            planned = isinstance(error, TutelageError) and not isinstance(error, DivergedError)
            if isinstance(error, Exception) and not planned:
                with suppress(TutelageError):  # a full disk must not hide the first error
                    error.add_note(f"details: {self._record.crash(error)}")
        finally:
            self._interrupt.remove()
            self._close()
        if kind is None:
            self._interrupt.leave()

    @property
    def seconds(self) -> float:
        return self._earlier + time.monotonic() - self._began

    def leave(self) -> None:
        """In the middle of a step that waits (for people): end if a signal asked for it; the step is done again.

        Raises:
            SystemExit, KeyboardInterrupt: asked to stop.
        """
        self._interrupt.leave()

    def say(self, text: str) -> None:
        """One line to the person who watches."""
        self.reporter.say(text)

    def warn(self, name: str, message: str) -> None:
        """One line to the person who watches, even when quiet, and into `metrics.jsonl`."""
        self._record.event(self._finished, self.seconds, "warning", name, message)

    def resume(self, algorithm: Learner, optimizer: Updater) -> None:
        """Go on from the newest checkpoint that verifies; from the start when there is none.

        Raises:
            DataError: there are checkpoints, but none can be used.
        """
        found, damaged = checkpoint.newest(self.checkpoints)
        if found is None and damaged:
            reasons = "; ".join(f"{damage.path.name}: {damage.reason}" for damage in damaged)
            fix = f"restore a backup, or remove {self.checkpoints} to start over"
            raise DataError(f"no checkpoint can be used: {reasons}", where=str(self.checkpoints), fix=fix)
        with durable.guarded(self.folder):
            (self.folder / "done.json").unlink(missing_ok=True)
        state: dict[str, Any] = {"metrics_bytes": 0, "samples_bytes": 0}
        if found:
            state = checkpoint.load(found, algorithm, optimizer)
            self._take_over(found, state)
        self._record.rewind(state["metrics_bytes"], state["samples_bytes"], self._finished)
        for damage in damaged:
            self.warn("damaged-checkpoint", f"{damage.path.name} is damaged: {damage.reason}; the one before is used")
            checkpoint.set_aside(damage)
        if found:
            self._compare(found)

    def begin(self, metrics: Mapping[str, float]) -> None:
        """Write the line of step 0 (preflight, evaluation before training); nothing on a resumed run."""
        if self.fresh and metrics:
            self._record.numbers(0, self.seconds, metrics)
            self._watch(0, metrics, self.guard.observe(0, metrics))

    def save_start(self, algorithm: Learner, optimizer: Updater) -> None:
        """Before the first step: keep the model as it came, where the run may end by going back to it."""
        if self.fresh and self.guard.rolls_back and not self._finished:
            rng.seed(int(self.config.get("seed", 0)))
            self.save(algorithm, optimizer)

    def steps(self) -> Iterator[int]:
        """The steps that are not done yet, counted from 0.

        Raises:
            SystemExit, KeyboardInterrupt: asked to stop by a signal; everything done is saved.
        """
        self.reporter.start(self._finished)
        if self._rng is not None:
            rng.restore(self._rng)
        else:
            rng.seed(int(self.config.get("seed", 0)))
        for step in range(self._finished, self.total):
            self._interrupt.leave()
            if self._stopped:
                return
            yield step
            if self._finished != step + 1:
                raise RuntimeError(f"run.finish was not called for step {step}")

    def finish(self, step: int, algorithm: Teachable, optimizer: Updater, metrics: Mapping[str, float]) -> None:
        """Close one step: write it down, raise alarms, evaluate, save and stop when due.

        Args:
            metrics: numbers by path-like names: `loss`, `policy/kl`, `reward/mean`, `time/collect` …

        Raises:
            DivergedError: the loss is not finite; nothing of this step is saved.
        """
        done, row = step + 1, dict(metrics)
        _refuse_poison(done, row)
        reason = algorithm.stop() or self._out_of_time()
        last = done == self.total or reason is not None
        evaluated = last or _on_beat(done, self.eval_every) or self.guard.due(done)
        if evaluated:
            row |= _evaluated(algorithm)
        alarm = self.guard.observe(done, row, ends=last)
        self._stopped = reason or self.guard.verdict
        ends = last or self._stopped is not None
        if ends or evaluated or _on_beat(done, self.log_every):
            self._record.numbers(done, self.seconds, row)
            self._record.texts(done, algorithm.texts())
        self._watch(done, row, alarm)
        self.reporter.update(done, row)
        self._finished = done
        best = done in self.guard.spared
        if ends or best or _on_beat(done, self.save_every) or self._interrupt.asked:
            self.save(algorithm, optimizer)
        if not ends:
            self._interrupt.leave()

    def save(self, algorithm: Learner, optimizer: Updater) -> None:
        """Write a checkpoint of the steps done so far, then let the oldest go.

        Raises:
            DiskError: no room, or the folder is no longer the one that was begun.
        """
        self._lock.confirm()
        voices = self._record
        voices.metrics.sync()
        voices.samples.sync()
        state = {
            "seconds": self.seconds,
            "stopped": self._stopped,
            # what stands there before the first step is written again by whoever starts from it
            "metrics_bytes": voices.metrics.size() if self._finished else 0,
            "samples_bytes": voices.samples.size() if self._finished else 0,
            "health": self.health.state(),
            "guard": self.guard.state(),
            "rng": rng.capture(),
        }
        facts = lineage.facts(self.command, self.config)
        checkpoint.save(self.checkpoints, self._finished, algorithm, optimizer, run=state, facts=facts)
        checkpoint.prune(self.checkpoints, self.keep, self.guard.spared)

    def complete(self, algorithm: Teachable) -> Path:
        """Export `model/`, write where it comes from, and mark the run done; answers the model's folder."""
        self._lock.confirm()
        exported = self._roll_back(algorithm)
        draft, target = self.folder / ".tmp-model", self.folder / "model"
        with durable.guarded(target):
            draft.mkdir()
            algorithm.export(draft)
            durable.sync_tree(draft)
            durable.swap_folder(draft, target)
        model = {path.name: durable.sha256(path) for path in sorted(target.iterdir()) if path.is_file()}
        raised = self.health.raised
        ending = {
            "steps": self._finished,
            "reason": self._stopped or "all steps done",
            "seconds": round(self.seconds, 1),
            "model_step": exported,
            "alarms": [{"name": alarm.name, "step": alarm.step, "message": alarm.message} for alarm in raised],
        }
        durable.write_json(self.folder / "lineage.json", lineage.family(self._identity, model=model, **ending))
        mark = {**ending, "planned": self.total, "max_minutes": self.max_minutes}
        durable.write_json(self.folder / "done.json", mark)
        self.done = True
        self.reporter.close()
        done = f"{counted(self._finished, 'step')} in {duration(self.seconds)} ({ending['reason']})"
        self.say(f"{self.command}: {done}, {target}")
        for alarm in raised:
            self.reporter.warn(f"step {alarm.step}: {alarm.message}; {alarm.advice}")
        return target

    @property
    def _record(self) -> Record:
        if self._voices is None:
            raise RuntimeError("a Run is used inside `with Run(…) as run:`")
        return self._voices

    def _plan(self, steps: int) -> None:
        self.total = steps
        self.save_every = self.save_every or max(1, math.ceil(steps / 10))
        self.health = Health(steps)
        self.reporter.total = steps

    def _watch(self, done: int, metrics: Mapping[str, float], found: Alarm | None = None) -> None:
        for alarm in [*self.health.check(done, metrics), *(self.health.add(found) if found else [])]:
            self._record.alarm(alarm, self.seconds)

    def _roll_back(self, algorithm: Teachable) -> int:
        """Under `rollback`, put back the weights of the best step; answers the step whose weights are exported."""
        best = self.guard.best
        if not self.guard.rolls_back or best is None or best.step == self._finished:
            return self._finished
        found = checkpoint.verify(checkpoint.folder_of(self.checkpoints, best.step))
        if not isinstance(found, Checkpoint):
            self.warn("rollback", f"the best step was {best.step}, but it cannot be put back: {found.reason}")
            return self._finished
        checkpoint.load_weights(found, algorithm)
        what = f"model/ is that of step {best.step}, the best by the watched score ({best.watched:.3f})"
        self.warn("rollback", what)  # into metrics.jsonl, and so into the report
        return best.step

    def _take_over(self, found: Checkpoint, state: dict[str, Any]) -> None:
        self._finished, self.fresh = found.step, found.step == 0
        self._earlier, self._rng = state["seconds"], state["rng"]
        self.health.restore(state["health"])
        if "guard" in state:
            self.guard.restore(state["guard"])
        # a run that was stopped stays stopped, unless it is now asked for more than it had then
        self._stopped = state["stopped"] if not self._asked_for_more(state) else None
        if self._stopped is None and self._finished < self.total:
            self.guard.reopen()

    def _asked_for_more(self, state: dict[str, Any]) -> bool:
        return str(state["stopped"]).startswith(folders.TIME_LIMIT) and self._out_of_time() is None

    def _compare(self, found: Checkpoint) -> None:
        now = lineage.facts(self.command, self.config)
        differing = [key for key in ("threads", "versions") if found.facts.get(key) != now[key]]
        if differing:
            what = " and ".join(differing)
            self.warn("other-machine", f"{what} changed since the checkpoint: the last bits may differ")
        self.say(f"goes on after step {self._finished} of {self.total}")

    def _out_of_time(self) -> str | None:
        over = self.max_minutes > 0 and self.seconds >= self.max_minutes * 60
        return f"{folders.TIME_LIMIT} of {self.max_minutes:g} minutes reached" if over else None

    def _heard(self, name: str) -> None:
        self.reporter.shout(f"{name}: finishing this step and saving; Ctrl-C again ends at once")

    def _close(self) -> None:
        if self._voices:
            self._voices.close()
        self._lock.release()


def _evaluated(algorithm: Teachable) -> dict[str, float]:
    with rng.untouched():  # how often it is looked at must not change what is learned
        return algorithm.evaluate()


def _on_beat(done: int, every: int) -> bool:
    return every > 0 and done % every == 0


def _refuse_poison(done: int, row: Mapping[str, float]) -> None:
    for name, value in row.items():
        if name.split("/")[0] in ("loss", "grad_norm") and not math.isfinite(value):
            what = f"{name} is {value} at step {done}"
            raise DivergedError(what, fix="lower --learning-rate; the last checkpoint before it is intact")
