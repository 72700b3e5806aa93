"""What hidden questions say of raters: answers against the known ones, and against their own earlier ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import sqlalchemy as sa

from tutelage.store.engine import Database
from tutelage.store.schema import judgements, questions
from tutelage.store.standing import GOLD, standing_on

Row = Mapping[str, Any]
"""a row of `judgements`"""
_NEAR = 0.2
"""Scores this share of their scale apart, or less, say the same."""


@dataclass(frozen=True)
class Checks:
    """One rater's answers to hidden questions, oldest first."""

    gold: list[bool] = field(default_factory=list[bool])
    """of each gold or quiz question: is it the known answer?"""
    again: list[bool] = field(default_factory=list[bool])
    """of each repeated question: is it the rater's own first answer?"""


def checks(database: Database, project: str) -> dict[str, Checks]:
    """rater → how they did on what they were not told of; raters that were never checked are left out."""
    hidden = judgements.c.purpose != ""
    query = (
        sa.select(judgements, questions.c.scale, questions.c.kind)
        .join(questions, questions.c.id == judgements.c.question)
        .where(questions.c.project == project, hidden, *standing_on(questions.c.id, None))
        .order_by(judgements.c.number)
    )
    found: dict[str, Checks] = {}
    with database.reading() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
        told = known_answers(connection, project)
        first = _first_answers(connection, project)
    for row in rows:
        mine = found.setdefault(row["rater"], Checks())
        if row["purpose"] == "repeat":
            before = first.get((row["question"], row["rater"]))
            if before is not None:
                mine.again.append(agree(before, row))
        elif row["question"] in told:
            mine.gold.append(agree(told[row["question"]], row))
    return found


def agree(one: Row, two: Row) -> bool:
    """Whether two answers to one question say the same.

    A choice: the same side, or both no side; both bad in both or in neither. A ranking: of its pairs that both put in
    an order, more the same way round than not. Best of several: the same one. Scores: each aspect within a fifth of
    its scale.

    Args:
        one: also holds the question's `kind` and `scale`.
    """
    if one["kind"] == "scores":
        low, high = one["scale"]
        near = _NEAR * (high - low) + 1e-9
        return one["scores"].keys() == two["scores"].keys() and all(
            abs(score - two["scores"][aspect]) <= near for aspect, score in one["scores"].items()
        )
    ranks, others = one["ranks"], two["ranks"]
    if one["both_bad"] or two["both_bad"]:
        return one["both_bad"] == two["both_bad"]
    if one["kind"] == "best":
        return [rank == 1 for rank in ranks] == [rank == 1 for rank in others]
    if one["kind"] == "pair":
        return _signs(ranks) == _signs(others)
    same = [sign == other for sign, other in zip(_signs(ranks), _signs(others), strict=True) if sign and other]
    return 2 * sum(same) > len(same)


def known_answers(connection: sa.Connection, project: str) -> dict[str, dict[str, Any]]:
    """question → the judgement row that tells its answer, with the question's `kind` and `scale`."""
    query = (
        sa.select(judgements, questions.c.scale, questions.c.kind)
        .join(questions, questions.c.id == judgements.c.question)
        .where(questions.c.project == project, judgements.c.rater == GOLD, *standing_on(questions.c.id))
    )
    return {row["question"]: dict(row) for row in connection.execute(query).mappings()}


def _first_answers(connection: sa.Connection, project: str) -> dict[tuple[str, str], dict[str, Any]]:
    """(question, rater) → the first answer of those that were asked again."""
    again = judgements.alias("again")
    repeated = sa.exists().where(
        again.c.question == judgements.c.question, again.c.rater == judgements.c.rater, again.c.purpose == "repeat"
    )
    query = (
        sa.select(judgements, questions.c.scale, questions.c.kind)
        .join(questions, questions.c.id == judgements.c.question)
        .where(questions.c.project == project, repeated, *standing_on(questions.c.id))
    )
    return {(row["question"], row["rater"]): dict(row) for row in connection.execute(query).mappings()}


def _signs(ranks: Any) -> list[int]:
    return [(one > two) - (one < two) for one, two in combinations(ranks, 2)]
