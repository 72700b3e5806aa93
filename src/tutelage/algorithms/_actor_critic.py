"""From prompts to credit: what every algorithm with a critic shares. Only the surrogate differs, one file each.

prompts → sampler → answers → reward − β·KL per token, score at the last token → GAE → advantages, returns
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tutelage.algorithms._base import Algorithm, Parts, TrainConfig
from tutelage.batches import Experience, Rollouts, Scores
from tutelage.errors import DivergedError
from tutelage.ops.masked import explained_variance, masked_mean, masked_sum, whiten
from tutelage.ops.returns import gae
from tutelage.ops.seeds import derive
from tutelage.ops.shaping import AdaptiveKL, FixedKL, at_last, kl_penalty, missing_stop

_SHOWN_TEXTS = 4
_RATIO_LIMIT = {torch.float32: 1e-3, torch.bfloat16: 0.5}
"""How far a sampled log-probability may lie from the training forward's, by compute dtype."""


@dataclass(frozen=True, kw_only=True)
class ActorCriticConfig(TrainConfig):
    """What every algorithm with a critic understands."""

    reward: str = ""
    """a reward-model folder, `package.module:function` of (prompt, completion), or `taste:NAME`"""
    watch: str = ""
    """another reward source that is only drawn beside the reward, never trained on"""
    batch_size: int = 64
    """prompts per step"""
    answers: int = 1
    """answers sampled for each prompt"""
    learning_rate: float = 3e-6
    """peak learning rate of the policy; 1e-5 to 1e-4 for models below 5 million parameters"""
    critic_learning_rate: float = 1e-5
    """peak learning rate of the critic"""
    critic_init: str = "reward"
    """`reward`: the critic starts as the reward model; `zero`: as the policy's body, expecting 0; or a folder"""
    adam_eps: float = 1e-5
    """AdamW's epsilon (Huang et al. 2024: larger than usual softens the first updates)"""
    max_new_tokens: int = 64
    """longest answer, in tokens"""
    temperature: float = 1.0
    """at which answers are sampled and scored"""
    kl: float = 0.05
    """price of a nat of drift from the reference, taken from the reward (k1)"""
    kl_target: float = 0.0
    """steer the price so that an answer drifts this many nats; 0 = fixed price"""
    kl_horizon: float = 10_000.0
    """answers over which the price adapts"""
    gamma: float = 1.0
    """discount per token"""
    lam: float = 0.95
    """GAE's λ: 0 = one step, 1 = whole answer"""
    score_clip: float = 10.0
    """scores are clipped to ± this after centring"""
    missing_stop_penalty: float = 1.0
    """taken from the score of an answer that was cut off"""
    whiten_rewards: bool = False
    """scale the rewards of a step to unit variance"""
    updates: int = 1
    """passes over each step's answers"""
    minibatches: int = 1
    """optimiser steps in each pass"""
    target_kl: float = 0.03
    """leave the rest of a step's updates once the policy has moved this far (nats per token); 0 = never"""
    value_coef: float = 0.1
    """weight of the critic's loss"""
    value_clip: float = 0.2
    """how far a value may move in one step before its loss stops pulling; 0 = off"""
    stop_at_kl: float = 0.0
    """end the run when answers drift this many nats from the reference; 0 = never"""
    stop_at_reward: float = 0.0
    """end the run when the mean score (as the reward source gives it) reaches this; 0 = never"""

    def sane(self) -> dict[str, bool]:
        whole = {name: getattr(self, name) >= 1 for name in ("answers", "max_new_tokens", "updates", "minibatches")}
        amounts = ("kl", "kl_target", "target_kl", "missing_stop_penalty", "value_coef", "value_clip", "stop_at_kl")
        return (
            super().sane()
            | whole
            | {name: getattr(self, name) >= 0 for name in amounts}
            | {
                "critic_learning_rate": self.critic_learning_rate > 0,
                "temperature": self.temperature > 0,
                "kl_horizon": self.kl_horizon > 0,
                "score_clip": self.score_clip > 0,
                "gamma": 0 <= self.gamma <= 1,
                "lam": 0 <= self.lam <= 1,
            }
        )


C = TypeVar("C", bound=ActorCriticConfig)


