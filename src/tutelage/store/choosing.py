"""Which questions were chosen to be asked next: a batch after the other, each question with its probability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tutelage.store.audit import note
from tutelage.store.engine import Database
from tutelage.store.frontier import retreat
from tutelage.store.handout import comparisons_of
from tutelage.store.schema import leases, questions
from tutelage.store.standing import UNCHOSEN
from tutelage.types import Comparison

_BATCH = 1_000_000
"""places in one batch"""


@dataclass(frozen=True)
class Choice:
    """One question of a batch."""

    id: str
    probability: float
    """of being in the batch, given the pool"""
    arm: str
    """random or active"""


class Choosing:
    """The pool of a project and the batches that were chosen from it.

    Example:
        >>> Choosing(store.database).put("news", [Choice("q1", 0.2, "random")], actor="cli", how={"method": "random"})
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def pool(self, project: str) -> list[Comparison]:
        """Pairs that could be chosen: not chosen before, nobody has judged or holds them."""
        free = ~sa.exists().where(leases.c.question == questions.c.id)
        query = sa.select(questions).where(
            questions.c.project == project,
            questions.c.open.is_(True),
            questions.c.kind == "pair",
            questions.c.given == 0,
            questions.c.place >= UNCHOSEN,
            free,
        )
        with self._database.reading() as connection:
            rows = [dict(row) for row in connection.execute(query.order_by(questions.c.number)).mappings()]
            return comparisons_of(connection, project, rows)

    def put(self, project: str, batch: Sequence[Choice], *, actor: str, how: Mapping[str, Any]) -> int:
        """Hand these out next, in this order, after what was chosen before; the number of the batch, from 0.

        A question's probability becomes that of having been asked for times that of being chosen. What somebody took
        meanwhile stays as it is.
        """
        with self._database.writing() as connection:
            newest = sa.select(sa.func.max(questions.c.place)).where(
                questions.c.project == project, questions.c.place < UNCHOSEN
            )
            last = connection.execute(newest).scalar()
            number = 0 if last is None else int(last // _BATCH) + 1
            for place, choice in enumerate(batch):
                same = (questions.c.id == choice.id, questions.c.place >= UNCHOSEN, questions.c.given == 0)
                told = {"place": float(number * _BATCH + place), "arm": choice.arm}
                chance = questions.c.probability * choice.probability
                connection.execute(sa.update(questions).where(*same).values(**told, probability=chance))
            retreat(connection, project, (float(number * _BATCH), 0))
            after = {"batch": number, "questions": len(batch), **how}
            note(connection, self._database.now(connection), actor, "choose questions", project, after=after)
        return number

    def arms(self, project: str) -> dict[str, str]:
        """question → random or active, for all that were chosen."""
        query = sa.select(questions.c.id, questions.c.arm).where(questions.c.project == project, questions.c.arm != "")
        with self._database.reading() as connection:
            return {row.id: row.arm for row in connection.execute(query)}

    def left(self, project: str) -> tuple[int, int, int]:
        """(chosen questions that still want judgements, pairs in the pool, all that were chosen)."""
        mine = questions.c.project == project
        chosen, open_ = questions.c.place < UNCHOSEN, questions.c.open.is_(True)
        wanted = (
            sa.func.coalesce(sa.func.sum(sa.case((sa.and_(chosen, open_), 1), else_=0)), 0),
            sa.func.coalesce(
                sa.func.sum(sa.case((sa.and_(~chosen, open_, questions.c.kind == "pair"), 1), else_=0)), 0
            ),
            sa.func.coalesce(sa.func.sum(sa.case((chosen, 1), else_=0)), 0),
        )
        with self._database.reading() as connection:
            found = connection.execute(sa.select(*wanted).where(mine)).one()
        return int(found[0]), int(found[1]), int(found[2])
