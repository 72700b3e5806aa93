"""The demo's task as the benchmarks take it: a world, a policy to start from, and a proxy learned from few ratings."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from tutelage.cli.demo import PRETRAIN, REWARD, SFT
from tutelage.rounds import Command, flags

ANSWER = {"max_new_tokens": 40}
ONLINE = ANSWER | {"max_length": 256, "learning_rate": 2e-4, "missing_stop_penalty": 1.0, "score_clip": 10.0}
"""settings of everything that learns from its own answers"""
PPO = {"updates": 2, "minibatches": 2, "critic_learning_rate": 5e-4, "value_clip": 0}
PRETRAIN_STEPS, SFT_EPOCHS = int(PRETRAIN["steps"]), float(SFT["epochs"])


def command(title: str, *words: str, **settings: Any) -> Command:
    """One of tutelage's own commands."""
    return Command(title, (*words, *flags(settings)))


def worlds(home: Path, pretrain: int, sft: float, seed: int) -> list[Command]:
    """The world, the base model and the policy that everything starts from, as the demo makes them.

    Args:
        pretrain: steps
        sft: epochs
    """
    data = home / "data"
    return [
        command("make a world of news", "data", "make", "news", out=data, seed=seed),
        command(
            "pretrain", "pretrain", data=data / "corpus.jsonl", out=home / "pretrain", seed=seed,
            **PRETRAIN | {"steps": pretrain},
        ),
        command(
            "fine-tune", "sft", model=home / "pretrain/model", data=data / "sft.jsonl", out=home / "sft", seed=seed,
            **SFT | {"epochs": sft},
        ),
    ]  # fmt: skip


def proxy(out: Path, home: Path, seed: int, prompts: Path, **more: Any) -> list[Command]:
    """Answers of the start to `prompts`, ratings of them, and a reward model from these; `more`: its settings."""
    held_out = {"test_fraction": 0.2, "test_out": out / "pairs.test.jsonl"}
    return [
        command("answer", "sample", model=str(home / "sft/model"), data=prompts, out=out / "answers.jsonl", n=3,
                seed=seed, **ANSWER),
        command("rate", "rate", "simulate", db=out / "ratings.db", samples=out / "answers.jsonl", taste="news",
                 raters="default", overlap=2, pairs=1, ranking_size=3, seed=seed),
        command("turn judgements into pairs", "rate", "export", db=out / "ratings.db", out=out / "pairs.jsonl",
                **held_out),
        command("reward model", "reward", model=home / "pretrain/model", data=out / "pairs.jsonl",
                eval_data=out / "pairs.test.jsonl", out=out / "reward", seed=seed, **REWARD | more),
    ]  # fmt: skip


def first_lines(source: Path, out: Path, count: int) -> None:
    """The first `count` rows of a file as another file."""
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    out.write_text("".join(lines[:count]), encoding="utf-8")


def judged(many: Path, prompts: Path, reward: Path, parts: Path) -> tuple[list[list[float]], list[list[float]]]:
    """Proxy and gold of sampled answers, one row per prompt.

    Args:
        many: answers as `tutelage sample` writes them
        prompts: the prompts they answer
        reward: the proxy's model
        parts: folder for what is scored already
    """
    from tutelage.data import formats
    from tutelage.data.taste import named_taste
    from tutelage.eval._parts import Parts
    from tutelage.eval.answers import Where, reward_scores

    rows = [json.loads(line) for line in many.read_text(encoding="utf-8").splitlines()]
    known = {prompt.id: prompt for prompt in formats.load([prompts], "prompt")}
    texts = [(known[row["prompt_id"]].content, row["completion"]) for row in rows]
    scores = reward_scores(str(reward), texts, Where("auto", "auto"), Parts(parts))
    taste, found, gold = named_taste("news"), defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    for row, score in zip(rows, scores, strict=True):
        prompt = known[row["prompt_id"]]
        found[prompt.id].append(float(score))
        gold[prompt.id].append(float(taste(prompt.meta, row["completion"])["overall"]))
    return list(found.values()), list(gold.values())
