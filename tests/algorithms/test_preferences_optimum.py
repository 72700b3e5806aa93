"""Preference methods, the real classes through the real optimiser, end where their equation says they end."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from table_world import SEQUENCES, TablePolicy, World, golden_or_own, packed
from torch import Tensor

from tutelage.algorithms.best_of_n import BestOfN
from tutelage.algorithms.dpo import DPO
from tutelage.algorithms.online_dpo import OnlineDPO
from tutelage.batches import ScoredPairs, Scores
from tutelage.ops.best_of import kl_bound
from tutelage.train.optim import Optimizer

BETA = 0.5
PLAIN = {"model": "t", "max_grad_norm": 0.0, "warmup": 0.0, "tokens_per_part": 10**7}
ONLINE = PLAIN | {"missing_stop_penalty": 0.0, "score_clip": 100.0, "batch_size": 256, "learning_rate": 0.1}


def world(size: int = 256) -> World:
    folder = Path(os.environ.get("TUTELAGE_SHARED") or Path(__file__).resolve().parents[3] / "shared")
    path = folder / "oracles" / "enumerable_lm.json"
    case = json.loads(path.read_text()) if path.is_file() else None
    parts = World(*golden_or_own(case), size)
    parts.reward.prefer = lambda first, second: asked(parts.reward, first, second)  # type: ignore[attr-defined]
    return parts


def asked(reward: Any, first: Any, second: Any) -> Tensor:
    """As any reward source compares two answers."""
    gap = reward.score(first).value - reward.score(second).value
    return (gap > 0).float() + 0.5 * (gap == 0).float()


def run(algorithm: Any, steps: int, batch: Any = None) -> None:
    optimizer = Optimizer(algorithm, algorithm.config, steps)
    for step in range(steps):
        optimizer.begin(step)
        with torch.no_grad():
            experience = algorithm.collect(step) if batch is None else batch
        for part in algorithm.minibatches(experience, step):
            optimizer.step(algorithm, part)


def counted(parts: World, count: Tensor) -> ScoredPairs:
    """count [S, S]: how often the first was preferred to the second, as pairs with that weight."""
    left, right = (count > 0).nonzero().T
    logp = parts.reference.logprobs(packed(SEQUENCES)).logprobs.sum(1)
    chosen, rejected = packed([SEQUENCES[i] for i in left]), packed([SEQUENCES[i] for i in right])
    return ScoredPairs(chosen, rejected, torch.zeros(len(left)), count[left, right].float(), logp[left], logp[right])


def drawn(parts: World, pairs: int, seed: int) -> Tensor:
    """Two answers of the reference each, judged by people who follow Bradley–Terry."""
    draw = torch.Generator().manual_seed(seed)
    probability = parts.policy.probability()
    one, two = torch.multinomial(probability, 2 * pairs, True, generator=draw).view(2, -1)
    wins = torch.rand(pairs, generator=draw) < torch.sigmoid(parts.rewards[one] - parts.rewards[two])
    better, worse = torch.where(wins, one, two), torch.where(wins, two, one)
    count = torch.zeros(len(SEQUENCES), len(SEQUENCES)).index_put_((better, worse), torch.ones(pairs), accumulate=True)
    return count.fill_diagonal_(0)


def test_dpo_on_sixty_thousand_drawn_pairs_comes_as_near_as_the_draw_allows() -> None:
    parts = world()
    dpo = DPO(DPO.Config(**PLAIN, beta=BETA, learning_rate=0.1), parts)
    run(dpo, 300, counted(parts, drawn(parts, 60_000, 0)))
    assert parts.distance(BETA) <= 0.08


@pytest.mark.parametrize("answers", [2, 4])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
def test_online_dpo_with_soft_labels_reaches_the_optimum_of_reward_minus_kl(seed: int, answers: int) -> None:
    parts = world()
    run(OnlineDPO(OnlineDPO.Config(**ONLINE, beta=BETA, labels="soft", answers=answers, seed=seed), parts), 100)
    assert parts.distance(BETA) <= 0.06


def swapped(parts: World) -> OnlineDPO:
    """Chosen and rejected the wrong way round."""
    algorithm = OnlineDPO(OnlineDPO.Config(**ONLINE, beta=BETA, labels="soft"), parts)
    plain = algorithm.loss
    algorithm.loss = lambda batch: plain(  # type: ignore[method-assign]
        replace(
            batch,
            chosen=batch.rejected,
            rejected=batch.chosen,
            ref_chosen=batch.ref_rejected,
            ref_rejected=batch.ref_chosen,
        )
    )
    return algorithm


def drifting(parts: World) -> OnlineDPO:
    """The reference is the policy itself."""
    algorithm = OnlineDPO(OnlineDPO.Config(**ONLINE, beta=BETA, labels="soft"), parts)
    algorithm.reference = parts.policy  # type: ignore[assignment]
    return algorithm


MUTANTS: dict[str, Any] = {
    "half of beta": lambda parts: OnlineDPO(OnlineDPO.Config(**ONLINE, beta=BETA / 2, labels="soft"), parts),
    "IPO for DPO": lambda parts: OnlineDPO(OnlineDPO.Config(**ONLINE, beta=BETA, labels="soft", loss="ipo_sum"), parts),
    "ties and strengths made one certain answer": lambda parts: OnlineDPO(
        OnlineDPO.Config(**ONLINE, beta=BETA, labels="hard"), parts
    ),
    "mean for sum": lambda parts: OnlineDPO(
        OnlineDPO.Config(**ONLINE, beta=BETA, labels="soft", loss="sigmoid_norm"), parts
    ),
    "swapped": swapped,
    "drifting reference": drifting,
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_an_online_dpo_with_a_known_bug_does_not(mutant: str) -> None:
    parts = world()
    run(MUTANTS[mutant](parts), 100)
    assert parts.distance(BETA) > 0.06


def test_hard_labels_and_asking_the_source_are_the_same_where_scores_decide() -> None:
    pairs = [OnlineDPO(OnlineDPO.Config(**ONLINE, labels=labels), world()).collect(0) for labels in ("hard", "asked")]
    assert torch.equal(pairs[0].chosen.tokens, pairs[1].chosen.tokens)
    assert torch.equal(pairs[0].weight, pairs[1].weight) and bool((pairs[0].weight == 1).all())


def test_a_step_of_ties_only_leaves_everything_as_it_is() -> None:
    parts = world(8)
    parts.reward.score = lambda samples: Scores(torch.zeros(len(samples)), {})  # type: ignore[method-assign]
    before = parts.policy.table.detach().clone()
    algorithm = OnlineDPO(OnlineDPO.Config(**ONLINE), parts)
    run(algorithm, 2)
    assert algorithm.metrics()["pairs/tied"] == 1 and algorithm.metrics()["pairs/learned"] == 0
    assert torch.equal(parts.policy.table.detach(), before)


def test_best_of_n_moves_the_policy_towards_the_best_of_n_and_no_further() -> None:
    """Learning the best of n once over, from many prompts, is the exact law of best-of-n: q = Fⁿ − F₋ⁿ."""
    parts = world(20_000)
    algorithm = BestOfN(BestOfN.Config(**ONLINE | {"batch_size": 20_000}, answers=4), parts)
    batch = algorithm.collect(0)
    start = parts.policy.probability()
    run(algorithm, 80, batch)
    below = torch.tensor([float(start[parts.rewards < value].sum()) for value in parts.rewards])
    exact = (below + start) ** 4 - below**4
    assert 0.5 * float((parts.policy.probability() - exact).abs().sum()) <= 0.05
    learned = parts.policy.probability()
    drift = float((learned * (learned / start).log()).sum())
    assert drift <= kl_bound(4) and drift == pytest.approx(float((exact * (exact / start).log()).sum()), abs=0.06)
    metrics = algorithm.metrics()
    assert metrics["best_of/4"] == pytest.approx(metrics["reward/best"], abs=1e-5)
    assert metrics["best_of/1"] == pytest.approx(metrics["reward/mean"], abs=1e-5)
    assert metrics["best_of/2"] == pytest.approx(
        float((((below + start) ** 2 - below**2) * parts.rewards).sum()), abs=0.03
    )


class Arm:
    """A bandit of two arms as an algorithm's parts: one token decides, the reference picks each half of the time."""

    def __init__(self) -> None:
        logits = torch.full((31, 5), -40.0)
        logits[0, :2] = 0.0
        logits[1:, 4] = 40.0
        self.policy = TablePolicy(logits)
        self.reference = SimpleNamespace(logprobs=TablePolicy(logits).logprobs)

    def first_arm(self) -> float:
        return float(torch.softmax(self.policy.table[0, :2].detach(), 0)[0])

    def pairs(self, share: float) -> ScoredPairs:
        """Arm 0 is preferred with probability `share`."""
        arms = packed([(0, 4), (1, 4)]), packed([(1, 4), (0, 4)])
        logp = self.reference.logprobs(arms[0]).logprobs.sum(1).detach()
        weight = torch.tensor([share, 1 - share])
        return ScoredPairs(*arms, torch.zeros(2), weight, logp, logp.flip(0))


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


