"""From prompts to scored answers: what every algorithm shares that learns from its own answers.

prompts → sampler → answers → score (centred, clipped) → `credit`, which every algorithm gives in its own way
                        └───► log π − log π_ref per token, whose price β is taken from the reward
With `--staleness 1` the answers of the next step are sampled before people have judged these (`_ahead`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from tutelage.algorithms._ahead import Drawn, Stale, as_json, of_json, weighed, weights
from tutelage.algorithms._answers import Answers
from tutelage.algorithms._base import Algorithm, Parts, TrainConfig
from tutelage.algorithms._watch import Action, WatchRule
from tutelage.batches import Batch, Rollouts
from tutelage.errors import DivergedError, TryAgainError, UsageError
from tutelage.ops.masked import masked_mean
from tutelage.ops.seeds import derive
from tutelage.ops.shaping import AdaptiveKL, FixedKL, missing_stop
from tutelage.rewards import RewardSource
from tutelage.types import Prompt

_SHOWN_TEXTS = 4
_RATIO_LIMIT = {torch.float32: 1e-3, torch.bfloat16: 0.5}
"""How far a sampled log-probability may lie from the training forward's, by compute dtype."""


@dataclass(frozen=True, kw_only=True)
class OnlineConfig(TrainConfig):
    """What every algorithm understands that learns from its own answers."""

    reward: str = ""
    """FOLDER of a reward model (FOLDER@lcb: ensemble's lower bound), package.module:function of (prompt, completion),
    taste:NAME, human (people rate each batch while it trains), people:DB_OR_JSONL[#ASPECT], http(s)://SCORER,
    judge:BASE_URL#MODEL, normalise(REWARD), clip(REWARD, LOW, HIGH), or a sum such as 0.7*REWARD + 0.3*REWARD
    (see docs/rewards.md)"""
    db: str = ""
    """with --reward human: database of the ratings, a file or postgresql://…; by default ratings.db"""
    project: str = ""
    """with --reward human: project whose raters are asked; by default `default`"""
    watch: str = ""
    """another reward source that is only drawn beside the reward, never trained on"""
    watch_every: int = 0
    """steps between looks at it on --eval-data, and only there; 0 = at every step, and at evaluations"""
    watch_patience: int = 2
    """looks in a row at which it must have fallen while the reward rose: then the reward is over-optimised"""
    on_over_optimisation: Action = "warn"
    """then: `warn`, `stop` the run, or `rollback` (the model that is left is always the best by the watched score)"""
    batch_size: int = 64
    """prompts per step"""
    answers: int = 1
    """answers sampled for each prompt"""
    learning_rate: float = 3e-6
    """peak learning rate of the policy; 1e-5 to 1e-4 for models below 5 million parameters"""
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
    score_clip: float = 10.0
    """scores are clipped to ± this after centring"""
    missing_stop_penalty: float = 1.0
    """taken from the score of an answer that was cut off"""
    stop_at_kl: float = 0.0
    """end the run when answers drift this many nats from the reference; 0 = never"""
    stop_at_reward: float = 0.0
    """end the run when the mean score (as the reward source gives it) reaches this; 0 = never"""
    staleness: int = 0
    """1: while people rate a step's answers the next step's are sampled and put before them too, so that nobody waits
    for the other; those are then one step old, and weighed by how much likelier they have become (--staleness-cap);
    0 = one after the other"""
    staleness_cap: float = 2.0
    """with --staleness 1: largest weight of an answer; where it cuts it bounds the variance and biases the gradient"""

    stale: ClassVar[Stale] = "refused"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.staleness and self.stale == "refused":
            raise UsageError(
                "this method has no correction for answers that are one step old",
                where="--staleness 1",
                fix="leave --staleness out; or ppo, a2c, reinforce, rloo, grpo, online-dpo, which learn from them",
            )
        if self.kl_target and not self.kl:
            raise UsageError(
                "a price that starts at 0 stays there, whatever the drift", fix="--kl-target with --kl 0.05"
            )

    def watches(self) -> WatchRule:
        if (self.watch_every or self.on_over_optimisation != "warn") and not (self.watch and self.eval_data):
            raise UsageError("there is nothing to watch", fix="--watch SOURCE and --eval-data HELD_OUT_PROMPTS")
        return WatchRule(self.watch_every, self.watch_patience, self.on_over_optimisation)

    def sane(self) -> dict[str, bool]:
        amounts = ("kl", "kl_target", "missing_stop_penalty", "stop_at_kl", "watch_every")
        return (
            super().sane()
            | {name: getattr(self, name) >= 1 for name in ("answers", "max_new_tokens", "watch_patience")}
            | {name: getattr(self, name) >= 0 for name in amounts}
            | {name: getattr(self, name) > 0 for name in ("temperature", "kl_horizon", "score_clip")}
            | {"staleness": 0 <= self.staleness <= 1, "staleness_cap": self.staleness_cap >= 1}
        )


