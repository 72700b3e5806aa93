"""Answers that were sampled a step ahead, while people rated the step before, and what makes up for their age.

step t:  policy θ_t samples the answers of step t + 1 and posts them ─► people's word on step t comes ─► θ_{t+1}
step t+1: those answers are learned from, each weighed by w = min(π_{θ_{t+1}}(y) / π_{θ_t}(y), cap)

For any f, E_{y ~ μ}[π(y)/μ(y)·f(y)] = E_{y ~ π}[f(y)]: with the weight on an answer's advantages every surrogate keeps
the gradient that it has on fresh answers, and its own ratio, against the policy as the step began, starts at 1
(Hilton et al. 2022, 2110.00641: the policy that sampled and the one that steps are held near are two policies). The cap
bounds the variance, at the price of a bias where it cuts (Ionides 2008; Espeholt et al. 2018, 1802.01561).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from tutelage.batches import Credited, Rollouts, TokenBatch
from tutelage.errors import DataError
from tutelage.ops.losses import answer_log_ratio, probability_ratio
from tutelage.types import Prompt, Sample

Stale = Literal["refused", "weighed", "as they are"]
"""How a method learns from answers of the policy one step before: not at all, by importance weights, or unweighted"""
X = TypeVar("X")


@dataclass(frozen=True)
class Drawn:
    """Answers of one step as they were drawn."""

    rollouts: Rollouts
    logprobs: Tensor
    """float32 [B, R]: of the policy that drew them, by the training forward"""
    entropy: Tensor
    """float32 [B, R]: of the same"""
    step: int
    """whose answers they are"""
    made: int
    """the step in which they were drawn"""

    @property
    def age(self) -> int:
        """Steps that were learned between drawing them and learning from them."""
        return self.step - self.made

    def select(self, rows: Sequence[int]) -> Drawn:
        """The answers `rows`, in that order."""
        rollouts = self.rollouts.select(rows)
        width = rollouts.logprobs.shape[1]
        cut = {"logprobs": self.logprobs[rows][:, :width], "entropy": self.entropy[rows][:, :width]}
        return replace(self, rollouts=rollouts, **cut)


def weights(now: Tensor, drawn: Drawn, cap: float) -> tuple[Tensor, dict[str, float]]:
    """min(ρ, cap) of each answer, ρ = π_now(y)/π_drawn(y), and how it stands with ρ.

    Args:
        now: float32 [B, R], log-probabilities of the policy as it is, by the training forward.

    Returns:
        float32 [B], and `policy/staleness` (steps), `policy/ratio` (mean ρ, 1 on average),
        `policy/ratio_cut` (share of answers whose weight the cap held).
    """
    mask = drawn.rollouts.batch.answer_mask.to(now.device)
    log_ratio = answer_log_ratio(now, drawn.logprobs.to(now.device), mask, mean=False)
    ratio = probability_ratio(log_ratio, torch.zeros_like(log_ratio))
    told = {
        "policy/staleness": float(drawn.age),
        "policy/ratio": float(ratio.mean()),
        "policy/ratio_cut": float((ratio > cap).float().mean()),
    }
    return ratio.clamp(max=cap), told


def weighed(experience: X, weight: Tensor) -> X:
    """The same credit, each answer's times its weight.

    Raises:
        TypeError: it is no credit of these answers, one row each.
    """
    if not isinstance(experience, Credited) or len(experience) != len(weight):
        raise TypeError("only advantages of whole answers, one row each, can be weighed")
    return replace(experience, advantages=experience.advantages * weight[:, None].to(experience.advantages))


def as_json(drawn: Drawn) -> dict[str, Any]:
    """Everything, the prompts by a digest; float32 numbers come back bit for bit."""
    rollouts = drawn.rollouts
    return {
        "step": drawn.step,
        "made": drawn.made,
        "tokens": rollouts.batch.tokens.tolist(),
        "lengths": rollouts.batch.lengths.tolist(),
        "mask": rollouts.batch.mask.int().tolist(),
        "stopped": rollouts.stopped.int().tolist(),
        "sampled": rollouts.logprobs.tolist(),
        "logprobs": drawn.logprobs.tolist(),
        "entropy": drawn.entropy.tolist(),
        "samples": [{**asdict(replace(one, prompt=_BARE)), "prompt": _digest(one.prompt)} for one in rollouts.samples],
    }


def of_json(told: Mapping[str, Any], prompts: Sequence[Prompt], like: torch.device) -> Drawn:
    """What `as_json` was made of.

    Args:
        prompts: of that step.
        like: where the policy's numbers live.

    Raises:
        DataError: they are not the prompts that were answered.
    """
    each = len(told["samples"]) // max(1, len(prompts))
    found = [prompt for prompt in prompts for _ in range(each)]
    if [_digest(prompt) for prompt in found] != [one["prompt"] for one in told["samples"]]:
        raise DataError(
            f"the answers that wait for step {told['step'] + 1} are to other prompts than --data holds now",
            fix="put the data back as it was when the run began",
        )
    batch = TokenBatch(
        torch.tensor(told["tokens"], dtype=torch.int64),
        torch.tensor(told["lengths"], dtype=torch.int64),
        torch.tensor(told["mask"], dtype=torch.bool),
    )
    rest = [{name: value for name, value in one.items() if name != "prompt"} for one in told["samples"]]
    samples = tuple(Sample(prompt=prompt, **one) for one, prompt in zip(rest, found, strict=True))
    number = {name: torch.tensor(told[name], dtype=torch.float32) for name in ("sampled", "logprobs", "entropy")}
    stopped = torch.tensor(told["stopped"], dtype=torch.bool)
    rollouts = Rollouts(batch, number["sampled"].to(like), stopped, samples)
    where = {"logprobs": number["logprobs"].to(like), "entropy": number["entropy"].to(like)}
    return Drawn(rollouts, **where, step=told["step"], made=told["made"])


def _digest(prompt: Prompt) -> str:
    """Which prompt it is, and what it says."""
    return hashlib.sha256(f"{prompt.id}\n{prompt.content!r}".encode()).hexdigest()


_BARE = Prompt("", "")
