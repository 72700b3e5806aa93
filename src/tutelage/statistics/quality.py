"""Is a rater's work good? Hidden gold, repeated questions, speed, side and scale; and what a second look is due for.

Everything takes plain rows, so that the same numbers stand behind the command line, the pages and the tests. A share
comes with its Wilson interval, and a reproach is made only where the whole interval is on the wrong side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tutelage.statistics.intervals import Interval, wilson

Fault = Literal["contradicts", "guesses", "left", "right", "inconsistent", "fast", "fails_gold", "one_number"]
FAULTS: Mapping[Fault, str] = {
    "contradicts": "chooses the opposite of the others: exclude, or read backwards",
    "guesses": "no better than chance",
    "left": "chooses left for being left",
    "right": "chooses right for being right",
    "inconsistent": "does not repeat its own choice",
    "fast": "answers faster than people can read",
    "fails_gold": "fails hidden questions whose answer is known",
    "one_number": "gives nearly the same score to everything",
}
_LEAST = 20
"""Fewer answers reproach nobody."""
_FAIR, _STEADY = 0.75, 0.8
"""Who may still agree with the others, or with their own first answer, this often is not reproached."""


@dataclass(frozen=True, kw_only=True)
class RaterEvidence:
    """What was seen of one rater; empty = never asked."""

    with_others: Sequence[bool] = ()
    """each choice: did the others, by their weight, say the same?"""
    left: Sequence[bool] = ()
    """each choice: was it the left one?"""
    again: Sequence[bool] = ()
    """each repeated question: the same choice as before?"""
    gold: Sequence[bool] = ()
    """each hidden gold question: right?"""
    seconds: Sequence[float] = ()
    """of each answer"""
    letters: Sequence[int] = ()
    """characters that there were to read for each answer, in the order of `seconds`"""
    scores: Sequence[float] = ()
    """all scores given, 0 to 1"""


@dataclass(frozen=True)
class RaterQuality:
    """One rater in numbers, each None where nothing was asked, and the faults that are proven."""

    agrees: Interval | None
    left: Interval | None
    consistent: Interval | None
    gold: Interval | None
    median_seconds: float | None
    letters_per_second: float | None
    """the median; people read 15 to 40 letters of English a second, a third of that in Chinese"""
    score_mean: float | None
    score_deviation: float | None
    faults: tuple[Fault, ...]


def quality(seen: RaterEvidence, *, fastest: float = 150.0, pass_gold: float = 0.7) -> RaterQuality:
    """The report on one rater.

    Args:
        fastest: letters a second above which nobody has read, at the median.
        pass_gold: share of hidden gold questions that must be right.
    """
    agrees, left, again, gold = (_share(each) for each in (seen.with_others, seen.left, seen.again, seen.gold))
    timed = [(letters, took) for letters, took in zip(seen.letters, seen.seconds, strict=False) if took > 0]
    speed = float(np.median([letters / took for letters, took in timed])) if timed else None
    deviation = float(np.std(seen.scores)) if len(seen.scores) > 1 else None
    proven: dict[Fault, bool] = {
        "contradicts": len(seen.with_others) >= _LEAST and agrees is not None and agrees.high < 0.5,
        "guesses": len(seen.with_others) >= _LEAST and agrees is not None and agrees.low <= 0.5 <= agrees.high < _FAIR,
        "left": len(seen.left) >= _LEAST and left is not None and left.low > 0.6,
        "right": len(seen.left) >= _LEAST and left is not None and left.high < 0.4,
        "inconsistent": len(seen.again) >= _LEAST // 2 and again is not None and again.high < _STEADY,
        "fast": len(timed) >= _LEAST and speed is not None and speed > fastest,
        "fails_gold": len(seen.gold) >= 5 and gold is not None and gold.high < pass_gold,
        "one_number": len(seen.scores) >= _LEAST and deviation is not None and deviation < 0.05,
    }
    return RaterQuality(
        agrees=agrees,
        left=left,
        consistent=again,
        gold=gold,
        median_seconds=float(np.median(seen.seconds)) if len(seen.seconds) else None,
        letters_per_second=speed,
        score_mean=float(np.mean(seen.scores)) if len(seen.scores) else None,
        score_deviation=deviation,
        faults=tuple(fault for fault, found in proven.items() if found),
    )


def _share(values: Sequence[bool]) -> Interval | None:
    return wilson(sum(values), len(values))


@dataclass(frozen=True)
class Doubt:
    """An item that people should look at again."""

    item: str
    certainty: float
    """probability of the likelier answer, 0.5 to 1"""
    votes: int
    reason: Literal["split", "skipped", "flagged"]


def to_adjudicate(
    first: Mapping[str, float],
    votes: Mapping[str, int],
    *,
    skips: Mapping[str, int] | None = None,
    flags: Mapping[str, int] | None = None,
    below: float = 0.75,
    most_skips: int = 3,
) -> list[Doubt]:
    """Items in doubt, the most doubtful first: flagged, skipped by many, or two votes and more that do not settle it.

    Args:
        first: item → P(the first answer is better), of `raters.believe_raters`.
        votes: item → how many votes.
        below: certainty under which votes have not settled it.
    """
    skipped, flagged = skips or {}, flags or {}
    found: list[Doubt] = []
    for item in sorted({*first, *skipped, *flagged}):
        certainty, count = max(first.get(item, 0.5), 1 - first.get(item, 0.5)), votes.get(item, 0)
        if flagged.get(item, 0):
            found.append(Doubt(item, certainty, count, "flagged"))
        elif skipped.get(item, 0) >= most_skips:
            found.append(Doubt(item, certainty, count, "skipped"))
        elif count > 1 and certainty < below:
            found.append(Doubt(item, certainty, count, "split"))
    return sorted(found, key=lambda doubt: (doubt.reason == "split", doubt.certainty, doubt.item))
