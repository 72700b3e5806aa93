"""Reward against KL for DPO, online DPO, PPO, RLOO and best-of-n, four settings each, on one small task.

Best-of-n stands for choosing among sampled answers (n = 2, 4, 8, 16), with no training at all: a line that any trained
method should reach, not the `best-of-n` command, which learns what it chose.

    .venv/bin/python benchmarks/frontier.py --out runs/frontier            # about 40 minutes of one core
    .venv/bin/python benchmarks/frontier.py --out runs/frontier --start runs/demo   # from the demo's own models
    .venv/bin/python benchmarks/frontier.py --out runs/smoke --smoke       # 2 minutes: is everything in order?

The task is the demo's: summaries of made-up news. The proxy is a reward model learned from few ratings, gold the
hidden taste; both are measured on held-out prompts, the KL on the same answers. All before the tables is `tutelage`'s
commands (`--commands` prints them); what is done is not done again. Writes frontier.json, frontier.md, gold.svg and
reward.svg into --out, and, with --docs, into that folder too.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from _news_task import ANSWER, ONLINE, PPO, PRETRAIN_STEPS, SFT_EPOCHS, command, first_lines, judged, proxy, worlds

from tutelage.cli.main import main as tutelage
from tutelage.eval.frontier import Fit, RunPoint, as_json, best_of_points, fit, run_points, table
from tutelage.eval.frontier_chart import chart
from tutelage.flow import Flow
from tutelage.rounds import Command, flags


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    steps: int = 40
    answers: int = 64
    """per step, for every online method"""
    pretrain: int = PRETRAIN_STEPS
    """optimiser steps"""
    sft: float = SFT_EPOCHS
    """epochs"""
    rated: int = 240
    """prompts that are rated: few, so that the proxy errs"""
    test: int = 96
    n: int = 32
    """answers per test prompt for best-of-n"""


SMOKE = Scale(steps=2, answers=16, pretrain=25, sft=0.1, rated=24, test=8, n=4)
BETAS = (0.01, 0.05, 0.15, 0.5)
SIZES = (2, 4, 8, 16)
_NOTE = "best-of-n: the best of n sampled answers by the reward, by sampling only; nothing was trained for it."


def methods(scale: Scale) -> dict[str, list[dict[str, Any]]]:
    """Settings of each training command; the same number of answers per step for all that sample."""
    group = {"batch_size": scale.answers // 4, "answers": 4}
    ppo = {"batch_size": scale.answers} | PPO
    pairs = {"batch_size": scale.answers // 2, "answers": 2}
    return {
        "ppo": [ONLINE | ppo | {"kl": beta} for beta in BETAS],
        "rloo": [ONLINE | group | {"kl": beta} for beta in BETAS],
        "online-dpo": [ONLINE | pairs | {"beta": beta} for beta in BETAS],
        "dpo": [
            {"epochs": 2, "batch_size": 32, "max_length": 256, "learning_rate": 2e-4, "beta": beta} for beta in BETAS
        ],
    }


def rated(out: Path, home: Path, scale: Scale, seed: int) -> list[Command]:
    """A proxy from few ratings, and many answers to the test prompts."""
    many = {"data": out / "test.jsonl", "out": out / "many.jsonl", "n": scale.n, "seed": seed} | ANSWER
    return [
        *proxy(out, home, seed, out / "rated.jsonl"),
        command("many answers", "sample", model=str(home / "sft/model"), **many),
    ]


def compared(out: Path, home: Path, scale: Scale, seed: int) -> list[Command]:
    """Every method at every setting, each measured by `tutelage eval` into its own folder."""
    start, reward = str(home / "sft/model"), str(out / "reward/model")
    plan: list[Command] = []
    for method, settings in methods(scale).items():
        for number, one in enumerate(settings):
            folder = out / f"{method}-{number}"
            source: dict[str, Any] = {"data": out / "pairs.jsonl"}
            if method != "dpo":
                source = {"data": home / "data/prompts.train.jsonl", "reward": reward, "steps": scale.steps}
            given = {"model": start, "out": folder} | source | one | {"seed": seed}
            measured = {"model": folder / "model", "baseline": start, "data": out / "test.jsonl", "taste": "news"}
            measured |= {"reward": reward, "out": folder / "eval", "n": 2, "seed": seed} | ANSWER
            plan.append(Command(f"{method} {number + 1} of {len(settings)}", (method, *flags(given))))
            plan.append(Command("measure it", ("eval", *flags(measured))))
    return plan


def cut(out: Path, home: Path, scale: Scale) -> None:
    """The prompts that are rated and those that are measured on."""
    for name, source, count in (("rated", "rate", scale.rated), ("test", "test", scale.test)):
        first_lines(home / f"data/prompts.{source}.jsonl", out / f"{name}.jsonl", count)


def best_of(out: Path, sizes: Sequence[int]) -> list[RunPoint]:
    """Best-of-n of the start, from many answers to each test prompt: no training, exact laws."""
    return best_of_points(
        *judged(out / "many.jsonl", out / "test.jsonl", out / "reward/model", out / "many-parts"), sizes
    )


def curves(points: Sequence[RunPoint], start: float) -> dict[str, Fit]:
    """Gao's forms, where a method has two distances."""
    found: dict[str, Fit] = {}
    for method in sorted({one.method for one in points}):
        mine = [(one.kl**0.5, one.gold - start) for one in points if one.method == method and one.gold is not None]
        if len({d for d, _ in mine if d > 0}) >= 2:
            form = "best-of-n" if method == "best-of-n" else "rl"
            found[method] = fit([d for d, _ in mine], [gain for _, gain in mine], form)
    return found


