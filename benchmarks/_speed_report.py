"""From rounds to rows: ratios pair by pair, how far the floor is, the machine, and the table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _speed_floor import needed
from _speed_jobs import Job, Model
from _speed_side import Started

HERE = Path(__file__).parent


class Work:
    """What the rows of each round are, in tokens."""

    def __init__(self, job: Job, model: Model, ordered: list[dict[str, str]], sizes: list[tuple[int, ...]]) -> None:
        self.job, self.model = job, model
        self.sizes = [sizes[int(row["id"].rpartition("-")[2])] for row in ordered]

    def rows(self, index: int) -> list[tuple[int, ...]]:
        """The sizes of round `index`."""
        first = (self.job.warm + index * self.job.steps) * self.job.batch
        return self.sizes[first : first + self.job.steps * self.job.batch]

    def tokens(self, index: int, found: dict[str, Any]) -> float:
        """Real tokens: read (a pair's prompt twice), or, where answers are sampled, written."""
        rows = self.rows(index)
        if "answers" in found:
            return sum(len(row) - 1 - row[0] for row in found["answers"])
        if self.job.online:
            return statistics.fmean(found["answer/length"]) * len(rows) * self.job.answers
        if "tokens" in found:
            return found["tokens"]
        twice = self.job.data == "pairs"
        return sum(sum(size) + (size[0] if twice else 0) for size in rows)

    def floor(self, index: int, found: dict[str, Any], peaks: dict[str, float]) -> dict[str, float]:
        """FLOPs, bytes and the seconds that the measured peaks allow for them."""
        rows = self.rows(index)
        answers = None
        if "answers" in found:
            answers = [len(row) - 1 - row[0] for row in found["answers"]]
        elif self.job.online:
            answers = [round(statistics.fmean(found["answer/length"]))] * (len(rows) * self.job.answers)
        least = needed(self.job, self.model, rows, answers)
        seconds = max(least["flops"] / peaks["bfloat16"], least["bytes"] / peaks["read"])
        return least | {"seconds": seconds, "seconds_float32": least["flops"] / peaks["float32"]}


def machine(asked: argparse.Namespace) -> dict[str, Any]:
    """What it was measured on, with measured peaks."""
    from tutelage import __version__

    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
    flags = next((line.partition(": ")[2].split() for line in lines if line.startswith("flags")), [])
    return {
        "cpu": name, "features": [flag for flag in ("amx_bf16", "avx512_bf16", "avx512_fp16") if flag in flags],
        "cores": os.cpu_count(), "threads": asked.threads, "device": asked.device, "peaks": measured_peaks(asked),
        "python": platform.python_version(), "date": time.strftime("%Y-%m-%d %H:%M"), "note": asked.note,
        "versions": {"tutelage": __version__} | {name: version(name) for name in ("torch", "transformers")},
    }  # fmt: skip


def measured_peaks(asked: argparse.Namespace) -> dict[str, float]:
    """In a process of its own, with the threads that the sides get."""
    command = [sys.executable, str(HERE / "_speed_floor.py"), "--threads", str(asked.threads), "--device", asked.device]
    surroundings = os.environ | {"THP_MEM_ALLOC_ENABLE": "1"}  # large pages: the hardware at its best
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=surroundings).stdout)


def pairs_of(work: Work, name: str, sides: list[Started], peaks: dict[str, float]) -> list[dict[str, Any]]:
    """One row for each of our settings and each peer that came through, and for our settings among themselves."""
    ours = [side for side in sides if side.side.peer == "tutelage"]
    figures = {id(side): _figures(work, side, peaks) for side in sides}
    rows: list[dict[str, Any]] = []
    for place, our in enumerate(ours):
        for side in [*(side for side in sides if side not in ours), *ours[place + 1 :]]:
            rows.append(
                {
                    "job": work.job.name, "peer": side.side.peer, "setting": side.side.setting, "model": name,
                    "ours": our.side.setting, "ratio": _ratio(work, our, side, "wall"),
                    "ratio_cpu": _ratio(work, our, side, "cpu"),
                    "memory": round(figures[id(our)]["peak_gib"] / figures[id(side)]["peak_gib"], 3),
                    "tutelage": figures[id(our)], "theirs": figures[id(side)],
                }
            )  # fmt: skip
    return rows


def _ratio(work: Work, our: Started, side: Started, clock: str) -> dict[str, float]:
    """Real tokens per second, ours over theirs, round by round."""
    return _spread(
        [
            (work.tokens(index, ours) / ours[clock]) / (work.tokens(index, theirs) / theirs[clock])
            for index, (ours, theirs) in enumerate(zip(our.rounds, side.rounds, strict=True))
        ]
    )


def _spread(values: list[float]) -> dict[str, float]:
    found = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def _figures(work: Work, side: Started, peaks: dict[str, float]) -> dict[str, Any]:
    """What one side did."""
    job, rounds = work.job, side.rounds
    floors = [work.floor(index, one, peaks) for index, one in enumerate(rounds)]
    found: dict[str, Any] = {
        "samples_per_s": _spread([job.steps * job.batch * job.answers / one["wall"] for one in rounds]),
        "tokens_per_s": _spread([work.tokens(index, one) / one["wall"] for index, one in enumerate(rounds)]),
        "wall_s": _spread([one["wall"] for one in rounds]),
        "cpu_s": _spread([one["cpu"] for one in rounds]),
        "peak_gib": round(max(one["peak_gib"] for one in rounds), 2),
        "page_faults": round(statistics.median(one["faults"] for one in rounds)),
        "load": _spread([one["load"] for one in rounds]),
        "flops": _spread([floor["flops"] for floor in floors]),
        "bytes": _spread([floor["bytes"] for floor in floors]),
        "of_floor": _spread([floor["seconds"] / one["wall"] for floor, one in zip(floors, rounds, strict=True)]),
        "of_floor_float32": _spread(
            [floor["seconds_float32"] / one["wall"] for floor, one in zip(floors, rounds, strict=True)]
        ),
        "ready_s": round(side.ready["ready"], 1),
        "flags": side.side.flags | ({"tcmalloc": True, "large_pages": True} if side.side.tcmalloc else {}),
        "weights": rounds[0].get("weights", "")[:16],
    }
    if rounds[0].get("missing"):
        found["flags_this_tutelage_lacks"] = rounds[0]["missing"]
    if "split" in rounds[0]:
        found["split_s"] = {name: _spread([one["split"][name] for one in rounds]) for name in rounds[0]["split"]}
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: what was the same work, then what was not."""
    lines = [
        "| job | model | peer | setting | ours | ratio min / median / max | by CPU | tokens/s ours : theirs "
        "| of the floor | GiB | same work |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio, ours, theirs = row["ratio"], row["tutelage"], row["theirs"]
        lines.append(
            f"| {row['job']} | {row['model']} | {row['peer']} | {row['setting']} | {row['ours']} "
            f"| {ratio['min']:.2f} / **{ratio['median']:.2f}** / {ratio['max']:.2f} "
            f"| {row['ratio_cpu']['median']:.2f} "
            f"| {ours['tokens_per_s']['median']:.4g} : {theirs['tokens_per_s']['median']:.4g} "
            f"| {ours['of_floor']['median']:.0%} : {theirs['of_floor']['median']:.0%} "
            f"| {ours['peak_gib']:.1f} : {theirs['peak_gib']:.1f} | {row['same_work']} |"
        )
    return "\n".join(lines)
