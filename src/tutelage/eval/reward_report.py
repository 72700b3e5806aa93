"""The report of a reward model: how often it is right, how sure, what it looks at, and what more labels would bring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.eval._base import Measure, bootstrap_mean
from tutelage.eval.learning_curve import LearningCurve, learning_curve
from tutelage.eval.preference import accuracy, calibration
from tutelage.eval.score_calibration import score_calibration, score_notes
from tutelage.statistics.calibration import temperature
from tutelage.statistics.evidence import PairScores, RewardEvidence

Array = NDArray[np.float64]
FILE = "reward_report.json"
_EQUAL_LENGTH = 1
"""Answers whose lengths differ by so many tokens count as equally long."""
_LEAST_PAIRS = 20
_GAMED = 0.25
"""A probe that raises the score by more than this share of the scores' deviation is pointed at."""


@dataclass(frozen=True)
class RewardReport:
    """What `reward_report.json` holds, and what is said of it."""

    measures: Mapping[str, Measure]
    probes: Mapping[str, Measure]
    """what was done to an answer → mean change of its score, in deviations of the scores"""
    curve: LearningCurve | None
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """A JSON object without NaN."""
        return {
            "measures": {name: measure.as_json() for name, measure in self.measures.items()},
            "probes": {name: measure.as_json() for name, measure in self.probes.items()},
            "curve": self.curve.as_json() | {"sentence": self.curve.sentence()} if self.curve else None,
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """The report in short, for the screen."""
        shown = [f"{_NAMES[name]} {_short(measure)}" for name, measure in self.measures.items() if name in _NAMES]
        return ["; ".join(shown), *self.notes] if shown else list(self.notes)


_NAMES = {
    "accuracy": "right on held-out pairs",
    "length_only": "by length alone",
    "accuracy_equal_length": "among equally long ones",
    "accuracy_train": "on training pairs",
    "ece": "calibration error",
    "score_correlation": "correlation with raters' scores",
    "score_slope": "raters' points for one of its points",
}
_NO_PAIRS = (
    "which of two answers is better was not measured, nor with what probability: no held-out prompt has two answers "
    "that raters told apart"
)
_NO_SCORES = "whether its scores mean what they say was not measured: too few held-out answers, or all alike"
_PAIRED = (
    "its scores claim no probabilities: that one answer is better than another is σ(difference / {:.3g}), from "
    "held-out prompts with two answers or more"
)


def reward_report(evidence: RewardEvidence) -> RewardReport:
    """Everything that the evidence can tell; what needs held-out pairs is left out where there are none."""
    held, train = evidence.held_out, evidence.train
    measures: dict[str, Measure] = {}
    notes: list[str] = []
    curve = None
    scored = evidence.answers
    if len(held.margin):
        measures |= _agreement(held, train) | _calibration(held, scores=scored is not None) | _ensemble(held)
        curve = learning_curve(train.features, held.features, train.group, held_out_groups=held.group)
    elif evidence.rows_held_out:
        notes.append(_NO_PAIRS)
    else:
        notes.append("nothing is held out (--eval-data), so nothing is known of new answers")
    if scored is not None and evidence.rows_held_out:
        measures |= score_calibration(scored)
        notes += score_notes(measures) if "score_slope" in measures else [_NO_SCORES]
        notes += [_PAIRED.format(measures["temperature"].value)] if "temperature" in measures else []
    if len(train.margin):
        measures["accuracy_train"] = accuracy(train.margin.tolist(), train.group, train.weight.tolist())
    measures["length_correlation"] = _correlation(evidence.score, evidence.length)
    deviation = float(evidence.score.std()) or 1.0
    probes = {name: bootstrap_mean((change / deviation).tolist()) for name, change in evidence.probes.items()}
    notes += _warnings(measures, probes)
    if curve:
        notes.append(f"with more labels, by a linear fit on the start's features: {curve.sentence()}")
    return RewardReport(measures, probes, curve, tuple(notes))


def _agreement(held: PairScores, train: PairScores) -> dict[str, Measure]:
    """Accuracy, that of length alone (its direction from the training pairs), and that at equal length."""
    margins = held.margin.tolist()
    sign = 1.0 if float(np.sign(train.length).sum()) >= 0 else -1.0
    found = {
        "accuracy": accuracy(margins, held.group),
        "accuracy_weighted": accuracy(margins, held.group, held.weight.tolist()),
        "length_only": accuracy((sign * held.length).tolist(), held.group),
    }
    near = np.asarray(np.abs(held.length) <= _EQUAL_LENGTH)
    if int(near.sum()) >= _LEAST_PAIRS:
        found["accuracy_equal_length"] = _among(near, held)
    return found


def _calibration(held: PairScores, *, scores: bool) -> dict[str, Measure]:
    """Error of the probabilities as they are, and after a temperature that was fitted on the other half of prompts.

    A model that learned `scores` claims no probabilities by itself: there is only what the temperature makes of them.
    """
    whole = temperature(held.margin, held.weight)
    names = {name: place for place, name in enumerate(sorted(set(held.group)))}
    half = np.array([names[group] % 2 for group in held.group], dtype=bool)
    how = "|confidence - accuracy| over ten bins"
    plain = {} if scores else {"ece": Measure(calibration(held.margin.tolist()).ece, n=len(names), how=how)}
    found = plain | {
        "temperature": Measure(whole, n=len(names), how="margins divided by it are calibrated log odds"),
    }
    if half.any() and not half.all():
        cooled = held.margin.copy()
        for part in (half, ~half):
            cooled[part] /= temperature(held.margin[~part], held.weight[~part])
        how += ", temperature from the other half of the prompts"
        found["ece_after"] = Measure(calibration(cooled.tolist()).ece, n=len(names), how=how)
    return found


def _ensemble(held: PairScores) -> dict[str, Measure]:
    """How often one member is right, and how often the ensemble is where its members agree about a pair."""
    count = held.members.shape[1]
    if count < 2:
        return {}
    single = np.where(held.members > 0, 1.0, np.where(held.members == 0, 0.5, 0.0)).mean(1)
    found = {"accuracy_of_one_head": bootstrap_mean(single.tolist(), held.group)}
    agreed = np.asarray((held.members > 0).all(1) | (held.members < 0).all(1))
    if int(agreed.sum()) >= _LEAST_PAIRS:
        found["accuracy_where_heads_agree"] = _among(agreed, held)
        found["heads_agree"] = bootstrap_mean(agreed.astype(float).tolist(), held.group)
    return found


def _among(kept: NDArray[np.bool_], held: PairScores) -> Measure:
    """Accuracy on some of the pairs."""
    places = np.flatnonzero(kept).tolist()
    return accuracy(held.margin[places].tolist(), [held.group[place] for place in places])


def _correlation(score: Array, length: Array) -> Measure:
    """Of score and length, with Fisher's interval."""
    if len(score) < 8 or score.std() == 0 or length.std() == 0:
        return Measure(0.0, n=len(score), how="too little varies")
    value = float(np.corrcoef(score, length)[0, 1])
    half = 1.96 / np.sqrt(len(score) - 3)
    middle = np.arctanh(np.clip(value, -0.999999, 0.999999))
    return Measure(value, float(np.tanh(middle - half)), float(np.tanh(middle + half)), len(score), "score with length")


def _warnings(measures: Mapping[str, Measure], probes: Mapping[str, Measure]) -> list[str]:
    said: list[str] = []
    right, length = measures.get("accuracy"), measures.get("length_only")
    if right and right.low is not None and right.low <= 0.5:
        said.append(f"it is not clearly better than chance on held-out pairs ({_short(right)}): more labels are needed")
    elif right and length and right.value <= length.value + 0.01:
        said.append(f"it is no better than looking at length alone ({length.value:.2f}): it may have learned just that")
    same = measures.get("accuracy_equal_length")
    if same and right and same.high is not None and same.high < right.value - 0.02:
        said.append(f"between equally long answers it is right only {_short(same)} of the time")
    for name, change in probes.items():
        if change.value > _GAMED and change.low is not None and change.low > 0:
            said.append(f"it can be gamed: {name} adds {change.value:.2f} deviations to the score")
    return said


def _short(measure: Measure) -> str:
    interval = f" ({measure.low:.2f} to {measure.high:.2f})" if measure.low is not None else ""
    return f"{measure.value:.2f}{interval}"