P = sigma(1.0)
"""How often arm 0 with reward 1 is preferred to arm 1 with reward 0."""


def logit(p: float) -> float:
    return math.log(p / (1 - p))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"loss": "sigmoid"}, sigma(1.0 / BETA)),
        ({"loss": "ipo_sum"}, sigma((2 * P - 1) / (2 * BETA))),
        ({"loss": "ipo_avg"}, sigma(2 * (2 * P - 1) / (2 * BETA))),  # h per token, two tokens
        ({"loss": "sigmoid", "label_smoothing": 0.1}, sigma(logit(0.9 * P + 0.1 * (1 - P)) / BETA)),
        ({"loss": "robust", "label_smoothing": 0.1}, sigma(logit((P - 0.1) / 0.8) / BETA)),
        ({"loss": "exo_pair", "label_smoothing": 0.2}, sigma((2 * P - 1) * logit(0.8) / BETA)),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else f"{value:.4f}",
)
def test_on_a_two_armed_bandit_each_loss_ends_at_its_closed_form(settings: dict[str, Any], expected: float) -> None:
    arm = Arm()
    dpo = DPO(DPO.Config(**PLAIN, beta=BETA, learning_rate=0.05, **settings), arm)  # type: ignore[arg-type]
    run(dpo, 500, arm.pairs(P))
    assert arm.first_arm() == pytest.approx(expected, abs=2e-3)


