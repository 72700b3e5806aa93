"""From rounds to rows: ratios pair by pair, whether the work was the same, how far the floor is, and the table."""

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
_LOSS_SHARE = 0.02
"""How far the loss of a round may differ, as a share: bf16 against float32, and rows in another order"""
_STANDARD_ERRORS = 4.0
"""How far mean lengths and log-probabilities of sampled answers may differ"""


def machine(asked: argparse.Namespace) -> dict[str, Any]:
    """What it was measured on, with measured peaks."""
    from tutelage import __version__

    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
    flags = next((line.partition(": ")[2].split() for line in lines if line.startswith("flags")), [])
    command = [sys.executable, str(HERE / "_speed_floor.py"), "--threads", str(asked.threads), "--device", asked.device]
    peaks = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {
        "cpu": name, "features": [flag for flag in ("amx_bf16", "avx512_bf16", "avx512_fp16") if flag in flags],
        "cores": os.cpu_count(), "threads": asked.threads, "device": asked.device, "peaks": peaks,
        "python": platform.python_version(), "date": time.strftime("%Y-%m-%d %H:%M"), "note": asked.note,
        "versions": {"tutelage": __version__} | {name: version(name) for name in ("torch", "transformers")},
    }  # fmt: skip


def pairs_of(
    job: Job, model: Model, name: str, sides: list[Started], ordered: list[Any], sizes: list[Any], asked: Any
) -> list[dict[str, Any]]:
    """One row for each of our settings and each peer that came through."""
    ours = [side for side in sides if side.side.peer == "tutelage"]
    figures = {id(side): _figures(job, model, side, asked) for side in sides}
    rows: list[dict[str, Any]] = []
    for our in ours:
        for side in sides:
            if side is our or side.side.peer == "tutelage":
                continue
            ratio = _ratio(job, our, side)
            rows.append(
                {
                    "job": job.name, "peer": side.side.peer, "setting": side.side.setting, "model": name,
                    "ours": our.side.setting, "ratio": ratio,
                    "tutelage": figures[id(our)], "theirs": figures[id(side)],
                }
            )  # fmt: skip
    return rows


def _ratio(job: Job, our: Started, side: Started) -> dict[str, float]:
    each = [_rate(job, ours) / _rate(job, theirs) for ours, theirs in zip(our.rounds, side.rounds, strict=True)]
    cpu = [
        _rate(job, ours, "cpu") / _rate(job, theirs, "cpu")
        for ours, theirs in zip(our.rounds, side.rounds, strict=True)
    ]
    return _spread(each) | {"cpu_median": round(statistics.median(cpu), 3)}


def _rate(job: Job, found: dict[str, Any], clock: str = "wall") -> float:
    """Work per second: rows, or sampled tokens where that is the job."""
    if "answers" in found:
        return sum(len(row) - 1 - row[0] for row in found["answers"]) / found[clock]
    return job.steps * job.batch * job.answers / found[clock]


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "min": round(min(values), 3), "median": round(statistics.median(values), 3), "max": round(max(values), 3)
    }  # fmt: skip


def _figures(job: Job, model: Model, side: Started, asked: argparse.Namespace) -> dict[str, Any]:
    """What one side did."""
    rounds = side.rounds
    found: dict[str, Any] = {
        "samples_per_s": _spread([job.steps * job.batch * job.answers / one["wall"] for one in rounds]),
        "wall_s": _spread([one["wall"] for one in rounds]),
        "cpu_s": _spread([one["cpu"] for one in rounds]),
        "peak_gib": round(max(one["peak_gib"] for one in rounds), 2),
        "faults": round(statistics.median(one["faults"] for one in rounds)),
        "load": _spread([one["load"] for one in rounds]),
        "ready_s": round(side.ready["ready"], 1),
        "flags": side.side.flags,
        "missing": rounds[0].get("missing", []),
        "weights": rounds[0].get("weights", "")[:16],
    }
    if "split" in rounds[0]:
        found["split"] = {name: _spread([one["split"][name] for one in rounds]) for name in rounds[0]["split"]}
    if "answers" in rounds[0]:
        found["tokens_per_s"] = _spread([_rate(job, one) for one in rounds])
    return found


def judge(
    rows: list[dict[str, Any]], job: Job, sides: list[Started], model: Path, asked: argparse.Namespace
) -> list[dict[str, Any]]:
    """Write into each row whether both did the same work, and why not."""
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| job | model | peer | setting | ours | ratio min / median / max | by CPU | ours /s | theirs /s | GiB | same work |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio, ours, theirs = row["ratio"], row["tutelage"], row["theirs"]
        unit = "tokens_per_s" if "tokens_per_s" in ours else "samples_per_s"
        lines.append(
            f"| {row['job']} | {row['model']} | {row['peer']} | {row['setting']} | {row['ours']} "
            f"| {ratio['min']:.2f} / **{ratio['median']:.2f}** / {ratio['max']:.2f} | {ratio['cpu_median']:.2f} "
            f"| {ours[unit]['median']:.4g} | {theirs[unit]['median']:.4g} "
            f"| {ours['peak_gib']:.1f} : {theirs['peak_gib']:.1f} | {row.get('same_work', '?')} |"
        )
    return "\n".join(lines)
