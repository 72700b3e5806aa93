"""What a reward model's report is made of: scores of judged pairs and answers, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PairScores:
    """P pairs of which one answer was judged better."""

    margin: Array
    """[P]: score(better) − score(worse)"""
    length: Array
    """[P]: tokens of the better answer less those of the worse"""
    weight: Array
    """[P]"""
    group: tuple[str, ...]
    """what belongs together: the prompt"""
    members: Array
    """[P, M]: the margin under each member of an ensemble"""
    features: Array
    """[P, H]: how the answers differ to the model that training began with; [P, 0] where it was not asked"""


@dataclass(frozen=True)
class AnswerScores:
    """M answers that raters scored, beside what a model that learned scores makes of them."""

    predicted: Array
    """[M]: in the unit of `told`"""
    told: Array
    """[M]: the weighted sum over aspects of the standard score, or of the mean level counted from 0"""
    group: tuple[str, ...]
    """what belongs together: the prompt"""


@dataclass(frozen=True)
class RewardEvidence:
    """What is known of a reward model when its training ends."""

    train: PairScores
    held_out: PairScores
    score: Array
    """[N]: of held-out answers, or of training answers where nothing is held out"""
    length: Array
    """[N]: their tokens"""
    probes: Mapping[str, Array] = field(default_factory=dict)
    """what was done to an answer → by how much its score changed, one number per answer"""
    rows_held_out: int = 0
    """judgements of any kind that were held out"""
    answers: AnswerScores | None = None
    """held-out answers, where scores were learned from and not an order"""
