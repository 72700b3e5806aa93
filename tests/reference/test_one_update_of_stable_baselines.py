"""One update on a frozen rollout of Stable-Baselines3 ends at the parameters that its own PPO and A2C end at, to 1e-5.

SB3's value loss is a plain squared error: neither our ½ nor a maximum, so `value_coef` is twice its `vf_coef`. The
gradient norm is not limited here: SB3 limits that of both networks together, ours that of each.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import gymnasium
import numpy as np
import pytest
import stable_baselines3
import torch
from control_world import ControlWorld, Rollout, credit
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger
from torch import Tensor, nn

from tutelage.algorithms.a2c import A2C
from tutelage.algorithms.ppo import PPO
from tutelage.batches import Experience
from tutelage.ops.masked import whiten
from tutelage.train.optim import Optimizer

TOLERANCE = 1e-5
EPISODE, LENGTH, ENVIRONMENTS = 12, 40, 4
"""Poles fall after 8 to 60 steps of chance, so some episodes end by themselves and some by the clock."""
RATE, GAMMA, LAM, VALUE = 3e-3, 0.97, 0.9, 0.4
KINDS = {
    "ppo": (stable_baselines3.PPO, PPO, {"n_epochs": 4, "batch_size": LENGTH * ENVIRONMENTS, "clip_range": 0.02}),
    "a2c": (stable_baselines3.A2C, A2C, {"use_rms_prop": False}),
    "a2c, advantages normalised": (stable_baselines3.A2C, A2C, {"use_rms_prop": False, "normalize_advantage": True}),
}
"""theirs, ours, and their settings; a clip of 0.02 is passed by many steps in four epochs"""


@dataclass(frozen=True)
class Frozen:
    """A rollout of SB3, the networks that took it, and where SB3's update took these."""

    rollout: Rollout
    policy: nn.Module
    critic: nn.Module
    their_returns: Tensor
    """float32 [T, E]"""
    after: dict[str, Tensor]


def networks(agent: Any) -> tuple[nn.Module, nn.Module]:
    """Copies of SB3's two networks."""
    policy, extractor = agent.policy, agent.policy.mlp_extractor
    pair = nn.Sequential(extractor.policy_net, policy.action_net), nn.Sequential(extractor.value_net, policy.value_net)
    return copy.deepcopy(pair[0]), copy.deepcopy(pair[1])


def weights(policy: nn.Module, critic: nn.Module) -> dict[str, Tensor]:
    named = {"policy": policy, "critic": critic}
    return {
        f"{name}.{key}": value.detach().clone() for name, net in named.items() for key, value in net.named_parameters()
    }


@cache
def frozen(name: str, rms_prop: bool = False) -> Frozen:
    """Collected by SB3 itself, in episodes cut short by a clock; then updated by SB3 itself."""
    kind, _, settings = KINDS[name]
    settings = settings | ({"use_rms_prop": True} if rms_prop else {})
    vector = make_vec_env(lambda: gymnasium.make("CartPole-v1", max_episode_steps=EPISODE), ENVIRONMENTS, seed=3)
    agent = kind(
        "MlpPolicy",
        vector,
        n_steps=LENGTH,
        learning_rate=RATE,
        gamma=GAMMA,
        gae_lambda=LAM,
        vf_coef=VALUE,
        max_grad_norm=1e9,
        seed=5,
        device="cpu",
        **settings,
    )
    agent.set_logger(Logger(None, []))
    _, callback = agent._setup_learn(LENGTH * ENVIRONMENTS)
    with torch.no_grad():  # else the policy is uniform, all its advantages are as good as noise
        agent.policy.action_net.weight.mul_(50)
    endings = _record_endings(vector)
    agent.collect_rollouts(vector, callback, agent.rollout_buffer, LENGTH)
    buffer, policy, critic = agent.rollout_buffer, *networks(agent)
    rollout = _rollout(agent, buffer, endings)
    returns = torch.tensor(buffer.returns)
    agent.train()
    return Frozen(rollout, policy, critic, returns, weights(*networks(agent)))


def _record_endings(vector: Any) -> list[dict[str, np.ndarray]]:
    """Which steps ended the task, which the clock, and what was seen after each, as `vector` steps."""
    seen: list[dict[str, np.ndarray]] = []
    wait = vector.step_wait

    def recorded() -> Any:
        after, rewards, dones, infos = wait()
        clock = np.array([bool(info.get("TimeLimit.truncated")) for info in infos])
        last = [info.get("terminal_observation", after[place]) for place, info in enumerate(infos)]
        seen.append(
            {"rewards": rewards.copy(), "truncated": clock, "terminated": dones & ~clock, "after": np.stack(last)}
        )
        return after, rewards, dones, infos

    vector.step_wait = recorded
    return seen


def _rollout(agent: Any, buffer: Any, endings: list[dict[str, np.ndarray]]) -> Rollout:
    joined = {name: torch.tensor(np.stack([one[name] for one in endings])) for name in endings[0]}
    with torch.no_grad():
        next_values = agent.policy.predict_values(joined["after"].flatten(0, 1)).view(LENGTH, ENVIRONMENTS)
    return Rollout(
        torch.tensor(buffer.observations),
        torch.tensor(buffer.actions).long()[..., 0],
        joined["rewards"].float(),
        torch.tensor(buffer.values),
        torch.tensor(buffer.log_probs),
        joined["terminated"],
        joined["truncated"],
        next_values,
    )


