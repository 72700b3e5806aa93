"""What to ask next in a project: its open pairs through one of the ways in `statistics/selection`; what that saved.

The saving is measured on the project's own judgements: the same small learner (hashed words of both answers, logistic
regression) learns from n pairs that were chosen and from n random ones, and both are judged on random pairs of other
prompts. It says whether the choice paid so far, not what a large reward model would have made of it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage import registry
from tutelage.errors import DataError
from tutelage.statistics.saving import Curve, Saving, labels_saved, why_still_random
from tutelage.statistics.selection import Candidate, Selector, select
from tutelage.store.choosing import Choice, Choosing
from tutelage.store.store import Store
from tutelage.types import Comparison

Array = NDArray[np.float64]
Scores = Mapping[str, Sequence[float]]
"""sample id → what each head of a reward model says of it"""
_WIDTH = 256
_REPLICATES = 10
_LEAST = 10
"""fewer random pairs to learn from, or to be judged on, say nothing"""
_WORD = re.compile(r"[a-z0-9]+|[\u3400-\u9fff]", re.IGNORECASE)


def choose(
    store: Store,
    project: str,
    method: str,
    count: int,
    *,
    scores: Scores | None = None,
    random_share: float = 0.2,
    seed: int = 0,
    actor: str = "cli",
) -> dict[str, Any]:
    """Choose the next `count` pairs and put them first; what was done, JSON-able.

    Raises:
        UsageError: an unknown way, or a random share below a fifth.
        DataError: scores that are needed and missing, or nothing to choose from.
    """
    selector = registry.find("statistics/selection", method, Selector)()  # pyright: ignore[reportAbstractUsage]
    choosing = Choosing(store.database)
    asked = choosing.pool(project)
    if not asked:
        raise DataError("there is no pair left to choose", where=f"project {project}", fix="bring in more answers")
    pool = [_candidate(comparison, scores or {}, method != "random") for comparison in asked]
    chosen = select(selector, pool, count, random_share=random_share, seed=seed)
    Random(seed).shuffle(chosen)  # both arms come mixed, so that a batch that is stopped half way stays a fair one
    batch = [Choice(one.candidate.id, one.probability, one.arm) for one in chosen]
    told = {"method": method, "random_share": random_share, "seed": seed}
    number = choosing.put(project, batch, actor=actor, how=told)
    active = sum(one.arm == "active" for one in batch)
    return {**told, "batch": number, "pool": len(pool), "active": active, "random": len(batch) - active}


def _candidate(asked: Comparison, scores: Scores, needed: bool) -> Candidate:
    first, second = (sample.id for sample in asked.candidates)
    missing = [name for name in (first, second) if name not in scores]
    if needed and missing:
        raise DataError(
            f"answer {missing[0]!r} has no scores by the heads of a reward model", fix="give --reward MODEL or a file"
        )
    one, two = (tuple(float(value) for value in scores.get(name, ())) for name in (first, second))
    return Candidate(asked.id, asked.prompt.id, first, second, one, two, tuple(_counts(asked.prompt.content, 32)))


@dataclass(frozen=True)
class Gain:
    """What choosing has saved against random so far."""

    saving: Saving
    random: int
    active: int
    """pairs of each arm that are judged"""
    why: str = ""
    """why pairs should still be chosen at random; empty: the labels are enough for more"""


def saving(store: Store, project: str, *, seed: int = 0) -> Gain:
    """Measure it on what was judged; `seed` draws the splits."""
    arms = Choosing(store.database).arms(project)
    labels = _labels(store, project)
    asked = {one.id: one for one in store.comparisons(project, ["pair"]) if one.id in arms and one.id in labels}
    names = {arm: [name for name in asked if arms[name] == arm] for arm in ("random", "active")}
    if min(map(len, names.values())) < 2 * _LEAST:
        return Gain(Saving(None, 0), len(names["random"]), len(names["active"]), why_still_random(len(labels), 0, 0))
    rows = {name: _features(asked[name]) for name in asked}
    prompt = {name: asked[name].prompt.id for name in asked}
    pairs: list[tuple[Curve, Curve]] = []
    right = tried = 0
    for replicate in range(_REPLICATES):
        draw = Random(f"{seed} {replicate}")
        held = _held_out(names["random"], prompt, draw)
        away = {prompt[name] for name in held}
        learn = {arm: [name for name in told if prompt[name] not in away] for arm, told in names.items()}
        sizes = _sizes(min(map(len, learn.values())))
        if len(held) < _LEAST or not sizes:
            continue
        curves: dict[str, Curve] = {}
        for arm, told in learn.items():
            draw.shuffle(told)
            hits = [_hits(rows, labels, told[:size], held) for size in sizes]
            curves[arm] = [(float(size), hit / len(held)) for size, hit in zip(sizes, hits, strict=True)]
            if arm == "active" and not replicate:
                right, tried = hits[-1], len(held)
        pairs.append((curves["random"], curves["active"]))
    found = labels_saved([one for one, _ in pairs], [two for _, two in pairs], seed=seed)
    why = why_still_random(len(labels), right, tried)
    return Gain(found, len(names["random"]), len(names["active"]), why)


def _labels(store: Store, project: str) -> dict[str, int]:
    """pair → +1 where most say that the first answer is better, −1 the second; undecided ones are left out."""
    total: dict[str, int] = {}
    for judgement in store.judgements(project):
        if len(judgement.ranks) == 2:
            one, two = judgement.ranks
            total[judgement.comparison] = total.get(judgement.comparison, 0) + (one < two) - (one > two)
    return {name: 1 if value > 0 else -1 for name, value in total.items() if value}


def _held_out(names: Sequence[str], prompt: Mapping[str, str], draw: Random) -> list[str]:
    """The random pairs of some 40% of the prompts."""
    prompts = sorted({prompt[name] for name in names})
    kept = set(draw.sample(prompts, max(1, round(0.4 * len(prompts)))))
    return [name for name in names if prompt[name] in kept]


def _sizes(most: int) -> list[int]:
    """Up to six numbers of labels to learn from."""
    return sorted({round(most * share) for share in (0.15, 0.3, 0.45, 0.6, 0.8, 1.0)}) if most >= _LEAST else []


def _hits(rows: Mapping[str, Array], labels: Mapping[str, int], learn: Sequence[str], held: Sequence[str]) -> int:
    """How many held-out labels the learner gets right after these."""
    side = np.array([labels[name] for name in learn], dtype=np.float64)
    weights = _logistic(np.array([rows[name] for name in learn]) * side[:, None])
    return sum(float(rows[name] @ weights) * labels[name] > 0 for name in held)


def _logistic(rows: Array, ridge: float = 1.0, steps: int = 12) -> Array:
    """Weights [D] that maximise Σ log σ(row · w) − ridge/2 |w|², by Newton's method in the space of rows."""
    gram, alpha = rows @ rows.T, np.zeros(len(rows))
    for _ in range(steps):
        chance = 1 / (1 + np.exp(-np.clip(gram @ alpha, -30, 30)))
        curve = np.maximum(chance * (1 - chance), 1e-6)
        target = gram @ alpha + (1 - chance) / curve
        alpha = np.linalg.solve(gram + ridge * np.diag(1 / curve), target)
    return rows.T @ alpha


def _features(asked: Comparison) -> Array:
    one, two = (np.array(_counts(sample.text, _WIDTH)) for sample in asked.candidates)
    lengths = [np.log1p(len(sample.text)) for sample in asked.candidates]
    return np.append(one - two, lengths[0] - lengths[1])


def _counts(content: Any, width: int) -> list[float]:
    """Hashed word counts of unit length."""
    text = content if isinstance(content, str) else " ".join(turn.content for turn in content)
    found = np.zeros(width)
    for word in _WORD.findall(text.lower()):
        digest = zlib.crc32(word.encode())
        found[digest % width] += 1 if digest & 0x10000 else -1
    norm = float(np.linalg.norm(found))
    return (found / norm if norm else found).tolist()
