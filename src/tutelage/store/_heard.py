"""What live batches read: judgements that stand now, those of given ids, their scores as ratings; who may judge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa

from tutelage.store.rows import chunks, judgement_of, question_of
from tutelage.store.schema import accounts, exclusions, judgements, members, questions
from tutelage.store.standing import GOLD, standing_on
from tutelage.types import Judgement, Rating


def ratings_of(given: Sequence[Judgement], scales: Mapping[str, tuple[float, float]]) -> list[Rating]:
    """The scores in judgements; `scales` tells the scale of each question."""
    return [
        Rating(judgement.rater, aspect, score, scales[judgement.comparison])
        for judgement in given
        for aspect, score in sorted(judgement.scores.items())
    ]


def scales_of(connection: sa.Connection, given: Iterable[Judgement]) -> dict[str, tuple[float, float]]:
    """Question → its scale, for the questions that these answer."""
    found: dict[str, tuple[float, float]] = {}
    for part in chunks(sorted({judgement.comparison for judgement in given})):
        for row in connection.execute(sa.select(questions).where(questions.c.id.in_(part))).mappings():
            found[row["id"]] = question_of(row).scale
    return found


def left_out(connection: sa.Connection, project: str, at: float | None = None) -> set[str]:
    """Raters whose judgements do not count now, or did not at that time."""
    query = sa.select(exclusions).where(exclusions.c.project == project).order_by(exclusions.c.number)
    query = query if at is None else query.where(exclusions.c.created <= at)
    newest = {row.rater: row.excluded for row in connection.execute(query)}
    return {rater for rater, excluded in newest.items() if excluded} | {GOLD}


def let_in(connection: sa.Connection, project: str) -> int:
    """How many people may judge in a project now, and count."""
    query = sa.select(sa.func.count()).select_from(members).join(accounts, accounts.c.rater == members.c.rater)
    mine = (members.c.project == project, members.c.rater.not_in(left_out(connection, project)))
    return connection.execute(query.where(*mine, accounts.c.active.is_(True))).scalar_one()


def standing_of(connection: sa.Connection, ids: Sequence[str], excluded: set[str]) -> dict[str, list[Judgement]]:
    """Question → its judgements that stand, oldest first, without those of raters who are left out."""
    found: dict[str, list[Judgement]] = {}
    for part in chunks(ids):
        stands = standing_on(judgements.c.question)[1:]
        query = sa.select(judgements).where(judgements.c.question.in_(part), *stands)
        for row in connection.execute(query.order_by(judgements.c.number)).mappings():
            if row["rater"] not in excluded:
                found.setdefault(row["question"], []).append(judgement_of(row))
    return found


def standing_now(connection: sa.Connection, ids: Sequence[str], excluded: set[str]) -> dict[str, Judgement]:
    """Id of a judgement → what its rater says of that question now: itself, or the newest edit of it; taken back, and
    where the rater is left out, nothing."""
    once = by_id(connection, ids)
    stand = standing_of(connection, sorted({told.comparison for told in once.values()}), excluded)
    now = {(told.comparison, told.rater): told for given in stand.values() for told in given}
    return {name: now[told.comparison, told.rater] for name, told in once.items()
            if (told.comparison, told.rater) in now}  # fmt: skip


def by_id(connection: sa.Connection, ids: Sequence[str]) -> dict[str, Judgement]:
    """Judgements as they were made, whatever stands in their place now."""
    found: dict[str, Judgement] = {}
    for part in chunks(ids):
        rows = connection.execute(sa.select(judgements).where(judgements.c.id.in_(part))).mappings()
        found.update((row["id"], judgement_of(row)) for row in rows)
    return found
