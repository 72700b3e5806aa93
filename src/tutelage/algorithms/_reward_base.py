"""What every kind of reward model shares: its settings, the batch of judged answers, and what an objective promises."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from tutelage.algorithms._base import Parts, TrainConfig
from tutelage.batches import Prompted, TokenBatch
from tutelage.data.formats import Kind
from tutelage.data.pack import pack
from tutelage.data.template import Encoded
from tutelage.errors import UsageError
from tutelage.models.heads import Heads
from tutelage.ops.seeds import derive


@dataclass(frozen=True, kw_only=True)
class RewardModelConfig(TrainConfig):
    """How a reward model learns."""

    kind: Literal[
        "bradley-terry", "plackett-luce", "pointwise", "ordinal",
        "ridge", "svm", "svm-rbf", "svm-class", "svm-class-rbf", "svm-pair", "svm-pair-rbf",
    ] = "bradley-terry"  # fmt: skip
    """neural, on --model: pairs (bradley-terry), k-way rankings (plackett-luce), scores as numbers or as levels;
    classical, in seconds: ridge regression and support vector machines on features of whatever rows there are
    (svm-class: good or bad, svm-pair: pairs, from scores too; -rbf: with a kernel); --model adds its hidden states"""
    ties: Literal["davidson", "rao-kupper", "marginal", "drop"] = "davidson"
    """how ties are learned from, where there are any; rao-kupper is for pairs, marginal for rankings (see docs)"""
    tie_strength: float = 0.0
    """ν of davidson or η of rao-kupper, held fixed; 0 = learned"""
    aspects: str = ""
    """one head for each aspect, with its weight in the score: faithful=1,concise=0.5; none = one head for all"""
    ensemble: int = 1
    """heads for each aspect, each with its own start and weights of the data: their spread says how sure it is"""
    learning_rate: float = 1e-5
    """peak learning rate of the body; 1e-4 to 1e-3 for models below 5 million parameters"""
    batch_size: int = 64
    """pairs, rankings or rated answers per optimiser step"""
    centering: float = 0.01
    """pulls scores towards 0 (Eisenstein et al. 2023, 2312.09244); 0 = off; not for scores"""
    huber: float = 1.0
    """pointwise: errors beyond so many standard deviations count linearly; 0 = squared error"""
    shrinkage: float = 10.0
    """pointwise: each rater's mean and deviation is drawn to everybody's as by so many scores more"""
    outcome_learning_rate: float = 1e-2
    """peak learning rate of the tie parameter and of thresholds"""
    report_rows: int = 2000
    """rows that the reward report's learning curve and probes read, at most; 0 = no report"""

    def sane(self) -> dict[str, bool]:
        amounts = ("centering", "tie_strength", "huber", "shrinkage", "report_rows", "outcome_learning_rate")
        return super().sane() | {name: getattr(self, name) >= 0 for name in amounts} | {"ensemble": self.ensemble >= 1}

    def reads_ties(self) -> bool:
        return True

    def scorer_heads(self) -> Heads:
        """One label, or `ensemble` for each aspect.

        Raises:
            UsageError: `aspects` is no list of NAME=NUMBER.
        """
        named: dict[str, float] = {}
        items = [item for item in self.aspects.split(",") if item]
        for item in items:
            name, equals, weight = item.partition("=")
            named[name.strip()] = _number(weight) if equals else 1.0
        if "" in named or len(named) < len(items) or not all(map(math.isfinite, named.values())):
            raise UsageError(f"'{self.aspects}' are no aspects", fix="--aspects faithful=1,concise=0.5")
        return Heads(tuple(named.items()) or Heads().aspects, self.ensemble)


