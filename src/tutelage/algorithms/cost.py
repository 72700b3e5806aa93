"""Cost modelling: one number per answer, above 0 if it is unsafe, higher the more harmful (Safe RLHF, 2310.12773)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.algorithms._base import Algorithm, EncodedPair, TrainConfig
from tutelage.algorithms._pairs import batch_of, weighted_mean
from tutelage.batches import Loss, PairBatch, TokenBatch
from tutelage.errors import DataError
from tutelage.ops.lagrange import harm_sign
from tutelage.ops.reward_losses import bradley_terry

_SIGN = {True: -1.0, False: 1.0, None: 0.0}
"""of an answer that somebody called safe, unsafe, or nothing"""


@dataclass(frozen=True, kw_only=True)
class CostModelConfig(TrainConfig):
    """How a cost model learns."""

    learning_rate: float = 1e-5
    """peak learning rate of the body; 1e-4 to 1e-3 for models below 5 million parameters"""
    batch_size: int = 64
    """pairs per optimiser step"""
    sign: float = 1.0
    """weight of telling safe from unsafe, beside telling which of two is worse"""
    regularization: float = 1e-3
    """pulls costs towards 0 by their square (safe-rlhf); 0 = off"""

    def sane(self) -> dict[str, bool]:
        return super().sane() | {"sign": self.sign > 0, "regularization": self.regularization >= 0}


@dataclass(frozen=True)
class CostPairs(PairBatch):
    """P pairs of answers, the safer first, with what was said of each by itself."""

    chosen_sign: Tensor
    """float32 [P]: +1 = unsafe, −1 = safe, 0 = nobody said"""
    rejected_sign: Tensor
    """float32 [P]"""


class CostModel(Algorithm[CostModelConfig, CostPairs]):
    """L = Σ w·[−log σ(C_rejected − C_chosen − margin) − a·(log σ(s_c·C_chosen) + log σ(s_r·C_rejected))] / Σ w.

    Rows are preferences about *harm*: `chosen` is the safer answer, and the columns `chosen_safe` and `rejected_safe`
    (true or false, either may be missing) say whether each is safe by itself. They alone give the cost its 0.
    """

    Config = CostModelConfig
    kind = "preference"

    def modules(self) -> dict[str, nn.Module]:
        return {"scorer": self.parts.scorer}

    def collect(self, step: int) -> CostPairs:
        return _labelled(self.parts.preferences.batch(step))

    def loss(self, batch: CostPairs) -> Loss:
        config = self.config
        chosen, rejected = self._costs(batch)
        weight, safe, unsafe = (one.to(chosen.device) for one in (batch.weight, batch.chosen_sign, batch.rejected_sign))
        pair = bradley_terry(rejected, chosen, batch.margin.to(chosen.device))
        sign = harm_sign(chosen, safe) + harm_sign(rejected, unsafe)
        each = pair + config.sign * sign + config.regularization * (chosen**2 + rejected**2)
        metrics = {
            "loss/preference": weighted_mean(pair, weight).detach(),
            "loss/sign": weighted_mean(sign, weight).detach(),
            "cost/accuracy": weighted_mean(_above(rejected - chosen), weight),
            "cost/chosen": weighted_mean(chosen, weight).detach(),
            "cost/rejected": weighted_mean(rejected, weight).detach(),
        }
        return Loss(weighted_mean(each, weight), weight.sum(), metrics)

    def _costs(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Both sides in one pass, so that neither sees other rounding than its rival."""
        both = self.parts.scorer.scores(TokenBatch.cat([batch.chosen, batch.rejected]))
        return both[: len(batch)], both[len(batch) :]

    def preflight(self, batch: CostPairs) -> dict[str, float]:
        """
        Raises:
            DataError: no answer of the first batch is called safe or unsafe, so that nothing would pin the cost's 0.
        """
        if not bool((batch.chosen_sign != 0).any() | (batch.rejected_sign != 0).any()):
            raise DataError(
                "no row of the first batch says whether its answers are safe: a cost's 0 would mean nothing",
                where=self.config.data,
                fix="give rows chosen_safe and rejected_safe (true or false); without them train `tutelage reward`",
            )
        return {}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """How often the worse one costs more, and how often a cost's sign agrees with what was said."""
        rows, size = self.parts.preferences.held_out, self.config.batch_size
        gaps, agreed = list[Tensor](), list[Tensor]()
        for start in range(0, len(rows), size):
            batch = _labelled(rows[start : start + size])
            chosen, rejected = self._costs(batch)
            gaps.append(rejected - chosen)
            cost, sign = torch.cat([chosen, rejected]), torch.cat([batch.chosen_sign, batch.rejected_sign])
            agreed.append(_above((cost * sign.to(cost.device))[sign.to(cost.device) != 0]))
        if not gaps:
            return {}
        gap, right = torch.cat(gaps), torch.cat(agreed)
        found = {"eval/accuracy": float(_above(gap).mean()), "eval/pairs": float(len(gap))}
        return found | ({"eval/sign_accuracy": float(right.mean())} if len(right) else {})


def _labelled(pairs: Sequence[EncodedPair]) -> CostPairs:
    plain = batch_of(pairs)
    known: dict[str, Any] = {field.name: getattr(plain, field.name) for field in fields(PairBatch)}
    chosen, rejected = (
        torch.tensor([_sign(pair, column) for pair in pairs]) for column in ("chosen_safe", "rejected_safe")
    )
    return CostPairs(**known, chosen_sign=chosen, rejected_sign=rejected)


def _sign(pair: EncodedPair, column: str) -> float:
    said = pair.row.meta.get(column)
    if said is not None and not isinstance(said, bool):
        raise DataError(f"'{column}' is {said!r}", where=pair.row.where, fix="write true (safe) or false (unsafe)")
    return _SIGN[said]


def _above(gap: Tensor) -> Tensor:
    """1 where positive, ½ at 0, else 0."""
    return (gap > 0).float() + 0.5 * (gap == 0).float()
