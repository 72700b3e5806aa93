"""Classic control as the parts of a real algorithm: what PPO and A2C compute knows nothing of text.

    environment ─ steps ─▶ Rollout [T, E] ─ `credit` ─▶ Experience ─▶ PPO.minibatches ─▶ Optimizer.step(PPO.loss)

Of the product run: `train` (the loop), `Optimizer`, `PPO` or `A2C` (`loss`, `minibatches`, `enough`, `scaled`),
`ops.returns.gae`, `ops.masked.whiten`, `TokenBatch`, `Experience`. Of the test are: two small networks, stepping the
environment, and `credit`'s cutting of streams into episodes.

A step is a sequence of two tokens: the number of the observation (given) and the action (learned).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

from tutelage.algorithms import Algorithm
from tutelage.batches import Experience, Loss, TokenBatch
from tutelage.models.policy import TokenScores
from tutelage.ops.returns import gae


@dataclass(frozen=True)
class Rollout:
    """T steps of E environments, as they were taken."""

    observations: Tensor
    """float32 [T, E, D]: before each step"""
    actions: Tensor
    """int64 [T, E]"""
    rewards: Tensor
    """float32 [T, E]"""
    values: Tensor
    """float32 [T, E]: of `observations`"""
    logprobs: Tensor
    """float32 [T, E]"""
    terminated: Tensor
    """bool [T, E]: the task was over after the step"""
    truncated: Tensor
    """bool [T, E]: the clock stopped it"""
    next_values: Tensor
    """float32 [T, E]: of the observation after the step, before any reset; read only where a stream is cut"""


class ControlPolicy(nn.Module):
    compute_dtype = torch.float32

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.observations = torch.zeros(0)

    def logprobs(self, batch: TokenBatch, temperature: float = 1.0, *, keep: bool = False) -> TokenScores:
        every = torch.log_softmax(self.net(self.observations[batch.tokens[batch.starts]]) / temperature, -1)
        chosen = every.gather(1, batch.tokens[batch.mask][:, None])[:, 0]
        return TokenScores(batch.answers(chosen), batch.answers(-(every.exp() * every).sum(1).detach()))


class ControlCritic(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.observations = torch.zeros(0)

    def values(self, batch: TokenBatch, *, keep: bool = False) -> Tensor:
        return batch.answers(self.net(self.observations[batch.tokens[batch.starts]])[:, 0])


class ControlWorld:
    """The parts that `ActorCritic` asks for when only its loss is wanted."""

    reference = watch = None

    def __init__(self, policy: nn.Module, critic: nn.Module) -> None:
        self.policy = ControlPolicy(policy)
        self.critic = ControlCritic(critic)


def credit(learner: Any, rollout: Rollout) -> Experience:
    """Advantages and returns of each step, one row each, environment after environment.

    A stream is cut where an episode ends. Where the task was not over (the clock ran out, or the rollout did), what is
    still to come is bootstrapped: γ·V(next) joins the last reward. That is GAE's own recursion, since V after the last
    step is 0 in ours.
    """
    config, world = learner.config, learner.parts
    ended = rollout.terminated | rollout.truncated
    ended[-1] = True
    bootstrap = config.gamma * rollout.next_values * (ended & ~rollout.terminated)
    rewards, values = (rollout.rewards + bootstrap).T.flatten(), rollout.values.T.flatten()
    lengths = torch.diff(ended.T.flatten().nonzero()[:, 0], prepend=torch.tensor([-1]))
    mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]

    def episodes(flat: Tensor) -> Tensor:
        return torch.zeros(mask.shape).masked_scatter(mask, flat)

    advantages, returns = gae(episodes(rewards), episodes(values), mask, config.gamma, config.lam)
    world.policy.observations = world.critic.observations = rollout.observations.transpose(0, 1).flatten(0, 1)
    actions = rollout.actions.T.flatten().tolist()
    batch = TokenBatch.of([([place, action], [False, True]) for place, action in enumerate(actions)])
    scaled = learner.scaled(advantages[mask][:, None], batch.answer_mask)
    return Experience(batch, rollout.logprobs.T.reshape(-1, 1), scaled, values[:, None], returns[mask][:, None])


class Control(Algorithm[Any, Experience]):
    """Learns with `learner`; only the experience comes from somewhere else than text."""

    kind = "prompt"

    def __init__(self, learner: Any, name: str, environments: int, length: int) -> None:
        super().__init__(learner.config, learner.parts)
        self.learner, self.length = learner, length
        self.environments = [gymnasium.make(name) for _ in range(environments)]
        self.noise = torch.Generator().manual_seed(learner.config.seed)
        self.seen = [env.reset(seed=learner.config.seed + place)[0] for place, env in enumerate(self.environments)]
        self.taken = 0

    @torch.no_grad()
    def collect(self, step: int) -> Experience:
        policy, critic = self.parts.policy.net, self.parts.critic.net
        taken: list[dict[str, Tensor]] = []
        for _ in range(self.length):
            before = torch.tensor(np.stack(self.seen), dtype=torch.float32)
            every = torch.log_softmax(policy(before), -1)
            actions = torch.multinomial(every.exp(), 1, generator=self.noise)[:, 0]
            found = [env.step(int(action)) for env, action in zip(self.environments, actions, strict=True)]
            after = torch.tensor(np.stack([one[0] for one in found]), dtype=torch.float32)
            taken.append(
                {
                    "observations": before,
                    "actions": actions,
                    "rewards": torch.tensor([one[1] for one in found], dtype=torch.float32),
                    "values": critic(before)[:, 0],
                    "logprobs": every.gather(1, actions[:, None])[:, 0],
                    "terminated": torch.tensor([one[2] for one in found]),
                    "truncated": torch.tensor([one[3] for one in found]),
                    "next_values": critic(after)[:, 0],
                }
            )
            self.seen = [
                env.reset()[0] if one[2] or one[3] else one[0]
                for env, one in zip(self.environments, found, strict=True)
            ]
        self.taken += self.length * len(self.environments)
        return credit(self.learner, Rollout(**{name: torch.stack([one[name] for one in taken]) for name in taken[0]}))

    def loss(self, batch: Experience) -> Loss:
        return self.learner.loss(batch)

    def modules(self) -> dict[str, nn.Module]:
        return self.learner.modules()

    def learning_rates(self) -> dict[str, float]:
        return self.learner.learning_rates()

    def minibatches(self, experience: Experience, step: int) -> Iterator[Experience]:
        return self.learner.minibatches(experience, step)

    def enough(self, metrics: Mapping[str, float]) -> bool:
        return self.learner.enough(metrics)


class Steps:
    """A run that writes nothing: `train` asks it which steps there are."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.metrics: list[dict[str, float]] = []

    def steps(self) -> Iterator[int]:
        return iter(range(self.total))

    def begin(self, metrics: Mapping[str, float]) -> None:
        pass

    def finish(self, step: int, algorithm: Any, optimizer: Any, metrics: dict[str, float]) -> None:
        self.metrics.append(metrics)


def network(inputs: int, outputs: int, gain: float, seed: int) -> nn.Sequential:
    """Two hidden layers of 64, tanh, orthogonal (Huang et al. 2022, "37 implementation details of PPO", 2 and 3)."""
    sizes = [inputs, 64, 64, outputs]
    rng = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for place in range(3):
        layer = nn.Linear(sizes[place], sizes[place + 1])
        nn.init.orthogonal_(layer.weight, gain if place == 2 else 2**0.5, generator=rng)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def mean_return(policy: nn.Module, name: str, episodes: int, seed: int) -> float:
    """Of the likeliest actions."""
    total = 0.0
    env = gymnasium.make(name)
    for episode in range(episodes):
        seen, over = env.reset(seed=seed + episode)[0], False
        while not over:
            with torch.no_grad():
                action = int(policy(torch.tensor(seen, dtype=torch.float32)[None])[0].argmax())
            seen, reward, terminated, truncated, _ = env.step(action)
            total, over = total + float(reward), terminated or truncated
    return total / episodes