class ActorCritic(Algorithm[C, Experience]):
    """Samples answers, prices their drift, and gives each token its credit."""

    kind = "prompt"

    def __init__(self, config: C, parts: Parts) -> None:
        super().__init__(config, parts)
        # taken now: it copies the policy, whose weights a checkpoint may soon replace
        self.reference = parts.reference
        self.kl = AdaptiveKL(config.kl_target, config.kl_horizon, config.kl) if config.kl_target else FixedKL(config.kl)
        self.center: float | None = None
        """mean score of the first answers, taken from every score: a reward model's zero is arbitrary"""
        self._metrics: dict[str, float] = {}
        self._texts: list[dict[str, Any]] = []

    def modules(self) -> dict[str, nn.Module]:
        return {"policy": self.parts.policy, "critic": self.parts.critic}

    def learning_rates(self) -> dict[str, float]:
        return {"policy": self.config.learning_rate, "critic": self.config.critic_learning_rate}

    @torch.no_grad()
    def collect(self, step: int) -> Experience:
        config, parts = self.config, self.parts
        prompts = parts.prompts.batch(step)
        rollouts = parts.sampler.sample(parts.policy, prompts, config.answers, derive(config.seed, step, "rollout"))
        scores = parts.reward.score(rollouts.samples)
        mask = rollouts.batch.answer_mask.to(rollouts.logprobs.device)
        now = parts.policy.logprobs(rollouts.batch, config.temperature)
        reference = self.reference.logprobs(rollouts.batch, config.temperature).logprobs
        values = parts.critic.values(rollouts.batch)
        rewards = self._rewards(rollouts, scores, now.logprobs, reference, mask)
        advantages, returns = gae(rewards, values, mask, config.gamma, config.lam)
        kl = masked_sum(now.logprobs - reference, mask, dim=1)
        self._note(rollouts, scores, kl, masked_mean(now.entropy, mask), now.logprobs, mask)
        self._metrics["value/explained_variance"] = float(explained_variance(values, returns, mask))
        self.kl.update(float(kl.mean()), len(rollouts))
        return Experience(rollouts.batch, now.logprobs, values, whiten(advantages, mask), returns)

    def _rewards(self, rollouts: Rollouts, scores: Scores, logprobs: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
        """One reward per token `[B, R]`: the drift's price everywhere, the score on the last token."""
        value = scores.value.to(logprobs.device)
        if self.center is None:
            self.center = float(value.mean())
        score = (value - self.center).clamp(-self.config.score_clip, self.config.score_clip)
        score = score + missing_stop(self.config.missing_stop_penalty, rollouts.stopped)
        rewards = at_last(score, mask) + kl_penalty(logprobs, reference, mask, self.kl.coef)
        return whiten(rewards, mask, shift_mean=False) if self.config.whiten_rewards else rewards

    def _note(
        self, rollouts: Rollouts, scores: Scores, kl: Tensor, entropy: Tensor, logprobs: Tensor, mask: Tensor
    ) -> None:
        gap = (logprobs - rollouts.logprobs)[mask].abs().max()
        lengths = rollouts.batch.answer_lengths.float()
        self._metrics = {
            "reward/mean": float(scores.value.mean()),
            "reward/std": float(scores.value.std(correction=0)),
            "policy/kl": float(kl.mean()),
            "policy/kl_se": float(kl.std(correction=0)) / len(rollouts) ** 0.5,
            "policy/entropy": float(entropy),
            "policy/stop_rate": float(rollouts.stopped.float().mean()),
            "policy/sampled_gap": float(gap),
            "answer/length": float(lengths.mean()),
            "kl/coef": self.kl.coef,
        }
        if self.parts.watch is not None:
            watched = self.parts.watch.score(rollouts.samples)
            self._metrics["gold/mean"] = float(watched.value.mean())
            self._metrics |= {f"gold/{name}": float(part.mean()) for name, part in watched.parts.items()}
        self._texts = [
            {
                "prompt": sample.prompt.id,
                "completion": sample.text,
                "finish": sample.finish,
                "reward": round(float(value), 4),
            }
            for sample, value in list(zip(rollouts.samples, scores.value, strict=True))[:_SHOWN_TEXTS]
        ]

    def minibatches(self, experience: Experience, step: int) -> Iterator[Experience]:
        rows = list(range(len(experience)))
        parts = min(self.config.minibatches, len(rows))
        for update in range(self.config.updates):
            random.Random(derive(self.config.seed, step, "minibatch", update)).shuffle(rows)
            for part in range(parts):
                yield experience.select(rows[part::parts])

    def enough(self, metrics: Mapping[str, float]) -> bool:
        return bool(self.config.target_kl) and metrics.get("policy/approx_kl", 0.0) > self.config.target_kl

    @torch.no_grad()
    def preflight(self, batch: Experience) -> dict[str, float]:
        """Before the first update the sampler, the policy and the reference are one and the same model."""
        policy = self.parts.policy
        gap, kl = self._metrics["policy/sampled_gap"], abs(self._metrics["policy/kl"])
        ratio = (policy.logprobs(batch.batch, self.config.temperature).logprobs - batch.logprobs).exp()
        error = float((ratio - 1)[batch.mask.to(ratio.device)].abs().max())
        limit = _RATIO_LIMIT[policy.compute_dtype]
        for name, value in {
            "sampled and trained log-probabilities": gap,
            "ratio and 1": error,
            "KL to the reference and 0": kl,
        }.items():
            if not value <= limit:
                raise DivergedError(
                    f"before the first update {name} differ by {value:.3g} (limit {limit:g})",
                    fix="sampling and training give one token two probabilities; report the model's config.json",
                )
        return {"preflight/sampled_gap": gap, "preflight/ratio_error": error, "preflight/kl": kl}

    def metrics(self) -> dict[str, float]:
        return self._metrics

    def texts(self) -> list[dict[str, Any]]:
        return self._texts

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Scores of one answer to each held-out prompt."""
        prompts = self.parts.prompts.held_out
        if not prompts:
            return {}
        rollouts = self.parts.sampler.sample(self.parts.policy, prompts, 1, derive(self.config.seed, "evaluate"))
        found = {"eval/reward": float(self.parts.reward.score(rollouts.samples).value.mean())}
        if self.parts.watch is not None:
            found["eval/gold"] = float(self.parts.watch.score(rollouts.samples).value.mean())
        return found | {"eval/stop_rate": float(rollouts.stopped.float().mean())}

    def stop(self) -> str | None:
        seen, config = self._metrics, self.config
        if config.stop_at_kl and seen.get("policy/kl", 0.0) >= config.stop_at_kl:
            drift = f"{seen['policy/kl']:.2f} nats from the reference"
            return f"answers have drifted {drift} (--stop-at-kl {config.stop_at_kl:g})"
        if config.stop_at_reward and seen.get("reward/mean", 0.0) >= config.stop_at_reward:
            return f"the mean score has reached {seen['reward/mean']:.3f} (--stop-at-reward {config.stop_at_reward:g})"
        return None

    def state(self) -> dict[str, Any]:
        return {"kl": self.kl.state(), "center": self.center}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.kl.restore(state["kl"])
        self.center = state["center"]
