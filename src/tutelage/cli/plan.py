"""Which method fits this machine and data, how much memory it takes and how long a million tokens last (estimates)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar

from tutelage.cli._ui import UI, duration
from tutelage.config import Resolved
from tutelage.errors import UsageError

METHODS_FOR = {
    "text": ("pretrain",),
    "demonstration": ("sft",),
    "preference": ("reward", "dpo"),
    "prompt": ("ppo",),
    "unpaired": (),
    "ranking": ("reward", "dpo"),
    "rated": ("reward", "dpo"),
}
"""Kind of data → training commands that use it (rankings and ratings after `tutelage data convert`)."""


@dataclass(frozen=True, kw_only=True)
class Config:
    model: str
    """folder or hub id; only its config.json is read"""
    data: str = ""
    """data file: only methods that can use it are shown"""
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
    kind, methods = _methods(config.data)
    ui.say(f"{config.model}: {model.parameters / 1e6:,.1f} million parameters, {model.layers} layers of {model.width}")
    ui.say(f"this machine: {machine.device}, {machine.memory_gib:.1f} GiB, {machine.flops / 1e9:,.0f} GFLOP/s measured")
    if kind:
        ui.say(f"{config.data}: {kind} data, for {', '.join(methods) or 'no method of this version'}")
    plans = [
        estimate(name, lora, model, machine, config.length, config.batch_size)
        for name in methods
        for lora in (False, True)
    ]
    rows = [
        {
            "method": plan.method + (" --lora" if plan.lora else ""),
            "fits": "yes" if plan.fits else "no",
            "GiB": round(plan.gib, 2),
            "of which trained": round(plan.trained_gib, 2),
            "one million tokens": duration(plan.seconds_per_million),
        }
        for plan in plans
    ]
    ui.table(rows, title="estimates, from this machine as busy as it is now")
    ui.result(
        {"model": asdict(model), "machine": asdict(machine), "kind": kind, "plans": [asdict(plan) for plan in plans]}
    )
    ui.say(
        _advice(config, [plan.method + (" --lora" if plan.lora else "") for plan in plans if plan.fits], bool(plans))
    )
    return 0


def _methods(data: str) -> tuple[str | None, tuple[str, ...]]:
    if not data:
        return None, ("pretrain", "sft", "reward", "dpo", "ppo")
    from tutelage.data.formats import detect_kind

    kind = detect_kind(data)
    return kind, METHODS_FOR[kind]


def _advice(config: Config, fitting: list[str], any_method: bool) -> str:
    if not any_method:
        return "nothing here trains on this kind of data yet; see docs/formats.md for conversions"
    if not fitting:
        return "nothing fits: take a smaller model, a shorter --length, or a machine with more memory"
    words = f"--model {config.model} --data {config.data or 'DATA'} --out RUN"
    return f"fits: {', '.join(fitting)}; next: tutelage {fitting[0]} {words}"
