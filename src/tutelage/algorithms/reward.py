"""Reward modelling: one number per answer, learned from pairs, rankings or scores that people gave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.algorithms import _reward_ranked, _reward_rated
from tutelage.algorithms._base import Algorithm, Parts
from tutelage.algorithms._pairs import weighted_mean
from tutelage.algorithms._reward_base import Judged, RewardModelConfig, judged
from tutelage.algorithms._reward_evidence import gather
from tutelage.batches import Loss
from tutelage.data.formats import Kind
from tutelage.models.load import load_scorer
from tutelage.statistics.calibration import temperature
from tutelage.statistics.evidence import RewardEvidence

OBJECTIVES = _reward_ranked.OBJECTIVES | _reward_rated.OBJECTIVES
"""`--kind` → what it learns by; a new one is a line here and a name in `RewardModelConfig.kind`."""
_READS: dict[str, Kind] = {
    "bradley-terry": "preference",
    "plackett-luce": "ranking",
    "pointwise": "rated",
    "ordinal": "rated",
}


class RewardModel(Algorithm[RewardModelConfig, Judged]):
    """L = Σ w·each / Σ w over questions and heads, `each` after `--kind`."""

    Config = RewardModelConfig
    kind = "preference"

    def __init__(self, config: RewardModelConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        self.objective = OBJECTIVES[config.kind](config, parts).to(parts.scorer.device)
        self._learned: dict[str, float] = {}

    @classmethod
    def rows_of(cls, config: RewardModelConfig) -> Kind:
        return _READS.get(config.kind, "preference")  # a classical kind reads whatever rows there are, in rewards/

    def modules(self) -> dict[str, nn.Module]:
        outcome: dict[str, nn.Module] = {"outcome": self.objective} if [*self.objective.parameters()] else {}
        return {"scorer": self.parts.scorer} | outcome

    def learning_rates(self) -> dict[str, float]:
        rates = {"scorer": self.config.learning_rate, "outcome": self.config.outcome_learning_rate}
        return {name: rates[name] for name in self.modules()}

    def collect(self, step: int) -> Judged:
        return self._batch(self.objective.rows(self.parts).batch(step), self.config.seed)

    def _batch(self, rows: Sequence[Any], seed: int | None) -> Judged:
        return judged([self.objective.question(row) for row in rows], self.config.ensemble, seed)

    def loss(self, batch: Judged) -> Loss:
        labels = self._labels(batch)
        each, weight = self.objective.each(labels, batch), batch.weight.to(labels.device)
        numbers = self._numbers(labels.detach(), batch) | {"loss/preference": each.detach()}
        metrics = {name: weighted_mean(value.expand(weight.shape), weight) for name, value in numbers.items()}
        return Loss(weighted_mean(each, weight), weight.sum(), metrics)

    def _labels(self, batch: Judged) -> Tensor:
        """[E, K, L]: all answers in one pass, so that none sees other rounding than its rival."""
        return batch.by_question(self.parts.scorer.labels(batch.answers))

    def _numbers(self, labels: Tensor, batch: Judged) -> dict[str, Tensor]:
        """Numbers of each question, [E, 1]."""
        heads = self.parts.scorer.heads
        scores, present = heads.value(labels), (batch.ranks > 0).to(labels.device)
        found = {"reward/mean": (scores * present).sum(1) / present.sum(1)}
        if batch.ranks.shape[1] > 1:
            gaps = (scores[:, :, None] - scores[:, None, :]).masked_fill(~_better(batch.ranks).to(scores.device), 0.0)
            pairs = _better(batch.ranks).to(scores).sum((1, 2))
            right = ((gaps > 0).float() + 0.5 * (gaps == 0).float()) * _better(batch.ranks).to(scores)
            half = torch.full_like(pairs, 0.5)  # where all tie there is no order to be right about
            found["reward/accuracy"] = torch.where(pairs > 0, right.sum((1, 2)) / pairs.clamp(min=1), half)
            found["reward/margin"] = gaps.sum((1, 2)) / pairs.clamp(min=1)
        if heads.ensemble > 1:
            found["reward/spread"] = (heads.spread(labels) * present).sum(1) / present.sum(1)
        return {name: value[:, None] for name, value in found.items()}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        rows = self.objective.rows(self.parts).held_out
        if not rows:
            return {}
        right = pairs = loss = counted = 0.0
        scores, targets = list[Tensor](), list[Tensor]()
        for start in range(0, len(rows), self.config.batch_size):
            batch = self._batch(rows[start : start + self.config.batch_size], None)
            labels = self._labels(batch)
            counts = (batch.weight > 0).to(labels)
            loss += float((self.objective.each(labels, batch) * counts).sum())
            counted += float(counts.sum())
            better = _better(batch.ranks).sum((1, 2)).to(labels)
            pairs += float(better.sum())
            if batch.ranks.shape[1] > 1:
                right += float((self._numbers(labels, batch)["reward/accuracy"][:, 0] * better).sum())
            else:
                scores.append(self.parts.scorer.heads.value(labels[:, 0]).cpu())
                targets.append(_target(batch, self.parts.scorer.heads.aspects))
        found = {"eval/loss": loss / max(counted, 1.0)}
        if scores:
            return found | {"eval/correlation": _correlation(torch.cat(scores), torch.cat(targets))}
        return found | ({"eval/accuracy": right / pairs, "eval/pairs": pairs} if pairs else {})

    def evidence(self) -> RewardEvidence | None:
        limit, rows = self.config.report_rows, self.objective.rows(self.parts)
        if not limit:
            return None
        scorer, few = self.parts.scorer, [*rows.rows][:limit]
        asked = self.config
        start = load_scorer(asked.model, dtype=asked.dtype, device=asked.device, engine=asked.engine, single=True)
        held_out = [*rows.held_out][:limit]
        objective = self.objective
        expected = objective.expected if isinstance(objective, _reward_rated.RatedObjective) else None
        found = gather(few, held_out, objective.question, scorer, start, self.parts.renderer, expected)
        if len(found.held_out.margin):
            self._learned["temperature"] = temperature(found.held_out.margin, found.held_out.weight)
        return found

    def export(self, folder: Path) -> None:
        scorer = self.parts.scorer
        learned = {"kind": self.config.kind} | self.objective.learned() | self._learned
        scorer.heads = type(scorer.heads)(scorer.heads.aspects, scorer.heads.ensemble, learned)
        scorer.save(folder)


def _better(ranks: Tensor) -> Tensor:
    """bool [E, K, K]: answer i ranks before answer j."""
    present = ranks > 0
    return (ranks[:, :, None] < ranks[:, None, :]) & present[:, :, None] & present[:, None, :]


def _target(batch: Judged, aspects: Sequence[tuple[str, float]]) -> Tensor:
    """[E]: what raters said, as one number: the weighted sum over aspects of the standard score or mean level."""
    levels = torch.arange(batch.told.shape[-1], dtype=torch.float32)
    single = batch.told.shape[-1] == 1
    each = batch.told[..., 0] if single else (batch.told * levels).sum(-1) / batch.told.sum(-1).clamp(min=1e-9)
    return each @ torch.tensor([weight for _, weight in aspects])


def _correlation(left: Tensor, right: Tensor) -> float:
    """Pearson's; 0 where one of them does not vary."""
    if len(left) < 2 or float(left.std()) == 0 or float(right.std()) == 0:
        return 0.0
    return float(torch.corrcoef(torch.stack([left, right]))[0, 1])
