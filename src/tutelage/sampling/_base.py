"""What a rollout engine promises."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.batches import Rollouts
from tutelage.data.template import Renderer
from tutelage.errors import UsageError
from tutelage.models.policy import Policy
from tutelage.types import Prompt


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are drawn."""

    max_new_tokens: int = 64
    temperature: float = 1.0
    top_p: float = 1.0
    """keep the smallest set of tokens with this much probability; 1 = all (always 1 while training)"""
    top_k: int = 0
    """keep the k likeliest tokens; 0 = all (always 0 while training)"""
    greedy: bool = False

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.temperature <= 0 or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise UsageError(
                f"{self} makes no sense", fix="max_new_tokens ≥ 1, temperature > 0, 0 < top_p ≤ 1, top_k ≥ 0"
            )


class Sampler(ABC):
    """Draws answers from a policy."""

    @abstractmethod
    def sample(self, policy: Policy, prompts: Sequence[Prompt], n: int, seed: int) -> Rollouts:
        """`n` answers to each prompt; row i·n + j is answer j to prompt i.

        A sequence's randomness depends on (seed, prompt id, j) alone, never on which other prompts were asked with it;
        a prompt that stands there again goes on at j + n, so that no answer is drawn twice.
        """


@dataclass(eq=False)
class Engine(Sampler):
    """A sampler that draws in this process, on the device of the policy."""

    renderer: Renderer
    sampling: Sampling
    slots: int = 256
    """how many answers are under way at once; memory grows with it, results do not depend on it"""
    say: Callable[[str], None] = lambda _: None
    """told in one sentence when a slower way than the fastest has to do"""


def uniforms(seed: int, prompt_id: str, answer: int, count: int) -> NDArray[np.float64]:
    """`count` numbers in [0, 1): the whole randomness of one answer (Philox keyed by seed, prompt and answer)."""
    digest = hashlib.blake2b(f"{seed}\x00{prompt_id}\x00{answer}".encode(), digest_size=16).digest()
    key = np.frombuffer(digest, dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).random(count)
