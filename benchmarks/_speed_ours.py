"""Our side of speed.py: the real algorithm, toolbox, optimiser, loop and run folder, stopped between rounds.

python benchmarks/_speed_ours.py JOB.json     (started by speed.py, which holds the other end of the pipe)
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from _speed_jobs import JOBS, Job, rule
from _speed_pipe import Gate
from _speed_work import sha256

ALGORITHM = {"dpo-precomputed": "dpo"}
SETTINGS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "best": {"dtype": "bfloat16", "engine": "auto"},
    "plain": {"engine": "plain", "dtype": "float32"},
}
"""Ours, by name: the one place for flags (`best` gets tcmalloc besides). A flag that does not exist is left out; the
row names it."""


def main() -> int:
    """Be one side until the pipe closes."""
    if len(sys.argv) != 2:
        print(__doc__)
        return 0
    from tutelage.ops.allocator import collect_seldom, prepare_for_torch

    prepare_for_torch()  # as the command does
    collect_seldom()
    import torch

    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(asked["threads"])
    job = dataclasses.replace(JOBS[asked["job"]], **asked["changes"])
    if job.name.startswith("sample"):
        _sample(asked, job)
    else:
        _train(asked, job)
    return 0


class _Clock:
    """Seconds from one event of the start to the next; the first is the start of the process."""

    def __init__(self) -> None:
        self.last = time.clock_gettime(time.CLOCK_BOOTTIME)
        ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
        self.seconds = {"imports": self.last - ticks / os.sysconf("SC_CLK_TCK")}

    def note(self, event: str) -> None:
        """What happened since the last event was this."""
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        self.seconds[event], self.last = now - self.last, now


def _train(asked: dict[str, Any], job: Job) -> None:
    from tutelage import registry
    from tutelage.algorithms import Algorithm
    from tutelage.toolbox import Given, Toolbox
    from tutelage.train.loop import train
    from tutelage.train.optim import Optimizer

    name = ALGORITHM.get(job.name, job.name)
    kind: Any = registry.find("algorithms", name, Algorithm)
    config, missing = _config(kind.Config, asked, job)
    given = Given()
    if job.name in ("rloo", "grpo"):
        from tutelage.rewards.function import Function

        given = Given(reward=Function(rule))
    clock = _Clock()
    gate = Gate(job.warm, job.steps)
    run = _gated(gate, clock)(
        Path(config.out), command=name, config={}, origins={}, steps=asked["total"], save_every=10**9, quiet=True
    )
    toolbox = Toolbox(config, Path(config.out), lambda _: None, given)
    with run:
        algorithm = kind(config, toolbox)
        algorithm.modules()  # loads what is lazy
        clock.note("load")
        run.facts |= {"missing": missing, "weights": sha256(Path(config.model))}
        train(algorithm, Optimizer(algorithm, config, run.total), run)


def _config(kind: Any, asked: dict[str, Any], job: Job) -> tuple[Any, list[str]]:
    """The configuration, and the wished flags that do not exist here."""
    known = {each.name for each in dataclasses.fields(kind)}
    wished = SETTINGS[asked["setting"]] | ({"precompute_reference": True} if job.name == "dpo-precomputed" else {})
    start = asked["scorer"] if job.name == "reward" else asked["model"]
    given = job.settings | {"model": start, "data": asked["ours"], "out": asked["out"], "batch_size": job.batch}
    given |= {"device": asked["device"], "adam_eps": 1e-8, "eval_every": 0}
    if job.name == "ppo":
        given |= {"reward": asked["scorer"], "critic_init": asked["scorer"], "score_clip": 1e6}
    if job.name == "reward":
        given |= {"report_rows": 0}
    missing = [name for name in wished if name not in known]
    return kind(**{name: value for name, value in (given | wished).items() if name in known}), missing


def _gated(gate: Gate, clock: _Clock) -> Any:
    from tutelage.train.run import Run

    class Gated(Run):
        """A real run that waits between rounds."""

        facts: dict[str, Any] = {}
        seen: list[dict[str, float]] = []

        def steps(self) -> Iterator[int]:
            for step in super().steps():
                gate.boundary(step, self._facts)
                yield step

        def finish(self, step: int, algorithm: Any, optimizer: Any, metrics: Mapping[str, float]) -> None:
            self.seen.append(dict(metrics))
            super().finish(step, algorithm, optimizer, metrics)
            if step < 2:
                clock.note(("first_step", "second_step")[step])
                self.facts["startup"] = clock.seconds

        def _facts(self) -> dict[str, Any]:
            rows, self.seen = self.seen, []
            split = {name: sum(row[f"time/{name}"] for row in rows) for name in ("collect", "learn")}
            found = {"loss": [row["loss"] for row in rows], "split": split} | self.facts
            kept = ("reward/margin", "reward/mean", "answer/length", "policy/stop_rate", "policy/entropy")
            return found | {name: [row[name] for row in rows] for name in kept if name in rows[0]}

    return Gated


def _sample(asked: dict[str, Any], job: Job) -> None:
    """The sampler that an online algorithm would be handed."""
    from tutelage import registry
    from tutelage.algorithms import Algorithm
    from tutelage.toolbox import Toolbox
    from tutelage.types import Prompt

    kind: Any = registry.find("algorithms", "rloo", Algorithm)
    config, missing = _config(kind.Config, asked, job)
    toolbox = Toolbox(config, Path(config.out), lambda _: None)
    policy, sampler = toolbox.policy, toolbox.sampler
    lines = Path(asked["theirs"]).read_text(encoding="utf-8").splitlines()
    prompts = [Prompt(row["id"], row["prompt"]) for row in map(json.loads, lines)]
    gate = Gate(job.warm, job.steps)
    weights = sha256(Path(asked["model"]))
    rows: list[Any] = []
    for step in range(asked["total"]):
        gate.boundary(step, lambda: _drawn(rows) | {"weights": weights, "missing": missing})
        asked_now = prompts[step * job.batch : (step + 1) * job.batch]
        rows.append(sampler.sample(policy, asked_now, job.answers, step))


def _drawn(rows: list[Any]) -> dict[str, Any]:
    """Token rows of the answers since the last call, as [prompt length, tokens …]."""
    found: list[list[int]] = []
    for rollouts in rows:
        tokens = rollouts.batch.tokens.split(rollouts.batch.lengths.tolist())
        masks = rollouts.batch.mask.split(rollouts.batch.lengths.tolist())
        found += [[int((~mask).sum()), *ids.tolist()] for ids, mask in zip(tokens, masks, strict=True)]
    rows.clear()
    return {"answers": found}


if __name__ == "__main__":
    sys.exit(main())
