"""One algorithm on one task with ten seeds: does every run rise, does any diverge, how far do they spread?

    python benchmarks/ten_seeds.py --task sentiment --algorithm ppo --seeds 10 --model FOLDER [--set steps=80 …]
    python benchmarks/ten_seeds.py --task news --algorithm rloo --seeds 10 [--model "runs/demo-{seed}"]

Each run is a `tutelage` command in a process of its own. `sentiment` continues stories (FOLDER is a small model of
stories, see _sentiment.py); `news` is the demo's task from the models of finished demos, one per seed where FOLDER
has `{seed}` in it; without FOLDER a demo of seed 0 is run first, and every seed starts from it.
A run that is complete is not repeated. Prints a Markdown table; rows go to results/ten_seeds-TASK-ALGORITHM.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import _sentiment

HERE = Path(__file__).resolve().parent
ENDING = 5
"""steps that "last" is the mean of"""
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONPATH": os.pathsep.join([str(HERE.parent / "src"), str(HERE), os.environ.get("PYTHONPATH", "")]),
}
SHARED = {"steps": 40, "kl": 0.05, "learning_rate": 1e-4, "save_every": 1000, "answers": 1, "batch_size": 64}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "ppo": {"critic_learning_rate": 3e-4, "updates": 2, "minibatches": 2, "value_clip": 0},
    "a2c": {"critic_learning_rate": 3e-4},
    "rloo": {"answers": 4, "batch_size": 16},
    "grpo": {"answers": 4, "batch_size": 16},
    "reinforce": {},
}
"""64 answers a step for all, so that they are compared at equal samples"""
TASKS: dict[str, dict[str, Any]] = {
    "sentiment": {"max_new_tokens": 24, "max_length": 128, "reward": "_sentiment:reward", "watch": "_sentiment:gold"},
    "news": {"max_new_tokens": 48, "max_length": 256, "watch": "taste:news"},
}


@dataclass(frozen=True)
class Seed:
    """What one run came to; `first` is before any update, `last` the mean of the last five steps."""

    seed: int
    reward_first: float
    reward_last: float
    gold_first: float
    gold_last: float
    kl: float
    entropy_first: float
    entropy_last: float
    stop_rate: float
    alarms: int
    diverged: bool
    steps: int
    seconds: float


def main() -> int:
    """Run the seeds, print the table, write the rows; 1 if any run diverged."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=sorted(TASKS), default="news")
    parser.add_argument("--algorithm", choices=sorted(ALGORITHMS), default="ppo")
    parser.add_argument("--seeds", type=int, default=10, help="how many, counted from 0")
    parser.add_argument("--model", type=Path, help="a small model of stories, or finished demos ({seed} in their name)")
    parser.add_argument("--out", type=Path, default=Path("runs/ten_seeds"), help="folder of the runs")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the JSON file")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="other settings of the command")
    asked = parser.parse_args()
    if asked.task == "sentiment" and asked.model is None:
        parser.error("--task sentiment needs --model FOLDER")
    out = (asked.out / asked.task).resolve()
    out.mkdir(parents=True, exist_ok=True)
    settings = SHARED | ALGORITHMS[asked.algorithm] | TASKS[asked.task]
    settings |= dict(word.split("=", 1) for word in asked.set)
    rows = [
        run(
            asked.algorithm,
            settings | PREPARE[asked.task](out, asked.model, seed) | {"seed": seed},
            out / f"{asked.algorithm}-{seed}",
        )
        for seed in range(asked.seeds)
    ]
    told = {
        "task": asked.task,
        "algorithm": asked.algorithm,
        "runs": [asdict(row) for row in rows],
    }
    told |= {"settings": settings}
    asked.results.mkdir(parents=True, exist_ok=True)
    path = asked.results / f"ten_seeds-{asked.task}-{asked.algorithm}.json"
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(table(rows))
    return int(any(row.diverged for row in rows))


def _sentiment_start(out: Path, model: Path, seed: int) -> dict[str, Any]:
    start = out / "start"
    if not start.is_dir():
        draft = _sentiment.write_start(model, out / f"start.{os.getpid()}")
        draft.replace(start)
    return {"model": start, "data": _sentiment.write_prompts(out / "prompts.jsonl")}


def _news_start(out: Path, model: Path | None, seed: int) -> dict[str, Any]:
    base = Path(str(model).format(seed=seed)).resolve() if model else out / "base"
    if model is None:
        _tutelage("demo", {"out": base, "seed": 0})
    return {
        "model": base / "sft/model",
        "reward": base / "reward/model",
        "data": base / "data/prompts.train.jsonl",
    }


PREPARE: dict[str, Callable[[Path, Any, int], dict[str, Any]]] = {"sentiment": _sentiment_start, "news": _news_start}


def run(algorithm: str, settings: dict[str, Any], out: Path) -> Seed:
    """One training run; its numbers, even if it failed."""
    code = _tutelage(algorithm, settings | {"out": out}, check=False)
    path = out / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    steps = [line for line in lines if "reward/mean" in line]
    if not steps:
        raise SystemExit(f"{out}: no step was finished (exit code {code})")

    def last(name: str) -> float:
        return statistics.mean(line.get(name, math.nan) for line in steps[-ENDING:])

    return Seed(
        settings["seed"],
        steps[0]["reward/mean"],
        last("reward/mean"),
        steps[0].get("gold/mean", math.nan),
        last("gold/mean"),
        last("policy/kl"),
        steps[0]["policy/entropy"],
        last("policy/entropy"),
        last("policy/stop_rate"),
        sum(line.get("event") == "alarm" for line in lines),
        code != 0 or not math.isfinite(last("reward/mean") + last("policy/kl") + last("loss/policy")),
        len(steps),
        steps[-1]["time"],
    )


def _tutelage(command: str, settings: dict[str, Any], check: bool = True) -> int:
    words = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    done = subprocess.run(
        [sys.executable, "-m", "tutelage", command, "--quiet", *words], env=os.environ | ENVIRONMENT, check=check
    )
    return done.returncode


def table(rows: Sequence[Seed]) -> str:
    """One line per seed, then mean ± standard deviation, smallest and largest over the seeds."""
    names = [name for name in Seed.__dataclass_fields__ if name not in ("seed", "diverged")]
    lines = [f"| seed | {' | '.join(names)} | diverged |", "|" + "---|" * (len(names) + 2)]
    for row in rows:
        lines.append(
            f"| {row.seed} | "
            + " | ".join(f"{getattr(row, name):.3g}" for name in names)
            + f" | {'yes' if row.diverged else 'no'} |"
        )
    columns = {name: [float(getattr(row, name)) for row in rows] for name in names}
    spread = {name: statistics.stdev(column) if len(column) > 1 else 0.0 for name, column in columns.items()}
    lines.append(
        "| mean ± sd | "
        + " | ".join(f"{statistics.mean(column):.3g} ± {spread[name]:.2g}" for name, column in columns.items())
        + " | |"
    )
    lines.append("| least, most | " + " | ".join(f"{min(c):.3g}, {max(c):.3g}" for c in columns.values()) + " | |")
    rose = sum(row.reward_last > row.reward_first for row in rows)
    diverged = sum(row.diverged for row in rows)
    return "\n".join([*lines, "", f"reward rose: {rose} of {len(rows)} · diverged: {diverged} of {len(rows)}"])


if __name__ == "__main__":
    sys.exit(main())
