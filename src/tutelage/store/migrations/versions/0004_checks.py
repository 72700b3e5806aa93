"""Quality control: hidden gold, repeats, the quiz, chosen questions; counts that make the next task quick to find."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_ADDED_ONLY = ("tasks", "admissions")
_STANDING = """
    SELECT count(*) FROM judgements AS told
    WHERE told.question = questions.id AND told.rater <> 'gold' AND NOT told.withdrawn AND NOT EXISTS (
        SELECT 1 FROM judgements AS newer
        WHERE newer.question = told.question AND newer.rater = told.rater AND newer.number > told.number)
"""


def upgrade() -> None:
    """Add columns and tables, count what is there, and make a task of everything that was handed out."""
    for column in (
        sa.Column("purpose", sa.String, nullable=False, server_default=""),
        sa.Column("given", sa.Integer, nullable=False, server_default="0"),
        sa.Column("open", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("place", sa.Float, nullable=False, server_default="1e9"),
        sa.Column("arm", sa.String, nullable=False, server_default=""),
    ):
        op.add_column("questions", column)
    op.create_index("questions_open", "questions", ["project", "open", "place", "number"])
    op.create_index("questions_by_purpose", "questions", ["project", "purpose", "given"])
    op.add_column("judgements", sa.Column("purpose", sa.String, nullable=False, server_default=""))
    op.add_column("leases", sa.Column("purpose", sa.String, nullable=False, server_default=""))
    _create_tasks()
    op.execute(f"UPDATE questions SET given = ({_STANDING})")
    op.execute("UPDATE questions SET open = (given < overlap)")
    op.execute(
        "INSERT INTO tasks (project, question, rater, purpose, created) "
        "SELECT questions.project, handouts.question, handouts.rater, '', min(handouts.created) "
        "FROM handouts JOIN questions ON questions.id = handouts.question "
        "GROUP BY questions.project, handouts.question, handouts.rater ORDER BY 5, 2, 3"
    )
    if op.get_bind().dialect.name == "sqlite":
        for table in _ADDED_ONLY:
            for verb in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_refuse_{verb.lower()} BEFORE {verb} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, '{table} is append-only: add a newer row instead'); END"
                )


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("question", sa.String, nullable=False),
        sa.Column("rater", sa.String, nullable=False),
        sa.Column("purpose", sa.String, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.ForeignKeyConstraint(["question"], ["questions.id"]),
    )
    op.create_index("tasks_by_question", "tasks", ["question", "rater", "purpose"], unique=True)
    op.create_index("tasks_by_rater", "tasks", ["project", "rater", "number"])
    op.create_table(
        "admissions",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("rater", sa.String, nullable=False),
        sa.Column("admitted", sa.Boolean, nullable=False),
        sa.Column("right", sa.Integer, nullable=False),
        sa.Column("asked", sa.Integer, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
    )
    op.create_index("admissions_by_rater", "admissions", ["project", "rater", "number"])
