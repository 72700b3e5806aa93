"""Labels that teach nothing, or the opposite: chosen and rejected swapped, ranks upside down, one label for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from tutelage.errors import DataError
from tutelage.types import Preference, Ranking, Rated, Unpaired

_SCORES = (("score_chosen", "score_rejected"), ("chosen_score", "rejected_score"), ("chosen_rating", "rejected_rating"))
"""Columns that other people's pairs carry (UltraFeedback's first)."""
_LISTS = ("scores", "score", "ratings", "overall_scores")
_FEW = 5
_AGAINST = 0.8
"""share of disagreeing comparisons from which it is no accident"""


def swapped(rows: Sequence[Any]) -> list[str]:
    """Warnings where most labels say the opposite of the scores beside them, or of what all other raters say."""
    said = list[str]()
    against, compared = _tally(_pairs_against_scores(rows))
    if compared >= _FEW and against >= _AGAINST * compared:
        said.append(
            f"in {against} of {compared} pairs the rejected answer has the higher score in the row's own columns: "
            "chosen and rejected look swapped"
        )
    against, compared = _tally(_ranks_against_scores(rows))
    if compared >= _FEW and against >= _AGAINST * compared:
        said.append(
            f"in {against} of {compared} comparisons the better rank has the lower score in the row's own columns: "
            "ranks look upside down (1 is the best; they are ranks, not an order of indices)"
        )
    unlike = [row.where for row in rows if isinstance(row, Ranking) and min(row.ranks) != 1]
    if unlike:
        said.append(f"{len(unlike)} rankings have no rank 1, such as {unlike[0]}: 1 is the best, equal ranks are ties")
    return said + _odd_raters(rows)


def hollow(rows: Sequence[Any]) -> list[str]:
    """Warnings where the labels differ so little that nothing, or only one side of it, can be learned from them."""
    said = [empty] if (empty := barren(rows)) else []
    labels = [row.label for row in rows if isinstance(row, Unpaired)]
    if len(labels) > 1 and len(set(labels)) == 1:
        called = "good" if labels[0] else "bad"
        said.append(f"all {len(labels)} answers are labelled {called}: nothing shows what the opposite would be")
    return said


def barren(rows: Sequence[Any]) -> str | None:
    """Why no method can learn anything from these judgements: none of them weighs and distinguishes; None = one does.

    Rows that are no judgements (prompts, demonstrations, texts) are never barren.
    """
    judged = [row for row in rows if isinstance(row, Preference | Ranking | Rated | Unpaired)]
    if not judged:
        return None
    weighing = [row for row in judged if _weighs(row)]
    rated = [row for row in weighing if isinstance(row, Rated)]
    levels = {(rating.score, rating.scale) for row in rated for rating in row.ratings}
    alike = rated if len(rated) > 1 and len(levels) == 1 else []
    ties = [row for row in weighing if _ties(row)]
    if len(ties) + len(alike) < len(weighing):
        return None
    told = {"have weight 0": len(judged) - len(weighing), "are ties": len(ties)}
    told |= {f"have the score {score:g}": len(alike) for score, _ in levels}
    parts = [(count, what) for what, count in told.items() if count]
    if len(parts) == 1:
        return f"all {len(judged)} rows {parts[0][1]}: nothing is learned from them"
    listed = " and ".join(f"{count} {what}" for count, what in parts)
    return f"of {len(judged)} rows {listed}: nothing is learned from them"


def require_lesson(rows: Sequence[Any], where: str) -> None:
    """
    Raises:
        DataError: nothing at all can be learned from `rows`.
    """
    if reason := barren(rows):
        raise DataError(reason, where=where, fix="`tutelage data check` and `rate stats` say what people answered")


def _weighs(row: Preference | Ranking | Rated | Unpaired) -> bool:
    """Whether it, or anybody who rated, is believed at all."""
    if not isinstance(row, Rated):
        return row.weight > 0
    told = row.meta.get("rater_weights") or {}
    return any(float(told.get(rating.rater, 1.0)) > 0 for rating in row.ratings)


def _ties(row: Preference | Ranking | Rated | Unpaired) -> bool:
    return row.tie if isinstance(row, Preference) else isinstance(row, Ranking) and len(set(row.ranks)) == 1


def _tally(found: Iterator[bool]) -> tuple[int, int]:
    listed = list(found)
    return sum(listed), len(listed)


def _pairs_against_scores(rows: Sequence[Any]) -> Iterator[bool]:
    """Of each pair with unequal scores: whether the rejected answer has the higher one."""
    for row in rows:
        if isinstance(row, Preference):
            for better, worse in _SCORES:
                left, right = _number(row.meta, better), _number(row.meta, worse)
                if left is not None and right is not None and left != right:
                    yield left < right


def _ranks_against_scores(rows: Sequence[Any]) -> Iterator[bool]:
    for row in rows:
        scores = _scores_of(row) if isinstance(row, Ranking) else None
        if scores is None:
            continue
        for one, two in combinations(range(len(scores)), 2):
            if row.ranks[one] != row.ranks[two] and scores[one] != scores[two]:
                yield (row.ranks[one] < row.ranks[two]) == (scores[one] < scores[two])


def _scores_of(row: Ranking) -> list[float] | None:
    for name in _LISTS:
        value = row.meta.get(name)
        if isinstance(value, list | tuple) and len(value) == len(row.ranks):
            numbers = [float(item) for item in value if isinstance(item, int | float)]
            if len(numbers) == len(row.ranks):
                return numbers
    return None


def _number(meta: Mapping[str, Any], name: str) -> float | None:
    value = meta.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _odd_raters(rows: Sequence[Any]) -> list[str]:
    """Raters whose rankings are the reverse of the others' on the same answers: another idea of which end is best."""
    votes: dict[tuple[str, str, str], list[tuple[str, bool]]] = {}
    for row in rows:
        if isinstance(row, Ranking) and row.rater:
            for one, two in combinations(range(len(row.ranks)), 2):
                if row.ranks[one] != row.ranks[two]:
                    left, right = str(row.completions[one]), str(row.completions[two])
                    first = (row.ranks[one] < row.ranks[two]) == (left < right)
                    key = (str(row.prompt), *sorted((left, right)))
                    votes.setdefault((key[0], key[1], key[2]), []).append((row.rater, first))
    against: dict[str, list[bool]] = {}
    for given in votes.values():
        for index, (rater, first) in enumerate(given):
            others = [vote for place, (_, vote) in enumerate(given) if place != index]
            if len(others) > 1 and len(set(others)) == 1:
                against.setdefault(rater, []).append(first != others[0])
    odd = {rater: seen for rater, seen in against.items() if len(seen) >= _FEW and sum(seen) >= _AGAINST * len(seen)}
    return [
        f"rater {rater!r} contradicts what all others agree on in {sum(seen)} of {len(seen)} comparisons: are those "
        "ranks upside down?"
        for rater, seen in odd.items()
    ]
