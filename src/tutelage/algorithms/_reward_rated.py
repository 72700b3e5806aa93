"""Objectives on scores: as numbers that are comparable between raters, or as levels that are only ordered."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from tutelage.algorithms._base import EncodedRated, Parts
from tutelage.algorithms._reward_base import Judged, Objective, Question, RewardModelConfig
from tutelage.errors import DataError
from tutelage.ops.reward_losses import huber, ordinal
from tutelage.statistics.severity import rater_scales
from tutelage.types import Rated, Rating, plain

_MOST_LEVELS = 21


class RatedObjective(Objective):
    """What both share: which ratings speak of which head."""

    reads = "rated"

    def rows(self, parts: Parts) -> Any:
        return parts.ratings

    @abstractmethod
    def expected(self, labels: Tensor) -> Tensor:
        """[…, L] → […, L]: labels in the unit of `told`: the standard score, or the mean level counted from 0."""

    def by_aspect(self, row: Rated) -> list[list[tuple[Rating, float]]]:
        """For each head the ratings that speak of it, with their raters' weights; all of them if there is one head."""
        trust = row.meta.get("rater_weights") or {}
        names = [name for name, _ in self.heads.aspects]
        return [
            [(one, float(trust.get(one.rater, 1.0))) for one in row.ratings if len(names) == 1 or one.aspect == name]
            for name in names
        ]

    def require_aspects(self, rows: Any) -> None:
        """
        Raises:
            DataError: nobody speaks of one of the aspects.
        """
        seen = {rating.aspect for row in rows for rating in row.row.ratings}
        wanted = {name for name, _ in self.heads.aspects}
        if len(wanted) > 1 and not wanted <= seen:
            missing = ", ".join(sorted(wanted - seen))
            raise DataError(f"nobody rated {missing}", fix=f"--aspects with some of: {', '.join(sorted(seen))}")


