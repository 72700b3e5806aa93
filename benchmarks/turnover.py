"""Over-optimisation on purpose: weak proxies, no price on drift, long runs. Where does gold turn over?

    .venv/bin/python benchmarks/turnover.py --out runs/turnover --start runs/demo    # from a finished demo's models
    .venv/bin/python benchmarks/turnover.py --out runs/smoke --smoke --start runs/demo   # a minute: is all in order?

The task is the demo's: summaries of made-up news. For each proxy, a reward model learned from the ratings of 60 or of
240 prompts, PPO and RLOO train with β = 0 while the hidden taste looks on (`--watch`), and best-of-n chooses among the
start's own answers to training prompts up to n = 64. All proxies get the same number of optimiser steps, so that only
their judgements differ. (√KL, promised gold, gold) along each way, Gao et al.'s forms fitted to both, the peak of gold
and the place where gold parts from the promise (see src/tutelage/eval/turnover.py) go to turnover.json, turnover.md and
turnover.svg in --out and, with --docs, in that folder too. All before that is `tutelage`'s commands (`--commands`
prints them); what is done is not done again. Without --start the demo's world and models are made first.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _news_task import ANSWER, ONLINE, PPO, PRETRAIN_STEPS, SFT_EPOCHS, command, first_lines, judged, proxy, worlds

from tutelage.cli.demo import REWARD
from tutelage.cli.main import main as tutelage
from tutelage.eval.frontier import points_of
from tutelage.eval.turnover import Turnover, as_json, chosen, promise, table, trained, turnover
from tutelage.eval.turnover_chart import chart
from tutelage.flow import Flow
from tutelage.rounds import Command


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    steps: int = 200
    answers: int = 64
    """per step, for PPO and RLOO alike"""
    window: int = 10
    """steps that one point of a course is the mean of"""
    pretrain: int = PRETRAIN_STEPS
    sft: float = SFT_EPOCHS
    rated: tuple[int, ...] = (60, 240)
    """prompts that are rated, one proxy each"""
    prompts: int = 96
    """whose many answers best-of-n chooses among, and whose answers tell what a point of the proxy is worth"""
    n: int = 64
    """answers to each of them"""


SMOKE = Scale(steps=4, answers=16, window=2, pretrain=25, sft=0.1, rated=(24,), prompts=6, n=4)


def plan(out: Path, home: Path, scale: Scale, seed: int) -> list[Command]:
    """Many answers of the start, then for each proxy its judgements, its model and the runs that follow it."""
    start = str(home / "sft/model")
    many = {"data": out / "prompts.jsonl", "out": out / "many.jsonl", "n": scale.n, "seed": seed} | ANSWER
    made = [command("many answers", "sample", model=start, **many)]
    for count in scale.rated:
        folder = out / f"proxy-{count}"
        epochs = REWARD["epochs"] * max(scale.rated) / count
        made += proxy(folder, home, seed, folder / "rated.jsonl", epochs=epochs)
        for method, settings in methods(scale).items():
            shared = {"model": start, "data": home / "data/prompts.train.jsonl", "out": folder / method}
            shared |= {"reward": folder / "reward/model", "watch": "taste:news", "steps": scale.steps, "seed": seed}
            free = {"kl": 0.0, "schedule": "constant"}
            made.append(command(f"{method} against the proxy of {count}", method, **shared, **settings, **free))
    return made


def methods(scale: Scale) -> dict[str, dict[str, Any]]:
    """Settings of the training commands; the same number of answers per step."""
    group = {"batch_size": scale.answers // 4, "answers": 4}
    return {"ppo": ONLINE | PPO | {"batch_size": scale.answers}, "rloo": ONLINE | group}


def followed(out: Path, count: int, scale: Scale) -> tuple[dict[str, Any], list[Turnover]]:
    """What the proxy of `count` prompts promised and what came of it, for each method."""
    folder = out / f"proxy-{count}"
    scores = judged(out / "many.jsonl", out / "prompts.jsonl", folder / "reward/model", folder / "parts")
    start = promise(*scores)
    courses = [trained(name, _metrics(folder / name), scale.window, start) for name in methods(scale)]
    sizes = [2**power for power in range(scale.n.bit_length()) if 2**power <= scale.n]
    courses.append(chosen(*scores, sizes, start))
    found = [turnover(course, start.gold) for course in courses]
    pairs = len((folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines())
    told = {"rated": count, "pairs": pairs, "slope": start.slope, "correlation": start.correlation}
    told |= {"start": {"gold": start.gold, "proxy": start.proxy}}
    return told | {"methods": {one.course.method: as_json(one) for one in found}}, found


def _metrics(run: Path) -> list[Any]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return points_of(rows, "policy/kl", "reward/mean", "gold/mean")


def write(out: Path, folders: Sequence[Path], scale: Scale, seconds: float) -> None:
    """turnover.json, turnover.md, turnover.svg."""
    each = {count: followed(out, count, scale) for count in scale.rated}
    rows = [(f"{count} prompts", one) for count, (_, found) in each.items() for one in found]
    notes = [
        f"{count} prompts: {told['pairs']} pairs; between answers to one prompt the proxy correlates "
        f"{told['correlation']:.2f} with gold, and a point of it is worth {told['slope']:.4f} of gold."
        for count, (told, _) in each.items()
    ]
    notes.append(
        f"Each point is the mean of {scale.window} steps of {scale.answers} answers; β = 0, {scale.steps} steps. "
        "best-of-n chooses among sampled answers; nothing was trained for it."
    )
    text = "\n".join([table(rows), "", *(f"- {note}" for note in notes)])
    drawn = chart(
        [(f"proxy of {count} prompts", found) for count, (_, found) in each.items()],
        "Gold, and what the proxy promises, against distance",
    )
    told = {"seconds": seconds, "scale": vars(scale), "proxies": [told for told, _ in each.values()]}
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "turnover.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        (folder / "turnover.md").write_text(text + "\n", encoding="utf-8")
        (folder / "turnover.svg").write_text(drawn, encoding="utf-8")
    print(text)


def main() -> int:
    """Run what is left to run, then write table and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/turnover"), help="folder of the runs")
    parser.add_argument("--start", type=Path, help="a finished demo, whose world and models are taken as they are")
    parser.add_argument("--steps", type=int, help="steps of each run instead of 200")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does everything run?")
    parser.add_argument("--commands", action="store_true", help="print the commands and run nothing")
    parser.add_argument("--docs", type=Path, help="folder that gets the table and the picture too")
    asked = parser.parse_args()
    scale, home = SMOKE if asked.smoke else Scale(), asked.start or asked.out
    if asked.steps:
        scale = Scale(**vars(scale) | {"steps": asked.steps})
    first = [] if asked.start else worlds(home, scale.pretrain, scale.sft, asked.seed)
    rest = plan(asked.out, home, scale, asked.seed)
    if asked.commands:
        print(*first, *rest, sep="\n")
        return 0
    asked.out.mkdir(parents=True, exist_ok=True)
    flow = Flow(asked.out, lambda words: tutelage([*words, "--quiet"]), print)
    flow.run(first)
    first_lines(home / "data/prompts.train.jsonl", asked.out / "prompts.jsonl", scale.prompts)
    for count in scale.rated:
        (asked.out / f"proxy-{count}").mkdir(exist_ok=True)
        first_lines(home / "data/prompts.rate.jsonl", asked.out / f"proxy-{count}/rated.jsonl", count)
    flow.run([*first, *rest])
    write(asked.out, [asked.out, *([asked.docs] if asked.docs else [])], scale, flow.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
