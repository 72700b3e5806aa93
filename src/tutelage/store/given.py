"""What a name that a rater sends stands for: the task they were given, the answer or skip that was theirs, and where.

A rater may work on another project in a second tab; what they did before still goes where they were given it.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from tutelage.store.engine import Database
from tutelage.store.schema import judgements, questions, skips, tasks


@dataclass(frozen=True)
class Given:
    """One task of one rater."""

    project: str
    question: str
    candidates: int
    purpose: str
    """as in `tasks`"""


def given(database: Database, rater: str, name: str) -> Given | None:
    """The task of `rater` called `name` (`t7`, or a question's number on pages of old); None = it is none of theirs."""
    digits = name.removeprefix("t")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 16):
        return None
    which = questions.c.number if digits == name else tasks.c.number
    query = (
        sa.select(questions.c.project, questions.c.id, questions.c.candidates, tasks.c.purpose)
        .join(tasks, tasks.c.question == questions.c.id)
        .where(which == int(digits), tasks.c.rater == rater)
        .order_by(tasks.c.number)
        .limit(1)
    )
    with database.reading() as connection:
        row = connection.execute(query).first()
    return None if row is None else Given(row.project, row.id, len(row.candidates), row.purpose)


def project_of_answer(database: Database, rater: str, judgement: str) -> str | None:
    """Where `rater` gave this answer; None = they gave none of that id."""
    return _project(database, judgements, rater, judgement)


def project_of_skip(database: Database, rater: str, skip: str) -> str | None:
    """Where `rater` skipped by this id; None = they did not."""
    return _project(database, skips, rater, skip)


def _project(database: Database, table: sa.Table, rater: str, name: str) -> str | None:
    query = sa.select(questions.c.project).join(table, table.c.question == questions.c.id)
    with database.reading() as connection:
        return connection.execute(query.where(table.c.id == name, table.c.rater == rater)).scalar()
