"""The first tables; on SQLite, triggers keep judgements append-only even against other programs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create everything from blank."""
    _create_questions()
    _create_answers()
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER judgements_refuse_{verb.lower()} BEFORE {verb} ON judgements "
                "BEGIN SELECT RAISE(ABORT, 'judgements are append-only: add a newer one instead'); END"
            )


def _create_questions() -> None:
    op.create_table(
        "prompts",
        sa.Column("project", sa.String, primary_key=True),
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("content", sa.JSON, nullable=False),
        sa.Column("meta", sa.JSON, nullable=False),
    )
    op.create_table(
        "samples",
        sa.Column("project", sa.String, primary_key=True),
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("prompt", sa.String, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("finish", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(["project", "prompt"], ["prompts.project", "prompts.id"]),
    )
    op.create_table(
        "questions",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("prompt", sa.String, nullable=False),
        sa.Column("candidates", sa.JSON, nullable=False),
        sa.Column("aspects", sa.JSON, nullable=False),
        sa.Column("scale", sa.JSON, nullable=False),
        sa.Column("probability", sa.Float, nullable=False),
        sa.Column("overlap", sa.Integer, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.ForeignKeyConstraint(["project", "prompt"], ["prompts.project", "prompts.id"]),
    )
    op.create_index("questions_by_project", "questions", ["project", "number"])


def _create_answers() -> None:
    op.create_table(
        "raters",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
    )
    op.create_table(
        "judgements",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("question", sa.String, nullable=False),
        sa.Column("rater", sa.String, nullable=False),
        sa.Column("ranks", sa.JSON, nullable=False),
        sa.Column("scores", sa.JSON, nullable=False),
        sa.Column("shown", sa.JSON, nullable=False),
        sa.Column("both_bad", sa.Boolean, nullable=False),
        sa.Column("strength", sa.Integer, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("rubric", sa.String, nullable=False),
        sa.Column("withdrawn", sa.Boolean, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.ForeignKeyConstraint(["question"], ["questions.id"]),
        sa.ForeignKeyConstraint(["rater"], ["raters.id"]),
    )
    op.create_index("judgements_by_question", "judgements", ["question", "rater", "number"])
    op.create_table(
        "leases",
        sa.Column("question", sa.String, primary_key=True),
        sa.Column("rater", sa.String, primary_key=True),
        sa.Column("expires", sa.Float, nullable=False),
        sa.ForeignKeyConstraint(["question"], ["questions.id"]),
    )
