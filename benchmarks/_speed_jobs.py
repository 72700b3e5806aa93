"""What speed.py measures: models, jobs, their data and settings (standard library alone: the peers read it too)."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any

SEED = 7
ANSWER = 64
"""longest sampled answer, in tokens"""


@dataclass(frozen=True)
class Model:
    """A shape with random weights, trained a few steps so that its answers end at varied places."""

    kind: str
    vocab: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    context: int
    tied: bool
    taught: int = 30
    """steps of teaching on short documents"""
    rate: float = 1e-3

    @property
    def matmul_parameters(self) -> int:
        """Weights that a token is multiplied with in the layers (the output layer not counted)."""
        query, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        gates = 2 if self.kind == "gpt2" else 3
        return self.layers * self.hidden * (2 * query + 2 * kv + gates * self.mlp)

    @property
    def head_parameters(self) -> int:
        """Weights of the output layer."""
        return self.hidden * self.vocab


MODELS = {
    "tiny": Model("qwen3", 1024, 64, 2, 2, 1, 32, 128, 2048, False, taught=20),
    "small": Model("qwen3", 16384, 384, 8, 6, 2, 64, 1280, 2048, False),
    "base": Model("qwen3", 32768, 768, 12, 12, 4, 64, 2880, 2048, True, rate=3e-4),
    "gpt2": Model("gpt2", 50257, 768, 12, 12, 12, 64, 3072, 1024, True, rate=3e-4),
    "0.6b": Model("qwen3", 151936, 1024, 28, 16, 8, 128, 3072, 4096, True, rate=1e-4),
    "1.7b": Model("qwen3", 151936, 2048, 28, 16, 8, 128, 6144, 4096, True, rate=1e-4),
}


@dataclass(frozen=True)
class Job:
    """One kind of work; `settings` are tutelage's names, which the peers translate."""

    name: str
    data: str
    """docs, pairs or prompts"""
    batch: int
    """documents, pairs or prompts per optimiser step (per call, for sample)"""
    settings: dict[str, Any] = field(default_factory=dict)
    answers: int = 1
    """per prompt"""
    steps: int = 2
    """optimiser steps in one round"""
    warm: int = 2
    """untimed steps before the first round: start, compilation, first allocation"""
    tokens: tuple[int, int] = (32, 511)
    """shortest and longest document, log-uniform"""

    @property
    def online(self) -> bool:
        """Whether it writes answers of its own."""
        return self.data == "prompts"


_COMMON = {"schedule": "constant", "warmup": 0.0, "weight_decay": 0.0, "max_grad_norm": 1.0, "seed": SEED}
_LEARN = _COMMON | {"learning_rate": 1e-5, "max_length": 1024}
_PAIRS = _LEARN | {"beta": 0.1, "learning_rate": 1e-4}  # so that margins grow beyond the rounding of bfloat16
_ONLINE = _COMMON | {
    "learning_rate": 1e-6, "max_length": 1024, "max_new_tokens": ANSWER, "temperature": 1.0,
    "missing_stop_penalty": 0.0, "target_kl": 0.0,
}  # fmt: skip

JOBS = {
    job.name: job
    for job in (
        Job("sft", "docs", 16, _LEARN),
        Job("reward", "pairs", 16, _LEARN | {"centering": 0.0}),
        Job("dpo", "pairs", 16, _PAIRS),
        Job("dpo-precomputed", "pairs", 16, _PAIRS),
        Job("sample", "prompts", 8, {"max_new_tokens": ANSWER, "seed": SEED}, answers=8),
        Job("sample-1", "prompts", 64, {"max_new_tokens": ANSWER, "seed": SEED}),
        Job("rloo", "prompts", 8, _ONLINE | {"kl": 0.05, "answers": 8}, answers=8, steps=1),
        Job("grpo", "prompts", 8, _ONLINE | {"kl": 0.0, "answers": 8}, answers=8, steps=1),
        Job(
            "ppo", "prompts", 64,
            _ONLINE | {"kl": 0.05, "updates": 4, "minibatches": 1, "critic_learning_rate": 1e-6}, steps=1,
        ),
    )
}  # fmt: skip


def lengths(job: Job, count: int) -> list[tuple[int, ...]]:
    """Tokens of each row: docs (all,), pairs (prompt, chosen, rejected), prompts (prompt,); stop tokens included."""
    draw = random.Random(f"{SEED} {job.data}")
    if job.data == "docs":
        low, high = (math.log2(size) for size in job.tokens)
        return [(round(2 ** draw.uniform(low, high)),) for _ in range(count)]
    if job.data == "pairs":
        return [(draw.randint(32, 128), draw.randint(32, 127), draw.randint(32, 127)) for _ in range(count)]
    return [(draw.randint(16, 128),) for _ in range(count)]


def rows(job: Job, words: list[str], count: int) -> list[dict[str, str]]:
    """`count` rows of text in which every word is one token; words are Zipf-like, so that there is a bias to learn."""
    draw = random.Random(f"{SEED} {job.data} words")
    weights = [1 / (rank + 5) for rank in range(len(words))]

    def text(tokens: int) -> str:
        return "".join(draw.choices(words, weights, k=tokens))

    made: list[dict[str, str]] = []
    for size in lengths(job, count):
        if job.data == "docs":
            made.append({"prompt": text(1), "completion": text(size[0] - 2)})
        elif job.data == "pairs":
            made.append({"prompt": text(size[0]), "chosen": text(size[1] - 1), "rejected": text(size[2] - 1)})
        else:
            made.append({"prompt": text(size[0])})
    return made


def rule(prompt: str, completion: str) -> float:
    """The reward function of rloo and grpo on both sides: the share of distinct words."""
    words = completion.split()
    return len(set(words)) / len(words) if words else 0.0
