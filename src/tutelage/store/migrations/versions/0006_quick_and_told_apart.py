"""Skips of checks told apart from others; and where the next task is looked for, which costs the same however many."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add tables and indexes; a skip belongs to the task that its rater was given last before it."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    op.add_column("skips", sa.Column("purpose", sa.String, nullable=False, server_default=""))
    if sqlite:
        op.execute("DROP TRIGGER skips_refuse_update")
    op.execute(
        "UPDATE skips SET purpose = coalesce((SELECT tasks.purpose FROM tasks "
        "WHERE tasks.question = skips.question AND tasks.rater = skips.rater AND tasks.created <= skips.created "
        "ORDER BY tasks.number DESC LIMIT 1), '')"
    )
    if sqlite:
        op.execute(
            "CREATE TRIGGER skips_refuse_update BEFORE UPDATE ON skips "
            "BEGIN SELECT RAISE(ABORT, 'skips is append-only: add a newer row instead'); END"
        )
    op.create_table(
        "frontiers",
        sa.Column("project", sa.String, primary_key=True),
        sa.Column("rater", sa.String, primary_key=True),
        sa.Column("place", sa.Float, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
    )
    op.create_table(
        "tallies",
        sa.Column("project", sa.String, primary_key=True),
        sa.Column("given", sa.Integer, nullable=False),
    )
    op.execute("INSERT INTO tallies (project, given) SELECT project, sum(given) FROM questions GROUP BY project")
    op.create_index("questions_by_kind", "questions", ["project", "kind"])
    op.create_index("judgements_by_rater", "judgements", ["rater", "created"])
    op.create_index("tasks_of_rater", "tasks", ["project", "rater", "purpose", "number"])
    op.drop_index("tasks_by_rater", "tasks")