def main() -> int:
    """Run what is left to run, then write tables and pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/frontier"), help="folder of the runs")
    parser.add_argument("--start", type=Path, help="a finished demo, whose world and models are taken as they are")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does everything run?")
    parser.add_argument("--commands", action="store_true", help="print the commands and run nothing")
    parser.add_argument("--docs", type=Path, help="folder that gets the table and the pictures too")
    asked = parser.parse_args()
    scale, home = SMOKE if asked.smoke else Scale(), asked.start or asked.out
    first = [] if asked.start else worlds(home, scale.pretrain, scale.sft, asked.seed)
    rest = [*rated(asked.out, home, scale, asked.seed), *compared(asked.out, home, scale, asked.seed)]
    if asked.commands:
        print(*first, *rest, sep="\n")
        return 0
    asked.out.mkdir(parents=True, exist_ok=True)
    flow = Flow(asked.out, lambda words: tutelage([*words, "--quiet"]), print)
    flow.run(first)
    cut(asked.out, home, scale)
    flow.run([*first, *rest])
    write(asked.out, [asked.out, *([asked.docs] if asked.docs else [])], scale, flow.seconds)
    return 0


def write(out: Path, folders: Sequence[Path], scale: Scale, seconds: float) -> None:
    """frontier.json, frontier.md, gold.svg, reward.svg."""
    runs = [out / f"{method}-{number}" for method, some in methods(scale).items() for number in range(len(some))]
    sizes = [n for n in SIZES if n <= scale.n]
    base, *sampled = best_of(out, [1, *sizes])
    points = [*(replace(one, folder=Path(one.folder).name) for one in run_points(runs)), *sampled]
    start = {"gold": base.gold or 0.0, "reward": base.reward or 0.0}
    fits = curves(points, start["gold"])
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        told = as_json(points, fits) | {"start": start, "seconds": seconds}
        (folder / "frontier.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        (folder / "frontier.md").write_text(f"{table(points)}\n\n{_NOTE}\n", encoding="utf-8")
        for score in ("gold", "reward"):
            drawn = chart(
                points,
                score=score,
                title=f"{score} against distance",
                start=start[score],
                fits=fits if score == "gold" else {},
            )
            (folder / f"{score}.svg").write_text(drawn, encoding="utf-8")
    print(table(points), _NOTE, sep="\n\n")


if __name__ == "__main__":
    sys.exit(main())
