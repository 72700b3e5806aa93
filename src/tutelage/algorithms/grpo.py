"""GRPO and its kin (Dr. GRPO, DAPO, GSPO, CISPO): group-relative advantages on clipped steps, each part a switch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch

from tutelage.algorithms._ahead import Stale
from tutelage.algorithms._answers import Answers
from tutelage.algorithms._groups import Grouped, GroupedConfig
from tutelage.batches import Loss, Referenced
from tutelage.errors import UsageError
from tutelage.ops.logprobs import kl
from tutelage.ops.losses import (
    Aggregation,
    aggregate,
    answer_log_ratio,
    clipped_surrogate,
    clipped_weight,
    probability_ratio,
    was_clipped,
)
from tutelage.ops.returns import constant_groups, group_advantages
from tutelage.ops.shaping import on_every, overlong
from tutelage.types import Prompt

Ratio = Literal["token", "sequence", "cispo"]


@dataclass(frozen=True, kw_only=True)
class GRPOConfig(GroupedConfig):
    """How GRPO learns."""

    stale: ClassVar[Stale] = "weighed"

    answers: int = 8
    """answers sampled for each prompt, at least 2: each is judged against the others"""
    clip: float = 0.2
    """how far the probability ratio may fall below 1 before its gradient stops"""
    clip_high: float = 0.28
    """how far it may rise above 1 (DAPO's clip-higher; GRPO: as --clip)"""
    ratio: Ratio = "token"
    """`token`: each token's own; `sequence`: one per answer, its geometric mean (GSPO; with --clip 3e-4 --clip-high
    4e-4 --aggregation sequence-mean); `cispo`: bounds each token's weight at 1 + --clip-high, stops no gradient"""
    aggregation: Aggregation = "token-mean"
    """`token-mean`: every token counts alike (DAPO); `constant`: sums over --max-new-tokens (Dr. GRPO, exact);
    `sequence-mean`: GRPO's 1/|answer|, another gradient: favours short good and long bad answers"""
    normalise: bool = False
    """divide by the group's standard deviation (GRPO); another gradient: near-ties become full-size updates, and
    prompts with little spread outweigh the others, so where they compete the optimum changes. A group of equal scores
    is not divided: the price of its drift keeps its size"""
    kl_in_loss: Literal["none", "k1", "k2", "k3"] = "none"
    """put --kl into the loss by this estimator, not the reward; changes the optimum: k1 has no effect on average, k2
    forgets what a token does to later tokens' drift, k3 (GRPO) heads for the forward-KL optimum. none = exact"""
    dynamic_sampling: bool = False
    """leave out groups whose answers all get one score (DAPO); changes the optimum where --kl is not 0: their drift
    goes unpriced"""
    resample: int = 0
    """with --dynamic-sampling: times to ask the prompts of left-out groups again"""
    overlong: int = 0
    """the score falls over the last so many tokens before --max-new-tokens, by up to 1 (DAPO), beside
    --missing-stop-penalty; changes the optimum; 0 = off"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resample and not self.dynamic_sampling:
            raise UsageError("nothing is left out that could be asked again", fix="--resample with --dynamic-sampling")
        if self.staleness and (self.dynamic_sampling or self.kl_in_loss != "none"):
            raise UsageError(
                "weights of answers that are one step old correct advantages, not --kl-in-loss nor --dynamic-sampling",
                where="--staleness 1",
                fix="leave those two out, or --staleness",
            )

    def sane(self) -> dict[str, bool]:
        return super().sane() | {
            "clip": self.clip > 0,
            "clip_high": self.clip_high > 0,
            "resample": self.resample >= 0,
            "overlong": 0 <= self.overlong <= self.max_new_tokens,
        }


class GRPO(Grouped[GRPOConfig, Referenced]):
    """L = aggregate of −min(ρA, clip(ρ, 1−ε, 1+ε_high)A), A = R − mean of the group's R (Shao et al. 2024, 2402.03300).

    R = score − β·log(π/π_ref)(y). The mean includes the answer itself, which makes every gradient (k − 1)/k of RLOO's.
    """

    Config = GRPOConfig

    def learns_whole(self) -> bool:
        return super().learns_whole() and not self.config.dynamic_sampling

    def credit(self, answers: Answers) -> Referenced:
        config, first = self.config, self._punished(answers)
        if not config.dynamic_sampling:
            self.constant(first)
            return self._credit(first)
        pieces, prompts = self._varied(first)
        for again in range(config.resample if prompts else 0):
            more, prompts = self._varied(self._punished(self.answer(prompts, answers.step, f"again {again}")))
            pieces += more
            if not prompts:
                break
        self._metrics["groups/left_out"] = len(prompts) * answers.n / len(answers)
        return Referenced.cat(pieces) if pieces else self._credit(first)

    def _punished(self, answers: Answers) -> Answers:
        """With the price of nearly reaching the limit in the score."""
        if not self.config.overlong:
            return answers
        price = overlong(answers.batch.answer_lengths, self.config.max_new_tokens, self.config.overlong)
        return replace(answers, score=answers.score + price.to(answers.score))

    def _varied(self, answers: Answers) -> tuple[list[Referenced], list[Prompt]]:
        """What can be learned from, if anything, and the prompts whose answers all got one score."""
        out = self.constant(answers).tolist()
        rows = [row for row, left_out in enumerate(out) if not left_out]
        prompts = [prompt for prompt, left_out in zip(answers.prompts, out[:: answers.n], strict=True) if left_out]
        return [self._credit(answers).select(rows)] if rows else [], prompts

    def _credit(self, answers: Answers) -> Referenced:
        config = self.config
        rewards = answers.rewards(self.kl.coef if config.kl_in_loss == "none" else 0.0)
        advantages = group_advantages(rewards, answers.groups, "dr_grpo")
        if config.normalise:
            # equal scores differ by their drift alone, which a division by its tiny spread would blow up to full size
            scaled = group_advantages(rewards, answers.groups, "grpo")
            advantages = torch.where(constant_groups(answers.score, answers.groups), advantages, scaled)
        return Referenced(answers.batch, answers.logprobs, on_every(advantages, answers.mask), answers.reference)

    def loss(self, batch: Referenced) -> Loss:
        config, mask = self.config, batch.mask.to(batch.logprobs.device)
        now = self.parts.policy.logprobs(batch.batch, config.temperature).logprobs
        logp, old = now, batch.logprobs
        if config.ratio == "sequence":
            logp = answer_log_ratio(now, old, mask, mean=True)[:, None].expand_as(now)
            old = torch.zeros_like(logp)
        if config.ratio == "cispo":
            each = clipped_weight(logp, old, batch.advantages, config.clip_high)
            clipped = probability_ratio(logp.detach(), old) > 1 + config.clip_high
        else:
            each = clipped_surrogate(logp, old, batch.advantages, config.clip, config.clip_high)
            clipped = was_clipped(logp.detach(), old, batch.advantages, config.clip, config.clip_high)
        if config.kl_in_loss != "none":
            each = each + self.kl.coef * kl(now, batch.reference, config.kl_in_loss)
        total, weight = aggregate(each, mask, config.aggregation, config.max_new_tokens)
        how = "token-mean" if config.aggregation == "token-mean" else "sequence-mean"
        metrics = {
            "loss/policy": total.detach(),
            "policy/approx_kl": aggregate(kl(batch.logprobs, now.detach(), "k3"), mask, how)[0],
            "policy/clipped": aggregate(clipped.float(), mask, how)[0],
        }
        return Loss(total, weight, metrics)