def learner_of(name: str, case: Frozen, **changed: Any) -> Any:
    _, kind, theirs = KINDS[name]
    settings = {
        "learning_rate": RATE,
        "critic_learning_rate": RATE,
        "gamma": GAMMA,
        "lam": LAM,
        "value_coef": 2 * VALUE,
    }
    settings |= {"model": "c", "adam_eps": 1e-5, "max_grad_norm": 0.0, "warmup": 0.0}
    if kind is PPO:
        settings |= {"updates": 4, "clip": theirs["clip_range"], "value_clip": 0.0, "target_kl": 0.0}
    world = ControlWorld(copy.deepcopy(case.policy), copy.deepcopy(case.critic))
    return kind(kind.Config(**settings | changed), world)


def experience_of(name: str, learner: Any, rollout: Rollout) -> Experience:
    experience = credit(learner, rollout)
    if KINDS[name][2].get("normalize_advantage"):
        experience = replace(experience, advantages=whiten(experience.advantages, experience.mask))
    return experience


def updated(
    name: str,
    case: Frozen,
    rollout: Callable[[Rollout], Rollout] = lambda rollout: rollout,
    experience: Callable[[Experience], Experience] = lambda experience: experience,
    **changed: Any,
) -> dict[str, Tensor]:
    """Our parameters after one update on the frozen rollout."""
    learner = learner_of(name, case, **changed)
    optimizer = Optimizer(learner, learner.config, 1)
    optimizer.begin(0)
    for batch in learner.minibatches(experience(experience_of(name, learner, rollout(case.rollout))), 0):
        optimizer.step(learner, batch)
    return weights(learner.parts.policy.net, learner.parts.critic.net)


def distance(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


@pytest.mark.parametrize("name", KINDS)
def test_the_frozen_rollout_holds_every_kind_of_ending_and_the_update_moves(name):
    case = frozen(name)
    assert case.rollout.terminated.any() and case.rollout.truncated.any()
    assert not (case.rollout.terminated | case.rollout.truncated)[-1].all()
    assert distance(weights(case.policy, case.critic), case.after) > 1e-3


@pytest.mark.parametrize("name", KINDS)
def test_returns_are_theirs(name):
    """Their buffer's GAE, with values bootstrapped where the clock or the rollout cut an episode."""
    case = frozen(name)
    ours = credit(learner_of(name, case), case.rollout).returns.view(ENVIRONMENTS, LENGTH).T
    torch.testing.assert_close(ours, case.their_returns, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", KINDS)
def test_one_update_ends_at_their_parameters(name):
    case = frozen(name)
    assert distance(updated(name, case), case.after) <= TOLERANCE


def test_one_update_of_a2c_with_their_own_optimiser_ends_at_their_parameters():
    """RMSprop as SB3 has it by default, on the gradient of our loss."""
    case = frozen("a2c", rms_prop=True)
    learner = learner_of("a2c", case)
    parameters = [*learner.parts.policy.parameters(), *learner.parts.critic.parameters()]
    optimizer = torch.optim.RMSprop(parameters, lr=RATE, alpha=0.99, eps=1e-5, weight_decay=0)
    learner.loss(experience_of("a2c", learner, case.rollout)).total.backward()
    optimizer.step()
    assert distance(weights(learner.parts.policy.net, learner.parts.critic.net), case.after) <= TOLERANCE


def test_the_ppo_update_is_clipped():
    """Or the equality would say nothing of the clip."""
    case = frozen("ppo")
    assert distance(updated("ppo", case, clip=10.0), case.after) > 10 * TOLERANCE


BUGS: dict[str, dict[str, Any]] = {
    "sign of the advantage": {"experience": lambda e: replace(e, advantages=-e.advantages)},
    "nothing bootstrapped": {"rollout": lambda r: replace(r, next_values=torch.zeros_like(r.next_values))},
    "end of the rollout not bootstrapped": {
        "rollout": lambda r: replace(r, next_values=torch.cat([r.next_values[:-1], torch.zeros(1, ENVIRONMENTS)]))
    },
    "our half in the value loss kept": {"value_coef": VALUE},
    "advantages of the step before": {"experience": lambda e: replace(e, advantages=e.advantages.roll(1, 0))},
    "values of the step after": {"rollout": lambda r: replace(r, values=r.values.roll(-1, 0))},
    "terminated taken for truncated": {
        "rollout": lambda r: replace(r, terminated=torch.zeros_like(r.terminated), truncated=r.truncated | r.terminated)
    },
    "truncated taken for terminated": {
        "rollout": lambda r: replace(r, truncated=torch.zeros_like(r.truncated), terminated=r.truncated | r.terminated)
    },
    "episodes run into each other": {
        "rollout": lambda r: replace(
            r, terminated=torch.zeros_like(r.terminated), truncated=torch.zeros_like(r.truncated)
        )
    },
    "another discount": {"gamma": 1.0},
    "another lambda": {"lam": 1.0},
    "returns without the values": {"experience": lambda e: replace(e, returns=e.returns - e.values)},
    "another epsilon of Adam": {"adam_eps": 1e-2},
}


@pytest.mark.parametrize("name", ["ppo", "a2c"])
@pytest.mark.parametrize("bug", BUGS)
def test_an_update_with_a_known_bug_ends_elsewhere(name, bug):
    case = frozen(name)
    assert distance(updated(name, case, **BUGS[bug]), case.after) > 10 * TOLERANCE
