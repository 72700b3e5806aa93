"""Three raters in ten answer at random: a reward model that trains on posterior probabilities beats the majority.

A linear taste in 16 dimensions, 600 pairs, 10 raters (3 clicking anywhere), three votes a pair. From the same votes a
Bradley–Terry reward model is fitted to (a) the majority of the votes, (b) rows weighted by |2P − 1|, as `rate export`
writes them, (c) P itself as a soft target; P from `believe_raters`. Gold is the taste, on 2,000 pairs never rated.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from tutelage.statistics.intervals import bootstrap
from tutelage.statistics.raters import PairModel, believe_everyone, believe_raters
from tutelage.store.export import preferences
from tutelage.store.votes import Vote
from tutelage.types import Prompt, Sample

SEEDS = 12
DIMENSIONS = 16
PAIRS = 600


@cache
def _accuracies() -> dict[str, np.ndarray]:
    found: dict[str, list[float]] = {"majority": [], "weight": [], "soft": []}
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        taste = rng.normal(size=DIMENSIONS)
        gaps = rng.normal(size=(PAIRS, DIMENSIONS))
        votes = _votes(gaps @ taste, rng)
        test = rng.normal(size=(2000, DIMENSIONS))
        beliefs = {"majority": believe_everyone(votes), "posterior": believe_raters(votes)}
        for name, (target, weight) in {
            "majority": _exported(votes, beliefs["majority"], weighted=False),
            "weight": _exported(votes, beliefs["posterior"], weighted=True),
            "soft": (np.array([beliefs["posterior"].first[f"i{n:03}"] for n in range(PAIRS)]), np.ones(PAIRS)),
        }.items():
            reward = _fit(gaps, target, weight)
            found[name].append(float(((test @ reward > 0) == (test @ taste > 0)).mean()))
    return {name: np.array(values) for name, values in found.items()}


@pytest.mark.parametrize("labels", ["weight", "soft"])
def test_posterior_labels_beat_the_majority_on_held_out_gold(labels: str) -> None:
    accuracy = _accuracies()
    gain = accuracy[labels] - accuracy["majority"]
    found = bootstrap(lambda drawn: float(drawn @ gain / drawn.sum()), SEEDS, draws=2000)
    assert found is not None
    assert found.low > 0.005, f"{labels}: gain {found}, from {accuracy['majority'].mean():.3f}"
    assert (gain > 0).mean() >= 0.75


def test_the_random_raters_are_found() -> None:
    rng = np.random.default_rng(3)
    found = believe_raters(_votes(rng.normal(size=PAIRS) * 4, rng))
    weight = {name: rater.weight for name, rater in found.raters.items()}
    assert max(weight[f"r{n}"] for n in range(3)) < 0.35 < 0.5 < min(weight[f"r{n}"] for n in range(3, 10))


def _votes(gap: np.ndarray, rng: np.random.Generator) -> list[Vote]:
    votes: list[Vote] = []
    for number, truth in enumerate(gap):
        prompt = Prompt(f"p{number}", "?")
        first, second = (Sample(f"{number}{side}", prompt, side) for side in "ab")
        for rater in rng.choice(10, 3, replace=False):
            chance = 0.5 if rater < 3 else 1 / (1 + np.exp(-truth))
            choice, left = 1 if rng.random() < chance else -1, bool(rng.random() < 0.5)
            votes.append(Vote(f"i{number:03}", f"r{rater}", choice, left, first, second, prompt.id, "pair", 1.0))
    return votes


def _exported(votes: list[Vote], belief: PairModel, *, weighted: bool) -> tuple[np.ndarray, np.ndarray]:
    """P(first) as 0 or 1 and the weight, read back from the rows of an export."""
    target, weight = np.full(PAIRS, 0.5), np.zeros(PAIRS)
    for row in preferences(votes, belief.first, belief.ties, weighted=weighted, band=0.0).rows:
        number = int(row["meta"]["item"][1:])
        target[number], weight[number] = float(row["chosen"] == "a"), row["weight"]
    return target, weight


def _fit(gaps: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """A linear Bradley–Terry reward model by Newton's method: cross-entropy with `target`, each row times `weight`."""
    reward = np.zeros(DIMENSIONS)
    for _ in range(15):
        chance = 1 / (1 + np.exp(-np.clip(gaps @ reward, -30, 30)))
        curvature = gaps.T @ ((weight * chance * (1 - chance))[:, None] * gaps) + np.eye(DIMENSIONS)
        reward -= np.linalg.solve(curvature, gaps.T @ (weight * (chance - target)) + reward)
    return reward
