"""Small makers that tests of several rooms share."""

from __future__ import annotations

import random

from tutelage.batches import TokenBatch

ADAPTABLE = ("llama", "qwen3", "gpt2", "mistral", "gemma")
ARCHITECTURES = (*ADAPTABLE, "deepseek_v3")  # for whose experts, which a tiny one lacks, peft has a warning


def random_rows(lengths: tuple[int, ...], seed: int = 0) -> list[list[int]]:
    """Token ids without special tokens, one list per length."""
    draw = random.Random(seed)
    return [[draw.randrange(10, 250) for _ in range(length)] for length in lengths]


def batch_of(rows: list[list[int]], prompt: int = 1) -> TokenBatch:
    """Packed; all but the first `prompt` tokens of each row are learned."""
    return TokenBatch.of([(ids, [place >= prompt for place in range(len(ids))]) for ids in rows])
