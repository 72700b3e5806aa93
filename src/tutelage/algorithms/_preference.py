"""From pairs of answers to a gradient: what dpo, online-dpo, simpo, cpo and orpo share. Only the loss differs.

A pair carries three facts into every loss: which answer is better; `margin`, by how much (the implied reward must be
ahead by margin_scale · margin); `weight`, how sure that is (how much the pair counts, or how likely its label is).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn

from tutelage.algorithms._base import Algorithm, EncodedPair, TrainConfig
from tutelage.algorithms._pairs import weighted_mean
from tutelage.batches import Loss, PairBatch, ScoredPairs, TokenBatch
from tutelage.errors import DataError, DivergedError
from tutelage.models.policy import Policy
from tutelage.models.reference import Reference
from tutelage.ops.preference_losses import PER_TOKEN, PairLoss, pair_loss, preference_gap

_START_LIMIT = 1e-3
"""How far the first loss may lie from the one it must be, in nats or as a share of it."""


@dataclass(frozen=True, kw_only=True)
class LabelledConfig(TrainConfig):
    """What every method understands that is told which of two answers is better."""

    learning_rate: float = 1e-6
    """peak learning rate; 1e-5 to 1e-4 for models below 5 million parameters"""
    label_smoothing: float = 0.0
    """probability that a label is wrong by accident; the optimum then keeps that much doubt"""

    def sane(self) -> dict[str, bool]:
        return super().sane() | {"label_smoothing": 0 <= self.label_smoothing < 0.5}


@dataclass(frozen=True, kw_only=True)
class PreferenceConfig(LabelledConfig):
    """What every method understands that reads pairs of answers."""

    margin_scale: float = 1.0
    """a row's `margin` (strength) times this is how far the implied reward must be ahead; 0 = ignore strengths"""
    weight_as: Literal["count", "probability"] = "count"
    """a row's `weight` w: how much it counts in the mean, or (0 to 1) its label is right with probability (1 + w)/2"""

    def sane(self) -> dict[str, bool]:
        return super().sane() | {"margin_scale": self.margin_scale >= 0}


@dataclass(frozen=True, kw_only=True)
class ReferencedConfig(LabelledConfig):
    """How pairs pull the policy away from its reference."""

    loss: PairLoss = "sigmoid"
    """what a pair pulls at; each has its own optimum. sigmoid: DPO, or cDPO with label smoothing; robust: unbiased for
    flipped labels; ipo_sum, ipo_avg: the log-ratio towards 1/(2 beta), summed or per token; hinge: SLiC; exo_pair:
    reverse KL to the labels; sigmoid_norm, nca_pair, apo_zero, apo_down, sppo_hard, discopop: see docs/algorithms.md"""
    beta: float = 0.1
    """how dearly drifting from the reference is paid for (IPO's tau)"""
    rpo_alpha: float = 0.0
    """weight of the chosen answer's likelihood per token, which keeps it from falling (RPO); 0 = off"""

    def sane(self) -> dict[str, bool]:
        return super().sane() | {"beta": self.beta > 0, "rpo_alpha": self.rpo_alpha >= 0}


@dataclass(frozen=True)
class Sides:
    """What the policy says of both answers of P pairs."""

    chosen: Tensor
    """float32 [P]: log-probability of the chosen answer, summed over its tokens"""
    rejected: Tensor
    """float32 [P]"""
    chosen_length: Tensor
    """float32 [P]: its tokens, the stop token included"""
    rejected_length: Tensor
    """float32 [P]"""

    @property
    def chosen_mean(self) -> Tensor:
        """float32 [P]: per token"""
        return self.chosen / self.chosen_length

    @property
    def rejected_mean(self) -> Tensor:
        """float32 [P]: per token"""
        return self.rejected / self.rejected_length


@dataclass(frozen=True)
class Terms:
    """One number per pair."""

    each: Tensor
    """float32 [P]: what is learned"""
    margin: Tensor
    """float32 [P]: the implied reward of the chosen answer less that of the rejected one"""
    named: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    """metric → float32 [P]"""


def sides(model: Policy | Reference, pairs: PairBatch, temperature: float = 1.0) -> Sides:
    """Both answers of each pair in one pass, so that neither sees other rounding than its rival."""
    summed = model.logprobs(TokenBatch.cat([pairs.chosen, pairs.rejected]), temperature).logprobs.sum(1)
    lengths = [side.answer_lengths.to(summed) for side in (pairs.chosen, pairs.rejected)]
    return Sides(summed[: len(pairs)], summed[len(pairs) :], *lengths)


@torch.no_grad()
def scored(reference: Reference, pairs: PairBatch, temperature: float = 1.0) -> ScoredPairs:
    """The pairs with what the frozen reference says of them; it is asked once."""
    said = sides(reference, pairs, temperature)
    known = {each.name: getattr(pairs, each.name) for each in fields(PairBatch)}
    return ScoredPairs(**known, ref_chosen=said.chosen, ref_rejected=said.rejected)


