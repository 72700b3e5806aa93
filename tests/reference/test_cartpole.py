"""PPO's core, through the product's own loop and optimiser, balances a pole; with a known bug in it, it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from control_world import Control, ControlWorld, Steps, mean_return, network

from tutelage.algorithms.ppo import PPO
from tutelage.batches import Experience
from tutelage.train.loop import train
from tutelage.train.optim import Optimizer

STEPS, ENVIRONMENTS, LENGTH = 40_000, 8, 128
SETTINGS = {
    "model": "cartpole",
    "learning_rate": 2e-3,
    "critic_learning_rate": 2e-3,
    "gamma": 0.98,
    "lam": 0.9,
    "updates": 6,
    "minibatches": 4,
    "clip": 0.2,
    "value_clip": 0.0,
    "value_coef": 1.0,
    "target_kl": 0.0,
    "max_grad_norm": 0.5,
    "warmup": 0.0,
}


def balanced(seed: int, change: Callable[[Experience], Experience] = lambda experience: experience) -> float:
    """Mean return after training."""

    class Changed(PPO):
        def loss(self, batch):
            return super().loss(change(batch))

    learner = Changed(
        PPO.Config(**SETTINGS, seed=seed), ControlWorld(network(4, 2, 0.01, seed), network(4, 1, 1, seed))
    )
    algorithm = Control(learner, "CartPole-v1", ENVIRONMENTS, LENGTH)
    rounds = STEPS // (ENVIRONMENTS * LENGTH)
    train(algorithm, Optimizer(algorithm, learner.config, rounds), Steps(rounds))
    assert algorithm.taken <= STEPS
    return mean_return(learner.parts.policy.net, "CartPole-v1", 10, seed=1000)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
def test_ppo_balances_the_pole_for_400_steps_within_40_000(seed):
    assert balanced(seed) >= 400


@pytest.mark.slow
@pytest.mark.parametrize(
    "bug",
    [
        lambda batch: replace(batch, advantages=-batch.advantages),
        lambda batch: replace(batch, advantages=batch.advantages.roll(1, 0)),
        lambda batch: replace(batch, logprobs=batch.logprobs - 1),
    ],
    ids=["sign of the advantage", "another step's advantage", "old log-probabilities off"],
)
def test_with_a_bug_it_does_not(bug):
    assert balanced(0, bug) < 400
