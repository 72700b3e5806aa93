"""Randomness as an argument: one seed for each use, derived from the run's seed, the step and the role."""

from __future__ import annotations

import hashlib


def derive(seed: int, *names: int | str) -> int:
    """A 63-bit seed that depends on nothing but its arguments, e.g. `derive(7, step, "rollout")`."""
    text = "\0".join(str(name) for name in (seed, *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
