"""One round of the outer loop, as tutelage's own commands: sample → rate → reward → improve → evaluate."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FROM_PAIRS = ("dpo", "cpo", "orpo", "simpo")
"""what improves on the round's pairs; the others answer prompts and ask the round's reward model"""


@dataclass(frozen=True)
class Command:
    """One line of a flow."""

    title: str
    """for people"""
    words: tuple[str, ...]
    """verb, flags and values"""

    def __str__(self) -> str:
        return shlex.join(("tutelage", *self.words))


def flags(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings as flags: `{"batch_size": 8, "lora": True}` → `--batch-size 8 --lora`."""
    words: list[str] = []
    for name, value in values.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            words += [flag, str(value)]
    return tuple(words)


@dataclass(frozen=True, kw_only=True)
class RoundPlan:
    """What one round is made of; every setting of a command can be given."""

    algorithm: str
    prompts: str
    """prompts whose answers are judged"""
    improve_prompts: str
    """prompts that the policy learns on"""
    test_prompts: str
    """prompts that nothing learns from"""
    taste: str
    raters: str
    seed: int
    base: str = ""
    """model whose perplexity measures fluency"""
    baseline: str = ""
    """model that the new one is compared with"""
    sample: dict[str, Any]
    rate: dict[str, Any]
    reward: dict[str, Any]
    improve: dict[str, Any]
    evaluate: dict[str, Any]


def round_commands(folder: Path, model: str, plan: RoundPlan) -> list[Command]:
    """Sample → rate → (reward) → improve → evaluate, starting from `model`, into `folder`."""
    answers, database = folder / "answers.jsonl", folder / "ratings.db"
    pairs, held_out = folder / "pairs.jsonl", folder / "pairs.test.jsonl"
    improved, reward, seed = folder / plan.algorithm, folder / "reward", {"seed": plan.seed}
    commands = [
        Command(
            "sample answers",
            ("sample", *flags({"model": model, "data": plan.prompts, "out": answers} | seed | plan.sample)),
        ),
        Command(
            "let raters judge them",
            (
                "rate",
                "simulate",
                *flags(
                    {"db": database, "samples": answers, "taste": plan.taste, "raters": plan.raters} | seed | plan.rate
                ),
            ),
        ),
        Command(
            "turn judgements into pairs",
            ("rate", "export", *flags({"db": database, "out": pairs, "test_fraction": 0.2, "test_out": held_out})),
        ),
        Command(
            "learn a reward model",
            (
                "reward",
                *flags({"model": model, "data": pairs, "eval_data": held_out, "out": reward} | seed | plan.reward),
            ),
        ),
    ]
    if plan.algorithm in FROM_PAIRS:
        source = {"data": pairs, "eval_data": held_out}
    else:
        source = {"data": plan.improve_prompts, "reward": reward / "model", "watch": f"taste:{plan.taste}"}
    commands.append(
        Command(
            f"improve by {plan.algorithm.upper()}",
            (plan.algorithm, *flags({"model": model, "out": improved} | source | seed | plan.improve)),
        )
    )
    measured = {
        "model": improved / "model",
        "baseline": plan.baseline or model,
        "data": plan.test_prompts,
        "taste": plan.taste,
    }
    measured |= {"reward": reward / "model", "pairs": held_out, "train_pairs": pairs, "db": database} | seed
    measured |= {"out": folder / "eval"}
    measured |= {"base": plan.base} if plan.base else {}
    commands.append(Command("measure", ("eval", *flags(measured | plan.evaluate))))
    return commands
