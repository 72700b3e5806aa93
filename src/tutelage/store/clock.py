"""What a clock that jumps may not do: make a row older than the rows before it, or a lease longer than it was promised.

The order of judgements is that of their numbers and never of times. Times matter where the past is asked for ("the
export of Tuesday"): there a later row must not seem to be earlier.
"""

from __future__ import annotations

import sqlalchemy as sa

from tutelage.store.schema import judgements, leases, questions

BELIEVED = 2 * 86400.0
"""A clock that goes back further than this was wrong before, and is right now."""


def stamp(connection: sa.Connection, now: float) -> float:
    """The time of the next judgement (seconds since 1970): now, or that of the newest one where the clock went back."""
    query = sa.select(judgements.c.created).order_by(judgements.c.number.desc()).limit(1)
    newest = connection.execute(query).scalar()
    return newest if newest is not None and now < newest <= now + BELIEVED else now


def shorten(connection: sa.Connection, project: str, latest: float) -> None:
    """No lease of the project runs beyond `latest`: those that a clock set back has made longer end as new ones do."""
    # each of the few leases is looked up: a list of the project's questions would be read in full
    here = sa.exists().where(questions.c.id == leases.c.question, questions.c.project == project)
    longer = sa.update(leases).where(leases.c.expires > latest, here)
    connection.execute(longer.values(expires=latest))