C = TypeVar("C", bound=OnlineConfig)
X = TypeVar("X", bound=Batch)


class Online(Algorithm[C, X]):
    """Samples answers, scores them, prices their drift; a subclass says what each token gets for it."""

    kind = "prompt"

    def __init__(self, config: C, parts: Parts) -> None:
        super().__init__(config, parts)
        if (config.watch_every or config.on_over_optimisation != "warn") and parts.reward.live:
            raise UsageError(
                "over-optimisation is seen on held-out answers, and people are asked about none of those",
                fix="--watch without --watch-every and --on-over-optimisation",
            )
        # taken now: it copies the policy, whose weights a checkpoint may soon replace
        self.reference = parts.reference
        self.kl = AdaptiveKL(config.kl_target, config.kl_horizon, config.kl) if config.kl_target else FixedKL(config.kl)
        self.center: float | None = None
        """mean score of the first answers, taken from every score: a reward model's zero is arbitrary"""
        self.ahead: Drawn | None = None
        """answers of the next step, sampled and put before people already"""
        self._answers: Answers | None = None
        self._metrics: dict[str, float] = {}
        self._texts: list[dict[str, Any]] = []
        self._unjudged = 0.0

    def modules(self) -> dict[str, nn.Module]:
        return {"policy": self.parts.policy}

    def learns_whole(self) -> bool:
        """Whether the first loss of a step is that of all its answers at once."""
        return False

    def keeps(self, step: int) -> bool:
        """Whether what scores the answers of a step may wait for their loss: only if that comes at once.

        The first step is looked at, and held-out prompts are answered, before it is learned from.
        """
        return self.learns_whole() and step > 0 and not (self.config.staleness or any(j.live for j in self.judges()))

    @torch.no_grad()
    def collect(self, step: int) -> X:
        drawn = self._judged(self._drawn(step))
        answers = self._answers = self._scored(drawn)
        self.parts.reward.settle()  # once a step, whatever else is asked of it
        self._note(answers, drawn)
        experience = self.credit(answers)
        self.kl.update(float(answers.kl.mean()), len(answers))
        return self._corrected(experience, answers, drawn)

    @abstractmethod
    def credit(self, answers: Answers) -> X:
        """What each token gets for the scores of its answer and of the others; may add to `self._metrics`."""

    def answer(self, prompts: Sequence[Prompt], step: int, role: str = "rollout") -> Answers:
        """Answers to `prompts`, with their scores; another `role` draws other answers in the same step."""
        return self._scored(self._judged(self._draw(prompts, step, step, role)))

    def _drawn(self, step: int) -> Drawn:
        """The answers of this step; with `--staleness 1` those of the next are then before people as well."""
        drawn, self.ahead = self.ahead, None
        if drawn is None or drawn.step != step:
            drawn = self._draw(self.parts.prompts.batch(step), step, step)
        if self.config.staleness and step + 1 != self.total:
            self._announce(drawn)  # before more is sampled: people find work meanwhile
            self.ahead = self._draw(self.parts.prompts.batch(step + 1), step + 1, step)
            self._announce(self.ahead)
        return drawn

    def _announce(self, drawn: Drawn) -> None:
        for judge in self.judges():
            judge.announce(drawn.rollouts.samples, drawn.step)

    def _draw(self, prompts: Sequence[Prompt], step: int, made: int, role: str = "rollout") -> Drawn:
        config, parts = self.config, self.parts
        rollouts = self._sampled(prompts, config.answers, derive(config.seed, step, role))
        now = parts.policy.logprobs(rollouts.batch, config.temperature, keep=self.keeps(step))
        return Drawn(rollouts, now.logprobs, now.entropy, step, made)

    def _sampled(self, prompts: Sequence[Prompt], count: int, seed: int) -> Rollouts:
        """Answers of the policy as it is. Where they are kept they name its weights, which cost nothing elsewhere."""
        rollouts = self.parts.sampler.sample(self.parts.policy, prompts, count, seed)
        if not self._kept():
            return rollouts
        wrote = self.parts.policy.digest()
        return replace(rollouts, samples=tuple(replace(one, checkpoint=wrote) for one in rollouts.samples))

    def _kept(self) -> bool:
        """Whether answers are put into a database, where whoever reads them later may ask for their writer."""
        return any(source.kept for source in (*self.judges(), self.parts.watch) if source is not None)

    def _scored(self, drawn: Drawn) -> Answers:
        config, parts, rollouts = self.config, self.parts, drawn.rollouts
        scores = parts.reward.score(rollouts.samples)
        now = parts.policy.logprobs(rollouts.batch, config.temperature) if drawn.age else drawn
        reference = self.reference.logprobs(rollouts.batch, config.temperature).logprobs
        score = self._shaped(scores.value.to(now.logprobs.device), rollouts)
        return Answers(rollouts, scores, score, now.logprobs, reference, now.entropy, config.answers, drawn.step)

    def _corrected(self, experience: X, answers: Answers, drawn: Drawn) -> X:
        """Credit of answers that an older policy drew, each weighed by how much likelier it has become."""
        if not (self.config.staleness or drawn.age):
            return experience
        weight, told = weights(answers.logprobs, drawn, self.config.staleness_cap)
        self._metrics |= told
        return weighed(experience, weight) if drawn.age and self.config.stale == "weighed" else experience

    def judges(self) -> list[RewardSource]:
        """Whom the answers of a step are brought to, so that they can wait for what they need."""
        return [self.parts.reward]

    def _judged(self, drawn: Drawn) -> Drawn:
        """The answers that can be scored. Where one has no score, all to its prompt are left out: groups stay whole.

        Raises:
            TryAgainError: no prompt is left.
        """
        ready = torch.ones(len(drawn.rollouts), dtype=torch.bool)
        for judge in self.judges():
            ready &= torch.tensor(judge.ready(drawn.rollouts.samples, drawn.step), dtype=torch.bool)
        whole = ready.view(-1, self.config.answers).all(1).repeat_interleave(self.config.answers)
        self._unjudged = float((~whole).float().mean())
        if not whole.any():
            raise TryAgainError("no prompt has all its answers judged", fix="let people judge more, or wait longer")
        return drawn if whole.all() else drawn.select(whole.nonzero()[:, 0].tolist())

    def _shaped(self, value: Tensor, rollouts: Rollouts) -> Tensor:
        """[B]: centred, clipped, less the penalty for a missing stop token."""
        config = self.config
        if self.center is None:
            self.center = float(value.mean())
        score = (value - self.center).clamp(-config.score_clip, config.score_clip)
        return score + missing_stop(config.missing_stop_penalty, rollouts.stopped).to(score.device)

    def _note(self, answers: Answers, drawn: Drawn) -> None:
        rollouts, scores = answers.rollouts, answers.scores
        gap = (drawn.logprobs - rollouts.logprobs)[answers.mask].abs().max()
        self._metrics = {
            "reward/mean": float(scores.value.mean()),
            "reward/std": float(scores.value.std(correction=0)),
            "policy/kl": float(answers.kl.mean()),
            "policy/kl_se": float(answers.kl.std(correction=0)) / len(rollouts) ** 0.5,
            "policy/entropy": float(masked_mean(answers.entropy, answers.mask)),
            "policy/stop_rate": float(rollouts.stopped.float().mean()),
            "policy/sampled_gap": float(gap),
            "answer/length": float(rollouts.batch.answer_lengths.float().mean()),
            "kl/coef": self.kl.coef,
        }
        if self._unjudged:
            self._metrics["reward/unjudged"] = self._unjudged
        self._metrics |= {f"reward/part/{name}": float(part.mean()) for name, part in scores.parts.items()}
        if self.parts.watch is not None and not self.config.watch_every:
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
            | ({"checkpoint": sample.checkpoint} if sample.checkpoint else {})
            for sample, value in list(zip(rollouts.samples, scores.value, strict=True))[:_SHOWN_TEXTS]
        ]

    @torch.no_grad()
    def preflight(self, batch: X) -> dict[str, float]:
        """Before the first update the sampler, the policy and the reference are one and the same model."""
        policy, answers = self.parts.policy, self._answers
        assert answers is not None, "the batch was collected"
        gap, kl = self._metrics["policy/sampled_gap"], abs(self._metrics["policy/kl"])
        ratio = (policy.logprobs(answers.batch, self.config.temperature).logprobs - answers.logprobs).exp()
        error = float((ratio - 1)[answers.mask].abs().max())
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
        return self.measured(self._sampled(prompts, 1, derive(self.config.seed, "evaluate")))

    def measured(self, rollouts: Rollouts) -> dict[str, float]:
        """The numbers of held-out answers, as `eval/…`."""
        found: dict[str, float] = {}
        if not self.parts.reward.live:  # people are asked about what is learned from, and about nothing else
            found["eval/reward"] = float(self.parts.reward.score(rollouts.samples).value.mean())
        if self.parts.watch is not None:
            gold = self.parts.watch.score(rollouts.samples).value
            found |= {"eval/gold": float(gold.mean()), "eval/gold_se": float(gold.std(correction=0)) / len(gold) ** 0.5}
        return found | {"eval/stop_rate": float(rollouts.stopped.float().mean())}

    def stop(self) -> str | None:
        seen, config = self._metrics, self.config
        if config.stop_at_kl and seen.get("policy/kl", 0.0) >= config.stop_at_kl:
            drift = f"{seen['policy/kl']:.2f} nats from the reference"
            return f"answers have drifted {drift} (--stop-at-kl {config.stop_at_kl:g})"
        if config.stop_at_reward and seen.get("reward/mean", 0.0) >= config.stop_at_reward:
            return f"the mean score has reached {seen['reward/mean']:.3f} (--stop-at-reward {config.stop_at_reward:g})"
        return None

    def dismiss(self) -> None:
        if self.ahead is not None:
            for judge in self.judges():
                judge.withdraw(self.ahead.rollouts.samples, self.ahead.step)

    def state(self) -> dict[str, Any]:
        found = {"kl": self.kl.state(), "center": self.center, "reward": self.parts.reward.state()}
        found |= {"weights": self.parts.policy.digest()} if self._kept() else {}  # for people; nothing reads it
        return found if self.ahead is None else found | {"ahead": as_json(self.ahead)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.kl.restore(state["kl"])
        self.center = state["center"]
        self.parts.reward.restore(state["reward"])
        self.ahead = None
        if told := state.get("ahead"):
            like = next(self.parts.policy.parameters()).device
            self.ahead = of_json(told, self.parts.prompts.batch(told["step"]), like)
