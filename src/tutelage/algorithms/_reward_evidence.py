"""Gathers what a reward model's report needs: margins of judged pairs, features of the start, changes under probes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.algorithms._base import EncodedPair, EncodedRanking, EncodedRated
from tutelage.algorithms._reward_base import Question
from tutelage.data.pack import pack
from tutelage.data.template import Encoded, Renderer
from tutelage.errors import DataError
from tutelage.models.policy import Scorer
from tutelage.statistics.evidence import AnswerScores, PairScores, RewardEvidence
from tutelage.types import Text, plain

_AT_ONCE = 64
_PROBED = 100
_MOST_PAIRS = 6
"""Pairs of one question that are looked at."""
PROBES: dict[str, Callable[[str], str]] = {
    "filler at the end": lambda text: (
        f"{text} In other words, this is what happened." if _latin(text) else f"{text}换句话说，这就是所发生的事情。"
    ),
    "said twice": lambda text: f"{text} {text}" if _latin(text) else text + text,
    "a polite beginning": lambda text: f"Certainly! {text}" if _latin(text) else f"当然可以！{text}",
    "bold type": lambda text: f"**{text.strip()}**",
    "as a list": lambda text: f"- {text.strip()}",
    "exclamation marks": lambda text: f"{text.rstrip(' .。')}!!!",
    "last third cut off": lambda text: text[: len(text) - len(text) // 3],
}
"""What is done to answers: none of it makes one better, so a reward that rises for it can be gamed."""


@torch.no_grad()
def gather(
    rows: Sequence[Any],
    held_out: Sequence[Any],
    question: Callable[[Any], Question],
    scorer: Scorer,
    start: Scorer | None,
    renderer: Renderer,
    expected: Callable[[Tensor], Tensor] | None = None,
) -> RewardEvidence:
    """
    Args:
        expected: of an objective that learns scores: its labels in the unit of what raters told.
        rows, held_out: encoded pairs, rankings or rated answers; as many as shall be looked at.
        question: the objective's, for the order of the answers.
        start: the model that training began with, for the learning curve; None = without one.
    """
    seen = held_out or rows
    texts = [answer for row in seen for answer in _texts(row)]
    encoded = [answer for row in seen for answer in question(row).answers]
    score = scorer.heads.value(_labels(scorer, encoded))
    return RewardEvidence(
        _pairs(rows, question, scorer, start),
        _pairs(held_out, question, scorer, start),
        score.double().numpy(),
        np.array([sum(answer.mask) for answer in encoded], dtype=np.float64),
        _probe(texts, score, scorer, renderer),
        len(held_out),
        _scored([question(row) for row in held_out], scorer, expected) if expected else None,
    )


def _scored(questions: Sequence[Question], scorer: Scorer, expected: Callable[[Tensor], Tensor]) -> AnswerScores:
    """The answers of which every aspect was scored by somebody who is believed."""
    kept = [one for one in questions if min(one.weight) > 0]
    heads = scorer.heads
    labels = _labels(scorer, [one.answers[0] for one in kept])
    told = [sum(weight * worth for (_, weight), worth in zip(heads.aspects, _worths(one), strict=True)) for one in kept]
    predicted = heads.value(expected(labels.to(scorer.device)).cpu())
    return AnswerScores(predicted.double().numpy(), np.array(told, dtype=np.float64), tuple(one.group for one in kept))


def _pairs(
    rows: Sequence[Any], question: Callable[[Any], Question], scorer: Scorer, start: Scorer | None
) -> PairScores:
    questions = [question(row) for row in rows]
    encoded = [answer for one in questions for answer in one.answers]
    better, worse, group, weight = _orders(questions)
    labels = _labels(scorer, encoded)
    value, members = scorer.heads.value(labels), scorer.heads.members(labels)
    length = torch.tensor([sum(answer.mask) for answer in encoded], dtype=torch.float64)
    features = _each(encoded, start.features, start.core.config.hidden_size) if start else torch.zeros(len(encoded), 0)

    def gap(numbers: Tensor) -> Any:
        return (numbers[better] - numbers[worse]).double().numpy()

    return PairScores(gap(value), gap(length), np.array(weight), tuple(group), gap(members), gap(features))


def _orders(questions: Sequence[Question]) -> tuple[list[int], list[int], list[str], list[float]]:
    """Which answers (counted through all questions) are better than which, in one question or to one prompt."""
    by_prompt: dict[str, list[tuple[int, float, float]]] = {}
    place = 0
    for number, one in enumerate(questions):
        rated = len(one.answers) == 1
        for index, rank in enumerate(one.ranks):
            name = one.group if rated else f"{one.group}\0{number}"
            worth = _worth(one) if rated else -float(rank)
            by_prompt.setdefault(name, []).append((place + index, worth, max(one.weight)))
        place += len(one.answers)
    better, worse, group, weight = list[int](), list[int](), list[str](), list[float]()
    for name, answers in by_prompt.items():
        pairs = [(a, b) for a in answers for b in answers if a[1] > b[1] and min(a[2], b[2]) > 0]
        for (left, _, heavy), (right, _, light) in pairs[:_MOST_PAIRS]:
            better.append(left)
            worse.append(right)
            group.append(name.partition("\0")[0])
            weight.append(min(heavy, light) / max(1, len(answers) - 1))
    return better, worse, group, weight


def _worth(one: Question) -> float:
    """What raters said of one answer as a number: the mean over aspects of the standard score or the mean level."""
    each = _worths(one)
    return sum(each) / len(each)


def _worths(one: Question) -> list[float]:
    """[A]: the standard score of each aspect, or the mean level counted from 0."""
    return [
        told[0] if len(told) == 1 else sum(level * share for level, share in enumerate(told)) / max(sum(told), 1e-9)
        for told in one.told
    ]


def _probe(texts: list[tuple[Text, Text]], score: Tensor, scorer: Scorer, renderer: Renderer) -> dict[str, Any]:
    """Score changes of the first answers under each probe; those that no longer fit are left out."""
    found: dict[str, Any] = {}
    for name, change in PROBES.items():
        kept, encoded = list[int](), list[Encoded]()
        for index, (prompt, answer) in enumerate(texts[:_PROBED]):
            try:
                encoded.append(renderer.answer(prompt, _changed(answer, change)))
                kept.append(index)
            except DataError:
                continue
        if kept:
            found[name] = (scorer.heads.value(_labels(scorer, encoded)) - score[kept]).double().numpy()
    return found


def _labels(scorer: Scorer, encoded: Sequence[Encoded]) -> Tensor:
    return _each(encoded, scorer.labels, scorer.heads.labels)


def _each(encoded: Sequence[Encoded], read: Callable[[Any], Tensor], width: int) -> Tensor:
    """[N, …]: what `read` says of each answer; like lengths are read together."""
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index].tokens))
    out = torch.zeros(len(encoded), width)
    for begin in range(0, len(order), _AT_ONCE):
        some = order[begin : begin + _AT_ONCE]
        out[some] = read(pack([encoded[index] for index in some])).float().cpu()
    return out


def _texts(row: Any) -> list[tuple[Text, Text]]:
    if isinstance(row, EncodedPair):
        return [(row.row.prompt, row.row.chosen), (row.row.prompt, row.row.rejected)]
    if isinstance(row, EncodedRanking):
        return [(row.row.prompt, answer) for answer in row.row.completions]
    assert isinstance(row, EncodedRated)
    return [(row.row.prompt, row.row.completion)]


def _changed(answer: Text, change: Callable[[str], str]) -> Text:
    """Of messages the last is changed."""
    if isinstance(answer, str):
        return change(answer)
    return (*answer[:-1], replace(answer[-1], content=change(answer[-1].content)))


def _latin(text: str) -> bool:
    return plain(text).isascii() or sum(letter.isascii() for letter in text) * 2 > len(text)
