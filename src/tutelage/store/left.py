"""What is left for one rater: questions of a project that are still asked and that they neither judged nor skipped."""

from __future__ import annotations

import sqlalchemy as sa

from tutelage.store._live import asked_too_late
from tutelage.store.engine import Database
from tutelage.store.schema import judgements, questions, skips
from tutelage.store.skipping import standing_skips
from tutelage.store.standing import standing_on


def left(database: Database, rater: str, project: str = "default") -> int:
    """How many open questions still want the judgement of `rater`; what they or others hold at the moment is counted,
    what only batches asked that are closed is not.

    0 therefore says that whatever was put before `rater` was answered, and that the answers are durable.
    """
    judged = sa.exists().where(*standing_on(questions.c.id), judgements.c.rater == rater)
    skipped = sa.exists().where(skips.c.question == questions.c.id, skips.c.rater == rater, *standing_skips())
    skipped = skipped.where(skips.c.purpose != "repeat")
    query = sa.select(sa.func.count()).select_from(questions)
    query = query.where(questions.c.project == project, questions.c.open.is_(True), ~judged, ~skipped)
    query = query.where(~asked_too_late(questions.c.id))
    with database.reading() as connection:
        return connection.execute(query).scalar_one()