def test_the_known_numbers_of_the_bandit() -> None:
    assert sigma(1 / BETA) == pytest.approx(0.8808, abs=1e-4)
    assert sigma((2 * P - 1) / (2 * BETA)) == pytest.approx(0.6135, abs=1e-4)


def test_a_weight_read_as_a_probability_is_the_label_that_the_counts_give() -> None:
    """One pair of weight 2P − 1 under --weight-as probability ends where P of the labels say so."""
    arm = Arm()
    pairs = arm.pairs(P).select([0])
    dpo = DPO(
        DPO.Config(**PLAIN, beta=BETA, learning_rate=0.05, weight_as="probability"),
        arm,  # type: ignore[arg-type]
    )
    run(dpo, 500, replace(pairs, weight=torch.tensor([2 * P - 1])))
    assert arm.first_arm() == pytest.approx(sigma(1 / BETA), abs=2e-3)


def test_a_margin_moves_the_optimum_by_itself() -> None:
    """βh − margin takes the place of βh, so h ends margin/β higher."""
    arm = Arm()
    pairs = arm.pairs(P)
    dpo = DPO(DPO.Config(**PLAIN, beta=BETA, learning_rate=0.05), arm)  # type: ignore[arg-type]
    run(dpo, 500, replace(pairs, margin=torch.tensor([0.4, -0.4])))
    assert arm.first_arm() == pytest.approx(sigma((1 + 0.4) / BETA), abs=2e-3)