class Pointwise(RatedObjective):
    """Scores as numbers: Huber's loss to the mean of the raters' standard scores, which weighs as many raters."""

    def __init__(self, config: RewardModelConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        rows = self.rows(parts).rows
        self.require_aspects(rows)
        self.scales = rater_scales(_all_scores(rows), config.shrinkage)

    def question(self, row: EncodedRated) -> Question:
        told, weight = list[tuple[float, ...]](), list[float]()
        for ratings in self.by_aspect(row.row):
            trust = sum(each for _, each in ratings)
            total = sum(self._standard(rating) * each for rating, each in ratings)
            told.append((total / trust if trust > 0 else 0.0,))
            raters = len({rating.rater for rating, _ in ratings})
            weight.append(trust * raters / len(ratings) if ratings else 0.0)
        return Question((row.answer,), (1,), tuple(told), weight=tuple(weight), group=plain(row.row.prompt))

    def expected(self, labels: Tensor) -> Tensor:
        return labels

    def _standard(self, rating: Rating) -> float:
        scale = self.scales.get((rating.rater, rating.aspect)) or self.scales.get(("", rating.aspect))
        return scale.standard(_share(rating)) if scale is not None else 0.0

    def each(self, labels: Tensor, batch: Judged) -> Tensor:
        target = batch.told[:, :, 0].to(labels.device).repeat_interleave(self.config.ensemble, 1)
        return huber(labels[:, 0], target, self.config.huber)

    def learned(self) -> dict[str, Any]:
        everyone = {
            aspect: [scale.mean, scale.deviation] for (rater, aspect), scale in self.scales.items() if not rater
        }
        return {"standard": everyone}


class Ordinal(RatedObjective):
    """Scores as levels: a cumulative logit, with thresholds per aspect that stay in order."""

    def __init__(self, config: RewardModelConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        rows = self.rows(parts).rows
        self.require_aspects(rows)
        self.low, self.high = _whole_scale(rows)
        counts = torch.zeros(len(self.heads.aspects), self.high - self.low + 1)
        for row in rows:
            counts += torch.tensor(self._levels(row.row)[0])
        below = (counts + 0.5).cumsum(-1)[:, :-1] / (counts + 0.5).sum(-1, keepdim=True)
        start = torch.logit(below)
        self.first = nn.Parameter(start[:, :1].clone())
        self.gaps = nn.Parameter(_inverse_softplus(start.diff(dim=-1).clamp(min=1e-3)))

    @property
    def thresholds(self) -> Tensor:
        """[A, J] ascending, whatever the parameters are."""
        steps = softplus(self.gaps)
        upto = steps.new_ones(steps.shape[-1], steps.shape[-1]).tril()  # no cumsum: CUDA has none in a fixed order
        return torch.cat([self.first, self.first + (steps[:, None] * upto).sum(-1)], -1)

    def question(self, row: EncodedRated) -> Question:
        told, weight = self._levels(row.row)
        return Question((row.answer,), (1,), told, weight=weight, group=plain(row.row.prompt))

    def expected(self, labels: Tensor) -> Tensor:
        """Σ_j P(level > j) = Σ_j σ(s − θ_j)."""
        thresholds = self.thresholds.detach().repeat_interleave(self.config.ensemble, 0).to(labels)
        return torch.sigmoid(labels[..., None] - thresholds).sum(-1)

    def _levels(self, row: Rated) -> tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]:
        """([A][J + 1] how much each level was given, [A] their sum)."""
        told = list[tuple[float, ...]]()
        for ratings in self.by_aspect(row):
            counts = [0.0] * (self.high - self.low + 1)
            for rating, trust in ratings:
                counts[min(max(round(rating.score) - self.low, 0), len(counts) - 1)] += trust
            told.append(tuple(counts))
        return tuple(told), tuple(sum(counts) for counts in told)

    def each(self, labels: Tensor, batch: Judged) -> Tensor:
        told = batch.told.to(labels.device).repeat_interleave(self.config.ensemble, 1)  # [E, L, J + 1]
        thresholds = self.thresholds.repeat_interleave(self.config.ensemble, 0)
        scores = labels[:, 0, :, None].expand(told.shape)
        level = torch.arange(told.shape[-1], device=labels.device).expand(told.shape)
        loss = ordinal(scores, level, thresholds[:, None])
        return (loss * told).sum(-1) / told.sum(-1).clamp(min=1e-9)

    def learned(self) -> dict[str, Any]:
        names = [name for name, _ in self.heads.aspects]
        found = dict(zip(names, self.thresholds.detach().tolist(), strict=True))
        return {"levels": [self.low, self.high], "thresholds": found}


OBJECTIVES: dict[str, Callable[..., Objective]] = {"pointwise": Pointwise, "ordinal": Ordinal}


def _all_scores(rows: Any) -> Iterator[tuple[str, str, float]]:
    for row in rows:
        for rating in row.row.ratings:
            yield rating.rater, rating.aspect, _share(rating)


def _share(rating: Rating) -> float:
    """The score as a share of its scale."""
    low, high = rating.scale
    return (rating.score - low) / (high - low) if high > low else 0.0


def _whole_scale(rows: Any) -> tuple[int, int]:
    """
    Raises:
        DataError: scores that are no levels of one scale.
    """
    given = [rating for row in rows for rating in row.row.ratings]
    scales = {rating.scale for rating in given}
    fix = "--kind pointwise takes scores as numbers"
    if len(scales) != 1:
        raise DataError(f"the scores have {len(scales)} different scales", fix=fix)
    low, high = scales.pop()
    broken = [rating.score for rating in given if not float(rating.score).is_integer()]
    if broken or not (low.is_integer() and high.is_integer()):
        raise DataError(f"scores such as {broken[0] if broken else low:g} are no whole levels", fix=fix)
    if not 2 <= high - low + 1 <= _MOST_LEVELS:
        raise DataError(f"a scale of {high - low + 1:g} levels", fix=fix)
    return int(low), int(high)


def _inverse_softplus(x: Tensor) -> Tensor:
    return x + torch.log(-torch.expm1(-x))
