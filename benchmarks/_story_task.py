"""The task that tutelage and TRL are compared on: finish a story's sentence happily (standard library only).

Both sides import this file, so that prompts, reward and settings cannot differ.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from _clock import noted

_SIZES = ("little", "big", "old", "small")
_HEROES = ("girl", "boy", "dog", "cat", "bird", "bear")
_NAMES = ("Lily", "Tim", "Max", "Sue", "Ben", "Mia", "Tom", "Anna")
_TIMES = ("One day,", "In the morning,", "At night,", "After a while,")
_HELD_OUT_EVERY = 6

_GOOD = """
happy glad smile smiled smiling laugh laughed love loved fun play played playing nice kind good great hug hugged joy
proud excited friend friends best beautiful pretty safe thank thanked share shared wonderful
"""
_BAD = """
sad cry cried crying scared afraid angry mad hurt bad mean lost alone worried upset broke broken fell dark sick hate
hated sorry
"""
_MOST = 4

STOP: str | None = "."
"""The token that ends an answer besides the model's own: one sentence."""


@dataclass(frozen=True)
class Settings:
    """What all methods share; names are tutelage's."""

    steps: int = 25
    batch_size: int = 64
    """answers per step"""
    max_new_tokens: int = 32
    temperature: float = 1.0
    learning_rate: float = 5e-5
    """of policy and critic alike: TRL has one optimiser for both"""
    adam_eps: float = 1e-5
    updates: int = 4
    minibatches: int = 1
    clip: float = 0.2
    value_clip: float = 0.2
    value_coef: float = 0.1
    kl: float = 0.05
    gamma: float = 1.0
    lam: float = 0.95


def prompts() -> tuple[list[str], list[str]]:
    """Openings to learn on, and held-out ones; none holds a word of the reward."""
    openings = [
        f"Once upon a time, there was a {size} {hero} named {name}. {time}"
        for size, hero, name, time in itertools.product(_SIZES, _HEROES, _NAMES, _TIMES)
    ]
    held_out = openings[::_HELD_OUT_EVERY]
    return [one for index, one in enumerate(openings) if index % _HELD_OUT_EVERY], held_out


def happiness(prompt: str, completion: str) -> float:
    """Different good words minus different bad ones, within ± 4; the prompt does not matter."""
    words = set(re.findall(r"[a-z]+", completion.lower()))
    good, bad = words & set(_GOOD.split()), words & set(_BAD.split())
    return float(max(-_MOST, min(_MOST, len(good) - len(bad))))


rule = happiness
timed = noted(rule)
