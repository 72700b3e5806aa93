"""Judgements as a classical learner reads them: scored answers, good and bad ones, or pairs of answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import fmean
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tutelage.data.formats import Kind
from tutelage.errors import DataError
from tutelage.rewards._features import Said
from tutelage.types import Preference, Ranking, Rated, Unpaired, plain

Target = Literal["score", "class", "pair"]
_READABLE: tuple[Kind, ...] = ("preference", "ranking", "rated", "unpaired")


@dataclass(frozen=True)
class Examples:
    """N judgements of A answers.

    For `score` and `class`, judgement n is of answer `first[n]`; for `pair`, `first[n]` is at least as good as
    `second[n]`.
    """

    target: Target
    answers: tuple[Said, ...]
    first: NDArray[np.int64]
    """[N], rows of `answers`"""
    second: NDArray[np.int64]
    """[N]; equal to `first` unless the target is `pair`"""
    y: NDArray[np.float64]
    """[N]: score 0..1; class ±1; pair 1 + margin, or 0 for a tie"""
    weight: NDArray[np.float64]
    """[N]"""
    group: NDArray[np.int64]
    """[N]: which prompt; answers to one prompt never stand on both sides of a split"""

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: NDArray[np.int64]) -> Examples:
        """The judgements `rows`, of the same answers."""
        cut = {name: getattr(self, name)[rows] for name in ("first", "second", "y", "weight", "group")}
        return replace(self, **cut)

    @property
    def used(self) -> NDArray[np.int64]:
        """The answers that are judged here."""
        return np.unique(np.concatenate([self.first, self.second]))


def examples(rows: Sequence[Any], target: Target | Literal["auto"] = "auto") -> Examples:
    """From preferences, rankings (pairs, each weighing 1/(K−1)), ratings (mean over raters and aspects) or good/bad.

    Args:
        target: what to learn. `auto` takes the rows as they are; `class` divides scores at their median, `pair`
            compares the scores of answers to one prompt.

    Raises:
        DataError: nothing to learn from, or rows that do not say what is asked for.
    """
    made = _Maker()
    for row in rows:
        made.add(row)
    if made.pairs and made.scores:
        raise DataError("pairs and scores stand in one data set", fix="give rows of one kind")
    wanted = ("pair" if made.pairs else "class" if made.classes else "score") if target == "auto" else target
    if wanted != "pair" and made.pairs:
        raise DataError(
            f"pairs and rankings cannot be read as '{wanted}'", fix="--kind ridge, svm or svm-rbf read them as pairs"
        )
    if wanted == "score" and made.classes:
        raise DataError("good and bad are no scores", fix="--kind ridge, svm or svm-rbf read them as two classes")
    found = made.paired() if wanted == "pair" else made.scored(wanted)
    if not len(found) or (wanted == "class" and len(set(found.y)) < 2):
        raise DataError(f"there is nothing to learn from {len(rows)} rows as '{wanted}': all are alike")
    return found


@dataclass
class _Maker:
    """Collects judgements row by row."""

    answers: dict[Said, int] = field(default_factory=dict[Said, int])
    pairs: list[tuple[int, int, float, float]] = field(default_factory=list[tuple[int, int, float, float]])
    scores: list[tuple[int, float, float]] = field(default_factory=list[tuple[int, float, float]])
    classes: bool = False

    def add(self, row: Preference | Ranking | Rated | Unpaired) -> None:
        """Take in one row."""
        if isinstance(row, Preference):
            y = 0.0 if row.tie else 1.0 + max(0.0, row.margin)
            self._pair(row.prompt, row.chosen, row.rejected, y, row.weight)
        elif isinstance(row, Ranking):
            share = row.weight / (len(row.completions) - 1)
            for one, two in combinations(range(len(row.completions)), 2):
                better, worse = (one, two) if row.ranks[one] <= row.ranks[two] else (two, one)
                y = float(row.ranks[one] != row.ranks[two])
                self._pair(row.prompt, row.completions[better], row.completions[worse], y, share)
        elif isinstance(row, Rated):
            self.scores.append((self._answer(row.prompt, row.completion), *_mean(row)))
        else:
            self.classes = True
            label = 1.0 if row.label else -1.0
            self.scores.append((self._answer(row.prompt, row.completion), label, row.weight))

    def paired(self) -> Examples:
        """Pairs as they are, or from scores within one prompt."""
        pairs = self.pairs or self._from_scores()
        first, second, y, weight = (np.array(column) for column in zip(*pairs, strict=True)) if pairs else [[]] * 4
        return self._examples("pair", first, second, y, weight)

    def scored(self, target: Target) -> Examples:
        """Scores as they are, or divided at their median."""
        first, y, weight = (np.array(column) for column in zip(*self.scores, strict=True)) if self.scores else [[]] * 3
        if target == "class" and not self.classes and len(y):
            y = np.where(np.asarray(y) > np.median(y), 1.0, -1.0)
        return self._examples(target, first, first, y, weight)

    def _examples(self, target: Target, first: Any, second: Any, y: Any, weight: Any) -> Examples:
        prompts = {prompt: number for number, prompt in enumerate(dict.fromkeys(said[0] for said in self.answers))}
        of_answer = np.array([prompts[said[0]] for said in self.answers], dtype=np.int64)
        rows = np.asarray(first, dtype=np.int64)
        keep = np.asarray(weight, dtype=np.float64) > 0
        return Examples(
            target,
            tuple(self.answers),
            rows,
            np.asarray(second, dtype=np.int64),
            np.asarray(y, dtype=np.float64),
            np.asarray(weight, dtype=np.float64),
            of_answer[rows] if len(rows) else rows,
        ).take(np.flatnonzero(keep))

    def _from_scores(self) -> list[tuple[int, int, float, float]]:
        by_prompt: dict[str, list[tuple[int, float, float]]] = {}
        said = list(self.answers)
        for answer, score, weight in self.scores:
            by_prompt.setdefault(said[answer][0], []).append((answer, score, weight))
        found: list[tuple[int, int, float, float]] = []
        for given in by_prompt.values():
            for (one, a, w), (two, b, v) in combinations(given, 2):
                if a != b and one != two:
                    better, worse = (one, two) if a > b else (two, one)
                    found.append((better, worse, 1.0, min(w, v) / (len(given) - 1)))
        return found

    def _pair(self, prompt: Any, better: Any, worse: Any, y: float, weight: float) -> None:
        self.pairs.append((self._answer(prompt, better), self._answer(prompt, worse), y, weight))

    def _answer(self, prompt: Any, text: Any) -> int:
        return self.answers.setdefault((plain(prompt), plain(text)), len(self.answers))


def readable(kind: Kind) -> Kind:
    """`kind`, if judgements of it can be learned from.

    Raises:
        DataError: they cannot.
    """
    if kind not in _READABLE:
        raise DataError(f"rows of kind '{kind}' hold no judgements", fix=f"give {', '.join(_READABLE)} rows")
    return kind


def _mean(row: Rated) -> tuple[float, float]:
    """0..1, the mean over aspects of each rater's score on its scale, then over raters as far as each is believed
    (`rater_weights` in `meta`); and how much that counts: 1, or 0 where nobody is believed.
    """
    given: dict[str, list[float]] = {}
    for rating in row.ratings:
        low, high = rating.scale
        if not high > low:
            raise DataError(f"the scale of '{rating.aspect}' goes from {low:g} to {high:g}", where=row.where)
        given.setdefault(rating.rater, []).append((rating.score - low) / (high - low))
    told = row.meta.get("rater_weights") or {}
    trust = [float(told.get(rater, 1.0)) for rater in given]
    means = [fmean(scores) for scores in given.values()]
    return (fmean(means, trust), 1.0) if sum(trust) > 0 else (fmean(means), 0.0)
