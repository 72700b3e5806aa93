"""Which method fits this machine and data, how much memory it takes and how long a million tokens last (estimates)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

from tutelage.cli._methods import METHODS, choose, fitting
from tutelage.cli._ui import UI, counted, duration
from tutelage.config import Resolved
from tutelage.errors import UsageError

if TYPE_CHECKING:
    from tutelage.cli._estimate import Plan


@dataclass(frozen=True, kw_only=True)
class Config:
    model: str
    """folder or hub id; only its config.json is read"""
    data: str = ""
    """data file: its judgements are counted, and only methods that can use it are shown"""
    length: int = 512
    """tokens of a typical sequence, prompt and answer together"""
    batch_size: int = 32
    """sequences per optimiser step"""
    memory: float = 0.0
    """GiB to fit into; 0 = what is free on this machine"""
    lora_rank: int = 16
    """rank of the adapter in the rows with LoRA"""
    positional: ClassVar[str] = "model"

    def __post_init__(self) -> None:
        if self.length < 2 or self.batch_size < 1 or self.lora_rank < 1 or self.memory < 0:
            raise UsageError("length must be at least 2, batch_size and lora_rank at least 1, memory at least 0")


def run(resolved: Resolved[Config], ui: UI) -> int:
    """A row per method, with and without LoRA."""
    from tutelage.cli._estimate import describe_model, estimate, measure

    config = resolved.config
    model = describe_model(config.model, config.lora_rank)
    machine = measure(config.memory)
    judged = _count(config.data) if config.data else Judged(None, 0, 0, 0)
    methods = fitting(judged.kind)
    ui.say(f"{config.model}: {model.parameters / 1e6:,.1f} million parameters, {model.layers} layers of {model.width}")
    ui.say(f"this machine: {machine.device}, {machine.memory_gib:.1f} GiB, {machine.flops / 1e9:,.0f} GFLOP/s measured")
    if config.data:
        ui.say(f"{config.data}: {judged.sentence()}")
    every = [
        estimate(name, lora, model, machine, config.length, config.batch_size)
        for name in METHODS
        for lora in (False, True)
    ]
    plans = [plan for plan in every if plan.method in methods]
    rows = [
        {
            "method": plan.method + (" --lora" if plan.lora else ""),
            "fits": "yes" if plan.fits else "no",
            "GiB": round(plan.gib, 2),
            "of which trained": round(plan.trained_gib, 2),
            "tokens at once": plan.part,
            "one million tokens": duration(plan.seconds_per_million),
            "steady?": "" if plan.lora else METHODS[plan.method].steady,
        }
        for plan in plans
    ]
    ui.table(rows, title="estimates, from this machine as busy as it is now")
    # what follows a reward model reads prompts: it counts as soon as it fits, whatever the file holds
    choice = choose(judged.kind, judged.judgements, frozenset(plan.method for plan in every if plan.fits))
    ui.result(
        {
            "model": asdict(model),
            "machine": asdict(machine),
            **asdict(judged),
            "plans": [asdict(plan) for plan in plans],
            "choice": asdict(choice),
        }
    )
    if not any(plan.fits for plan in plans):
        ui.say("nothing fits: take a smaller model, a shorter --length, or a machine with more memory")
        return 0
    ui.say(f"choose {', then '.join(choice.commands)}: {choice.why} (docs/choosing.md)")
    ui.say(f"next: tutelage {_next(choice.commands[0], config, [plan for plan in plans if plan.fits])}")
    return 0


@dataclass(frozen=True)
class Judged:
    """What a data file holds."""

    kind: str | None
    judgements: int
    """pairs, rankings, scores or labels; demonstrations, prompts and texts hold none"""
    prompts: int
    raters: int

    def sentence(self) -> str:
        """In words, such as `preference data, 240 judgements of 120 prompts by 3 raters`."""
        judged = f", {counted(self.judgements, 'judgement')} of" if self.judgements else ","
        people = f" by {counted(self.raters, 'rater')}" if self.raters else ""
        return f"{self.kind} data{judged} {counted(self.prompts, 'prompt')}{people}"


def _count(data: str) -> Judged:
    from tutelage.data.check import asked
    from tutelage.data.formats import detect_kind, load
    from tutelage.types import Ranking, Rated

    kind = detect_kind(data)
    rows = load(data, kind, on_bad="skip")
    scores = [rating for row in rows if isinstance(row, Rated) for rating in row.ratings]
    raters = {rating.rater for rating in scores} | {row.rater for row in rows if isinstance(row, Ranking)}
    held = 0 if kind in ("text", "prompt", "demonstration") else len(scores) or len(rows)
    return Judged(kind, held, len({asked(row) for row in rows}), len(raters - {""}))


def _next(command: str, config: Config, plans: list[Plan]) -> str:
    """The command line to begin with, with --lora where only that fits."""
    name = command.partition(" ")[0]
    whole = any(plan.method == name and not plan.lora for plan in plans)
    adapter = "" if whole or not any(plan.method == name for plan in plans) else " --lora"
    return f"{command}{adapter} --model {config.model} --data {config.data or 'DATA'} --out RUN"