@dataclass(frozen=True)
class Judged:
    """E questions with all their answers: two of a pair, K of a ranking, one that was scored. They stay together."""

    answers: TokenBatch
    """the answers of the first question, those of the second …"""
    count: Tensor
    """int64 [E]: how many answers each question has"""
    ranks: Tensor
    """int64 [E, K]: 1 = best, equal = tie, 0 = no answer"""
    told: Tensor
    """float32 [E, A, J]: what raters said of each aspect: a standard score (J = 1), or how many gave each level"""
    margin: Tensor
    """float32 [E]"""
    weight: Tensor
    """float32 [E, L]: how much the question counts for each label"""

    def __len__(self) -> int:
        return len(self.count)

    def sizes(self) -> list[int]:
        return [int(each.sum()) for each in self.answers.lengths.split(self.count.tolist())]

    def prompts(self) -> list[Prompted]:
        prompts = self.answers.prompts()
        firsts = zip(self._starts, self.count.tolist(), strict=True)
        return [prompts[start]._replace(answers=count) for start, count in firsts]

    @cached_property
    def _starts(self) -> list[int]:
        return (torch.cumsum(self.count, 0) - self.count).tolist()

    def select(self, rows: Sequence[int]) -> Self:
        index, starts = list(rows), self._starts
        answers = [starts[row] + place for row in index for place in range(int(self.count[row]))]
        count, width = self.count[index], int(self.count[index].max())
        told, margin, weight = self.told[index], self.margin[index], self.weight[index]
        return type(self)(self.answers.select(answers), count, self.ranks[index][:, :width], told, margin, weight)

    def by_question(self, labels: Tensor) -> Tensor:
        """[N, L], one row per answer → [E, K, L], 0 where a question has fewer answers."""
        width = self.ranks.shape[1]
        present = (torch.arange(width)[None] < self.count[:, None]).to(labels.device)
        out = labels.new_zeros(len(self), width, labels.shape[-1])
        return out.masked_scatter(present[..., None], labels)


@dataclass(frozen=True)
class Question:
    """One row, as an objective reads it."""

    answers: tuple[Encoded, ...]
    ranks: tuple[int, ...]
    told: tuple[tuple[float, ...], ...] = ()
    """[A][J]"""
    margin: float = 0.0
    weight: tuple[float, ...] = (1.0,)
    """[A]"""
    group: str = ""
    """what is drawn together in a bootstrap"""


def judged(questions: Sequence[Question], ensemble: int = 1, seed: int | None = None) -> Judged:
    """Questions as a batch; with a seed, each member of the ensemble weighs each group as a Bayesian bootstrap does."""
    width = max(len(question.ranks) for question in questions)
    return Judged(
        pack([answer for question in questions for answer in question.answers]),
        torch.tensor([len(question.answers) for question in questions]),
        torch.tensor([[*question.ranks, *[0] * (width - len(question.ranks))] for question in questions]),
        torch.tensor([question.told for question in questions], dtype=torch.float32).reshape(
            len(questions), len(questions[0].told), -1 if questions[0].told else 1
        ),
        torch.tensor([question.margin for question in questions], dtype=torch.float32),
        torch.tensor([_weights(question, ensemble, seed) for question in questions], dtype=torch.float32),
    )


def _weights(question: Question, ensemble: int, seed: int | None) -> list[float]:
    """Exponential(1) weights per group and member (Rubin 1981): as a bootstrap, but nothing is ever left out."""
    shares = [1.0] * ensemble
    if seed is not None and ensemble > 1:
        draws = [derive(seed, "bootstrap", question.group, member) / 2**63 for member in range(ensemble)]
        shares = [-math.log1p(-draw) for draw in draws]
    return [weight * share for weight in question.weight for share in shares]


class Objective(nn.Module, ABC):
    """What is wrong with scores, given judgements; may learn a few numbers of its own."""

    reads: ClassVar[Kind]
    """what rows `--data` holds"""

    def __init__(self, config: RewardModelConfig, parts: Parts) -> None:
        super().__init__()
        self.config = config
        self.heads = config.scorer_heads()

    @abstractmethod
    def rows(self, parts: Parts) -> Any:
        """The part of the toolbox that holds the rows."""

    @abstractmethod
    def question(self, row: Any) -> Question:
        """One row as a question."""

    @abstractmethod
    def each(self, labels: Tensor, batch: Judged) -> Tensor:
        """[E, K, L] → [E, L]: the loss of each question under each label."""

    @abstractmethod
    def learned(self) -> dict[str, Any]:
        """What it found beside weights, as JSON, for the model's card."""

    def aspect_weights(self, row: Any, weight: float) -> tuple[float, ...]:
        """[A]: the row's weight for the aspect that its `meta` names, or for the only one there is.

        Raises:
            UsageError: there are several aspects, and the row names none of them.
        """
        names = [name for name, _ in self.heads.aspects]
        told = row.meta.get("aspect")
        if len(names) == 1:
            return (weight,)
        if told not in names:
            raise UsageError(
                f"the row is about {told!r}, none of the aspects {', '.join(names)}",
                where=row.where,
                fix='give each row its aspect ("meta": {"aspect": NAME}), or leave --aspects out',
            )
        return tuple(weight * (name == told) for name in names)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
