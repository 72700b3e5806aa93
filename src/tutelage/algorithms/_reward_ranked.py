"""Objectives on orders: Bradley–Terry on pairs and Plackett–Luce on rankings, both with ties."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.algorithms._base import EncodedPair, EncodedRanking, Parts
from tutelage.algorithms._reward_base import Judged, Objective, Question, RewardModelConfig
from tutelage.errors import DataError, UsageError
from tutelage.ops.reward_losses import (
    MOST_RANKED,
    bradley_terry,
    centering,
    davidson,
    davidson_luce,
    order_of,
    plackett_luce,
    plackett_luce_any_order,
    rao_kupper,
)
from tutelage.types import plain


class _Ordered(Objective):
    """What pairs and rankings share: ties, and the tie parameter on a log scale where there are any."""

    def __init__(self, config: RewardModelConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        shares = [_tie_share(self.question(row).ranks) for row in self.rows(parts).rows]
        share = sum(shares) / max(1, len(shares))
        self.ties = share > 0 and config.ties != "drop"
        self.log_tie: Tensor | None
        self.register_buffer("log_tie", None)
        if self.ties and config.ties in ("davidson", "rao-kupper"):
            start = config.tie_strength or _first_guess(config.ties, share)
            known = torch.tensor(math.log(start), dtype=torch.float32)
            if config.tie_strength:
                self.log_tie = known
            else:
                self.log_tie = nn.Parameter(known)

    @property
    def tie(self) -> Tensor:
        """log ν or log η."""
        if self.log_tie is None:
            raise RuntimeError("there are no ties")
        return self.log_tie

    def learned(self) -> dict[str, Any]:
        kind = {"ties": self.config.ties} if self.ties else {}
        return kind | ({"tie": float(self.log_tie.detach().exp())} if self.log_tie is not None else {})

    def each(self, labels: Tensor, batch: Judged) -> Tensor:
        present = (batch.ranks > 0).to(labels)[..., None]
        mean = (labels * present).sum(1) / present.sum(1)
        return self.likelihood(labels, batch) + self.config.centering * centering(mean, mean)

    @abstractmethod
    def likelihood(self, labels: Tensor, batch: Judged) -> Tensor:
        """[E, K, L] → [E, L]: −log of the judgement's probability."""


class BradleyTerry(_Ordered):
    """Pairs: −log σ(s_c − s_r − margin); with ties after Davidson or Rao and Kupper."""

    reads = "preference"

    def __init__(self, config: RewardModelConfig, parts: Parts) -> None:
        if config.ties == "marginal":
            raise UsageError("a pair that may be in any order says nothing", fix="--ties davidson or rao-kupper")
        super().__init__(config, parts)

    def rows(self, parts: Parts) -> Any:
        return parts.preferences

    def question(self, row: EncodedPair) -> Question:
        weight = 0.0 if row.row.tie and self.config.ties == "drop" else row.row.weight
        return Question(
            (row.chosen, row.rejected),
            (1, 1) if row.row.tie else (1, 2),
            margin=row.row.margin,
            weight=self.aspect_weights(row.row, weight),
            group=row.row.group or plain(row.row.prompt),
        )

    def likelihood(self, labels: Tensor, batch: Judged) -> Tensor:
        tied = _tied(batch.ranks).to(labels.device)[:, None]
        margin = batch.margin.to(labels.device)[:, None].masked_fill(tied, 0.0)
        chosen, rejected = labels[:, 0], labels[:, 1]
        if not self.ties:
            return bradley_terry(chosen, rejected, margin)
        gap = chosen - rejected - margin
        outcomes = davidson(gap, self.tie) if self.config.ties == "davidson" else rao_kupper(gap, self.tie.exp())
        return -torch.where(tied, outcomes[2], outcomes[0])


class PlackettLuce(_Ordered):
    """Rankings: who is picked first, next …; ties after Davidson–Luce, or in any order that the ranks allow."""

    reads = "ranking"

    def __init__(self, config: RewardModelConfig, parts: Parts) -> None:
        if config.ties == "rao-kupper":
            raise UsageError("Rao and Kupper's ties are for pairs", fix="--ties davidson or marginal")
        super().__init__(config, parts)

    def rows(self, parts: Parts) -> Any:
        return parts.rankings

    def question(self, row: EncodedRanking) -> Question:
        ranks = row.row.ranks
        tied = len(set(ranks)) < len(ranks)
        if tied and len(ranks) > MOST_RANKED and self.config.ties != "drop":
            raise DataError(
                f"{len(ranks)} answers in a ranking with ties, at most {MOST_RANKED} can be summed over",
                where=row.row.where,
                fix="leave such rankings out with --ties drop, or break the ties",
            )
        weight = 0.0 if tied and self.config.ties == "drop" else row.row.weight
        group = plain(row.row.prompt)
        return Question(row.answers, ranks, weight=self.aspect_weights(row.row, weight), group=group)

    def likelihood(self, labels: Tensor, batch: Judged) -> Tensor:
        ranks = batch.ranks.to(labels.device)
        tied = _tied(ranks) & self.ties
        out = labels.new_zeros(len(batch), labels.shape[-1])
        order = order_of(ranks)
        for label in range(labels.shape[-1]):
            scores = labels[..., label]
            plain_loss = plackett_luce(scores, order)
            if self.config.ties == "davidson" and self.ties:  # untied rankings too: they might have been ties
                plain_loss = davidson_luce(scores, ranks, self.tie)
            elif bool(tied.any()):
                some = plackett_luce_any_order(scores[tied], ranks[tied])
                plain_loss = plain_loss.masked_scatter(tied, some)
            out[:, label] = plain_loss
        return out


OBJECTIVES: dict[str, Callable[..., Objective]] = {"bradley-terry": BradleyTerry, "plackett-luce": PlackettLuce}


def _tied(ranks: Tensor) -> Tensor:
    """bool [E]: some two answers share a rank."""
    ordered = ranks.sort(-1).values
    return ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] > 0)).any(-1)


def _tie_share(ranks: tuple[int, ...]) -> float:
    """Share of neighbours in the order that tie."""
    return (len(ranks) - len(set(ranks))) / (len(ranks) - 1)


def _first_guess(kind: str, share: float) -> float:
    """ν or η under which equal answers tie as often as the answers of the data do."""
    odds = min(share, 0.95) / (1 - min(share, 0.95))
    return 2 * odds if kind == "davidson" else math.log(1 + 2 * odds)
