"""Where the search for a rater's next question begins: all that is open before it they have judged or skipped.

A frontier is a place in the order of questions (`place`, then `number`), kept so that finding the next question costs
the same after 20,000 answers as after ten. It says nothing that is not in the truth, and is never too far: whoever
opens a question again, or gives it an earlier place, calls `retreat` (`standing` does so for judgements).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from tutelage.store.schema import frontiers, questions

UNCHOSEN = 1e9
"""`questions.place` of a question that no selection has chosen; no place is behind it"""
Place = tuple[float, int]
"""`questions.place` and `questions.number`"""


def begins(connection: sa.Connection, project: str, rater: str) -> Place | None:
    """Where the search begins; None = with the first question."""
    row = connection.execute(sa.select(frontiers).where(*_of(project, rater))).first()
    return None if row is None else (row.place, row.number)


def after(place: Place | None) -> list[sa.ColumnElement[bool]]:
    """What holds for the questions from there on, the one at the place among them: in parts, each a range of an index,
    the earlier questions first."""
    if place is None:
        return [sa.true()]
    same = (questions.c.place == place[0]) & (questions.c.number >= place[1])
    return [same, questions.c.place > place[0]]


def advance(connection: sa.Connection, project: str, rater: str, before: Place | None, done: Any) -> None:
    """Go on to the first open question that is not `done` (a condition on `questions`), or behind the last of all.

    Args:
        before: where it is.
    """
    mine = (questions.c.project == project, questions.c.open.is_(True), ~done)
    query = sa.select(questions.c.place, questions.c.number).where(*mine)
    query = query.order_by(questions.c.place, questions.c.number).limit(1)
    row = next((row for part in after(before) if (row := connection.execute(query.where(part)).first())), None)
    if row is None:
        newest = connection.execute(sa.select(sa.func.max(questions.c.number))).scalar()
        found = (UNCHOSEN, int(newest or 0) + 1)
    else:
        found = (float(row.place), int(row.number))
    if found == before:
        return
    told = {"place": found[0], "number": found[1]}
    if not connection.execute(sa.update(frontiers).where(*_of(project, rater)).values(**told)).rowcount:
        connection.execute(sa.insert(frontiers).values(project=project, rater=rater, **told))


def retreat(connection: sa.Connection, project: str, place: Place, rater: str | None = None) -> None:
    """Begin no later than at this place; for everybody where no rater is named."""
    here = sa.tuple_(frontiers.c.place, frontiers.c.number) > sa.tuple_(sa.literal(place[0]), sa.literal(place[1]))
    mine = (frontiers.c.project == project, here, *(() if rater is None else (frontiers.c.rater == rater,)))
    connection.execute(sa.update(frontiers).where(*mine).values(place=place[0], number=place[1]))


def forget(connection: sa.Connection, project: str) -> None:
    """Begin at the first question again, for everybody."""
    connection.execute(sa.delete(frontiers).where(frontiers.c.project == project))


def _of(project: str, rater: str) -> tuple[sa.ColumnElement[bool], ...]:
    return frontiers.c.project == project, frontiers.c.rater == rater