def labels(pairs: PairBatch, config: PreferenceConfig, like: Tensor) -> tuple[Tensor, Tensor]:
    """([P], [P]) where `like` is: how much each pair counts, and the probability that its rejected answer is better.

    Raises:
        DataError: a weight that should be a probability lies outside [0, 1].
    """
    weight = pairs.weight.to(like)
    if config.weight_as == "count":
        return weight, torch.zeros_like(weight)
    if not bool(((weight >= 0) & (weight <= 1)).all()):
        raise DataError(
            f"--weight-as probability needs weights from 0 to 1, found {float(weight.min()):g}–{float(weight.max()):g}",
            fix="--weight-as count, or scale the weights",
        )
    return torch.ones_like(weight), (1 - weight) / 2


def referenced(
    pairs: ScoredPairs, said: Sides, flipped: Tensor, config: ReferencedConfig, margin_scale: float = 1.0
) -> Terms:
    """The loss `config.loss` of policy against reference; a pair's margin shifts h by margin_scale · margin / β."""
    sums = said.chosen, said.rejected, pairs.ref_chosen.to(said.chosen), pairs.ref_rejected.to(said.chosen)
    gap = preference_gap(*sums).detach()
    pc, pr, rc, rr = sums
    if config.loss in PER_TOKEN:
        pc, pr = said.chosen_mean, said.rejected_mean
        rc, rr = rc / said.chosen_length, rr / said.rejected_length
        gap = preference_gap(pc, pr, rc, rr).detach()
    half = margin_scale * pairs.margin.to(pc) / (2 * config.beta)
    each = pair_loss(config.loss, (pc, pr, rc + half, rr - half), config.beta, config.label_smoothing, flipped)
    named = {
        "loss/dpo": each.detach(),
        "policy/logp_chosen": said.chosen.detach() - sums[2],
        "policy/logp_rejected": said.rejected.detach() - sums[3],
    }
    if config.rpo_alpha:
        each = each - config.rpo_alpha * said.chosen_mean
    return Terms(each, config.beta * gap, named)


def joined(terms: Terms, count: Tensor) -> Loss:
    """The mean over pairs that count so much, with its metrics."""
    ahead = terms.margin.detach()
    right = (ahead > 0).float() + 0.5 * (ahead == 0).float()
    metrics = {"reward/accuracy": weighted_mean(right, count), "reward/margin": weighted_mean(ahead, count)}
    metrics |= {name: weighted_mean(value.detach(), count) for name, value in terms.named.items()}
    return Loss(weighted_mean(terms.each, count), count.sum(), metrics)


def check_start(
    pairs: ScoredPairs, said: Sides, count: Tensor, flipped: Tensor, config: ReferencedConfig
) -> dict[str, float]:
    """Before the first step the policy is its reference, so every log-ratio is 0 and the loss (sigmoid) ln 2.

    Raises:
        DivergedError: it is not.
    """
    nothing = torch.zeros_like(said.chosen)
    plain = replace(pairs, margin=nothing)
    same = (nothing, nothing, nothing, nothing)
    wanted_each = pair_loss(config.loss, same, config.beta, config.label_smoothing, flipped)
    wanted = float(weighted_mean(wanted_each, count))
    found = float(weighted_mean(referenced(plain, said, flipped, config).named["loss/dpo"], count))
    ratio = float((said.chosen - pairs.ref_chosen).abs().max())
    if not abs(found - wanted) <= _START_LIMIT * max(1.0, abs(wanted)) or not ratio <= 50 * _START_LIMIT:
        raise DivergedError(
            f"the first {config.loss} loss is {found:.5f}, not {wanted:.5f}, or a log-ratio is {ratio:.3g}, not 0: "
            "the reference is not the starting model",
            fix="this is a bug of tutelage or of the model's adapter; report it with the model's config.json",
        )
    return {"preflight/dpo_loss": found, "preflight/log_ratio": ratio}


C = TypeVar("C", bound=PreferenceConfig)
B = TypeVar("B", bound=PairBatch)


class Preference(Algorithm[C, B]):
    """Reads pairs; a subclass says what one of them costs."""

    kind = "preference"
    shown: ClassVar[str]
    """the metric that is the loss's own number, such as `loss/dpo`"""

    def modules(self) -> dict[str, nn.Module]:
        return {"policy": self.parts.policy}

    def collect(self, step: int) -> B:
        return self.read(self.parts.preferences.batch(step))

    @abstractmethod
    def read(self, rows: Sequence[EncodedPair]) -> B:
        """Tokenised preferences as a batch, with whatever else the loss needs. Builds no graph."""

    @abstractmethod
    def terms(self, batch: B, said: Sides, flipped: Tensor) -> Terms:
        """One number per pair; `flipped` [P] is the probability that its rejected answer is the better one."""

    def loss(self, batch: B) -> Loss:
        said = sides(self.parts.policy, batch)
        count, flipped = labels(batch, self.config, said.chosen)
        return joined(self.terms(batch, said, flipped), count)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        rows, size = self.parts.preferences.held_out, self.config.batch_size
        losses = [self.loss(self.read(rows[start : start + size])) for start in range(0, len(rows), size)]
        whole = sum(float(loss.weight) for loss in losses)
        if not whole:
            return {}
        return {
            f"eval/{name.rpartition('/')[2]}": sum(float(loss.metrics[name]) * float(loss.weight) for loss in losses)
            / whole
            for name in (self.shown, "reward/accuracy", "reward/margin")
        }
