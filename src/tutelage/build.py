"""Config → run: wires an algorithm to its parts and runs it to its end."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tutelage import _classical, registry
from tutelage.algorithms import Algorithm, TrainConfig
from tutelage.algorithms._reward_base import RewardModelConfig
from tutelage.config import Resolved
from tutelage.data.formats import require
from tutelage.errors import UsageError
from tutelage.labelers._database import is_database
from tutelage.labelers._trainer import Trainer
from tutelage.rewards import classical
from tutelage.rewards._named import folders
from tutelage.toolbox import Given, InOrder, Say, Toolbox
from tutelage.train._fixed_order import fixed_order

if TYPE_CHECKING:
    from tutelage.train.run import Run

__all__ = ["Given", "Toolbox", "rehearse", "steps_of", "train"]


def train(
    name: str, resolved: Resolved[Any], *, dry_run: bool = False, ui: Any = None, given: Given | None = None
) -> Path:
    """Run one algorithm from its resolved configuration to its end; returns the run folder.

    The same call on the same folder goes on where it stopped. With `dry_run`, everything is loaded and checked up to
    the first step, and nothing is written.
    """
    from tutelage.train.loop import train as run_loop
    from tutelage.train.optim import Optimizer, odd_rates

    config: TrainConfig = resolved.config
    at_once = isinstance(config, RewardModelConfig) and config.kind in classical.KINDS
    _require(config, given, model=not at_once)
    kind: type[Algorithm[Any, Any]] = registry.find("algorithms", name, Algorithm)
    say = ui.say if ui is not None else print
    warn = ui.warn if ui is not None else print
    if at_once:
        if dry_run:
            return _classical.rehearse(config, say, given)
        return _classical.fit(config, _run(name, resolved, lambda: _frozen(config, given), ui), say, given)
    if dry_run:
        return rehearse(kind, config, say, given, warn)
    toolbox = Toolbox(config, Path(config.out), say, given, warn=warn)
    fixed = fixed_order(config.deterministic)
    with fixed, _run(name, resolved, lambda: steps_of(kind, toolbox), ui) as run:
        toolbox.trainer = Trainer(Path(config.out), run.leave, run.say, lambda text: run.warn("people", text))
        if run.done:
            run.say(f"already complete: {config.out}")
            return Path(config.out)
        algorithm = kind(config, toolbox)
        algorithm.total = run.total
        optimizer = Optimizer(algorithm, config, run.total)
        run.resume(algorithm, optimizer)
        for oddity in odd_rates(algorithm) if run.fresh else []:
            run.warn("learning-rate", oddity)
        run.save_start(algorithm, optimizer)
        run_loop(algorithm, optimizer, run)
        algorithm.dismiss()
        _report(algorithm, run)
        run.complete(algorithm)
    return Path(config.out)


def _run(name: str, resolved: Resolved[Any], steps: int | Callable[[], int], ui: Any) -> Run:
    """The run folder of a configuration, not yet opened."""
    from tutelage.train.run import Run

    config: TrainConfig = resolved.config
    named = (vars(config).get(source, "") for source in ("reward", "cost", "watch"))
    return Run(
        Path(config.out),
        command=name,
        config=resolved.to_dict(),
        origins=resolved.origins,
        steps=steps,
        save_every=config.save_every,
        keep=config.keep,
        log_every=config.log_every,
        eval_every=config.eval_every,
        max_minutes=config.max_minutes,
        watch=config.watches(),
        quiet=bool(ui and ui.quiet),
        json_lines=bool(ui and ui.json_lines),
        parents=tuple(folder for text in named for folder in folders(text)),
    )


def _frozen(config: TrainConfig, given: Given | None) -> int:
    """The one step of a fit at once; what it reads of a rating database is settled before the run is named."""
    if not (given and given.rows is not None):
        for paths in (config.data, config.eval_data):
            if paths and is_database(paths):
                from tutelage.labelers._feedback import freeze

                freeze(paths, Path(config.out))
    return 1


def _report(algorithm: Algorithm[Any, Any], run: Any) -> None:
    """Write `reward_report.json` beside the model of a reward model, and say it in short."""
    with torch.no_grad():
        evidence = algorithm.evidence()
    if evidence is not None:
        from tutelage.eval.reward_report import FILE, reward_report
        from tutelage.train import durable

        report = reward_report(evidence)
        durable.write_json(run.folder / FILE, report.as_json())
        for line in report.lines():
            run.say(line)


def rehearse(
    kind: type[Algorithm[Any, Any]], config: TrainConfig, say: Say, given: Given | None, warn: Say | None = None
) -> Path:
    """Everything up to the first step: load, read, collect once, check the identities of step 0 and the first batch.

    Args:
        warn: hears what would be learned from to no good; `say` without it.
    """
    from tutelage.train.health import Health
    from tutelage.train.optim import odd_rates
    from tutelage.train.progress import counted
    from tutelage.train.room import estimated

    warn = warn or say
    with fixed_order(config.deterministic), tempfile.TemporaryDirectory() as folder, torch.no_grad():
        toolbox = Toolbox(config, Path(folder), say, given, warn=warn, careful=True)
        toolbox.trainer = Trainer(Path(folder), rehearsal=True)
        steps = steps_of(kind, toolbox)
        algorithm = kind(config, toolbox)
        trained = sum(
            p.numel() for module in algorithm.modules().values() for p in module.parameters() if p.requires_grad
        )
        part = config.tokens_per_part or estimated(algorithm.modules().values()).part
        found = algorithm.preflight(algorithm.collect(0))
        first = Health(steps).check(1, found | algorithm.metrics())
        for oddity in [*odd_rates(algorithm), *(f"{alarm.message}; {alarm.advice}" for alarm in first)]:
            warn(oddity)
    checks = f"checks before the first step: {found or 'none'}"
    say(
        f"dry run: {counted(steps, 'step')}, {trained:,} parameters would be trained, {part:,} tokens at once; {checks}"
    )
    return Path(config.out)


def steps_of(kind: type[Algorithm[Any, Any]], toolbox: Toolbox) -> int:
    """How many optimiser steps the configuration asks for."""
    config: TrainConfig = toolbox.config
    rows: InOrder[Any] = getattr(toolbox, _ROWS[kind.rows_of(config)])
    return config.steps or rows.order.steps(config.epochs)


_ROWS = {
    "text": "documents",
    "demonstration": "demonstrations",
    "preference": "preferences",
    "unpaired": "unpaired",
    "ranking": "rankings",
    "rated": "ratings",
    "prompt": "prompts",
}
"""What kind of rows an algorithm reads → the part of the toolbox that holds them."""


def _require(config: TrainConfig, given: Given | None, *, model: bool = True) -> None:
    if not config.out:
        raise UsageError("--out is missing", fix="--out RUN_FOLDER")
    if not config.data and not (given and given.rows is not None):
        raise UsageError("--data is missing", fix="--data FILE.jsonl")
    if model and not config.model:
        raise UsageError("--model is missing", fix="--model FOLDER_OR_HUB_ID")
    for named in (config.data, config.eval_data):
        for path in named.split(",") if named and "://" not in named and "?" not in named else ():
            require(Path(path))  # before a run folder is made for nothing
