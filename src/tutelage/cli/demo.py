"""The whole round on data that the package makes itself: from nothing to a model that (simulated) people prefer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from tutelage.cli._demo_people import YOU, with_you
from tutelage.cli._ui import UI
from tutelage.config import Resolved
from tutelage.errors import UsageError
from tutelage.flow import Flow, Stopped, read_json, write_json
from tutelage.rounds import Command, RoundPlan, flags, round_commands


@dataclass(frozen=True, kw_only=True)
class Config:
    out: Path = Path("runs/demo")
    """folder for everything the demo makes; the same command goes on where it was stopped"""
    seed: int = 0
    """another seed is another world, other raters, another model"""
    algorithm: Literal["ppo", "dpo"] = "ppo"
    """what improves the policy"""
    commands: bool = False
    """print the single commands that the demo runs, and run nothing"""
    serve: bool = False
    """be one of the raters: a page on this machine hands you some pairs, simulated raters judge the rest"""
    serve_tasks: int = 20
    """how many pairs --serve hands you"""
    serve_minutes: float = 30.0
    """how long --serve waits for you; 0 = until you are done, or press Enter"""
    serve_language: Literal["en", "zh"] = "en"
    """language of what you judge, and of the pages until you choose another"""
    positional: ClassVar[str] = "out"

    def __post_init__(self) -> None:
        if self.serve_tasks < 1 or self.serve_minutes < 0:
            raise UsageError("serve-tasks is 1 or more, serve-minutes 0 or more")


def run(resolved: Resolved[Config], ui: UI) -> int:
    """Run the demo's commands, those that are done already left out; then show what came of it."""
    config = resolved.config
    plan = commands(config)
    if config.commands:
        for command in plan:
            print(command)
        return 0
    from tutelage.cli.main import main

    extra = [flag for flag, on in {"--quiet": ui.quiet, "--debug": ui.debug}.items() if on]

    def execute(words: Sequence[str]) -> int:
        return main([*words, *extra])

    flow = Flow(config.out, execute, ui.say)
    try:
        flow.run(plan[:-1])
        write_json(config.out / "summary.json", _summary(config, flow))
        flow.run(plan)
    except Stopped as stopped:
        ui.warn(f"the demo stopped at: {stopped}; the same command goes on from there")
        return stopped.code
    return _show(config, ui)


def commands(config: Config) -> list[Command]:
    """Everything the demo does, as commands that anyone can run one by one."""
    out, seed = config.out, {"seed": config.seed}
    data = out / "data"
    settings = SETTINGS[config.algorithm]
    prepare = [
        Command("make a bilingual world of news", ("data", "make", "news", *flags({"out": data} | seed))),
        Command(
            "pretrain a small model",
            ("pretrain", *flags({"data": data / "corpus.jsonl", "out": out / "pretrain"} | seed | PRETRAIN)),
        ),
        Command(
            "teach it to follow instructions",
            (
                "sft",
                *flags({"model": out / "pretrain/model", "data": data / "sft.jsonl", "out": out / "sft"} | seed | SFT),
            ),
        ),
    ]
    plan = RoundPlan(
        algorithm=config.algorithm,
        prompts=str(data / "prompts.rate.jsonl"),
        improve_prompts=str(data / "prompts.train.jsonl"),
        test_prompts=str(data / "prompts.test.jsonl"),
        taste=TASTE,
        raters="default",
        seed=config.seed,
        base=str(out / "pretrain/model"),
        sample=SAMPLE,
        rate=RATE,
        reward={"model": out / "pretrain/model"} | REWARD,
        improve=settings,
        evaluate=EVALUATE,
    )
    report = Command("write the report", ("report", *flags({"run": out, "out": out / "report.html"})))
    whole = [*prepare, *round_commands(out, str(out / "sft/model"), plan), report]
    if not config.serve:
        return whole
    served = {"rater": YOU, "language": config.serve_language, "until_done": True, "minutes": config.serve_minutes}
    return with_you(whole, out, RATE | seed, config.serve_tasks, served, TASTE)


TASTE = "news"
FLOAT32: dict[str, Any] = {"dtype": "float32"}
"""So that the demo is much the same on every processor: what is written of its ten seeds (docs/LOG.md) was computed so,
and another rounding makes other runs of them. To change this is to measure the ten seeds again."""
PRETRAIN: dict[str, Any] = FLOAT32 | {
    "steps": 600,
    "batch_size": 16,
    "join": False,
    "max_length": 192,
    "vocab_size": 1300,
    "hidden_size": 192,
    "layers": 2,
    "heads": 6,
    "key_value_heads": 6,
    "learning_rate": 5e-3,
    "adam_beta2": 0.98,
}
SFT: dict[str, Any] = FLOAT32 | {"epochs": 2, "batch_size": 16, "max_length": 256, "learning_rate": 2e-3}
SAMPLE: dict[str, Any] = {"n": 3, "max_new_tokens": 48}
RATE: dict[str, Any] = {"overlap": 3, "pairs": 1, "ranking_size": 3, "scored": 1}
REWARD: dict[str, Any] = FLOAT32 | {"epochs": 2, "batch_size": 32, "max_length": 256, "learning_rate": 5e-4}
EVALUATE: dict[str, Any] = {"max_new_tokens": 48, "raters": "fresh:5"}
SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": FLOAT32
    | {
        "steps": 50,
        "batch_size": 64,
        "max_length": 256,
        "max_new_tokens": 48,
        "learning_rate": 1e-4,
        "critic_learning_rate": 3e-4,
        "updates": 2,
        "minibatches": 2,
        "value_clip": 0,
        "kl": 0.05,
    },
    "dpo": FLOAT32 | {"epochs": 2, "batch_size": 32, "max_length": 256, "learning_rate": 1e-4, "beta": 0.1},
}
"""Chosen so that everything fits into three minutes of two cores; a real model wants its commands' own defaults."""


def _show(config: Config, ui: UI) -> int:
    summary = read_json(config.out / "summary.json")
    ui.table([{"": name, "value": value} for name, value in summary.items()], title="what came of it")
    ui.say(f"report: {config.out / 'report.html'}")
    ui.result(summary)
    return 0


def _summary(config: Config, flow: Flow) -> dict[str, Any]:
    measured = read_json(config.out / "eval" / "summary.json")
    return {**measured, "seconds": round(flow.seconds, 1), "peak_gib": flow.state["peak_gib"], "seed": config.seed}
