"""What the rating application needs: accounts, sessions, project settings, rubric versions, skips, an audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ADDED_ONLY = ("handouts", "skips", "settings", "rubrics", "exclusions", "audit")


def upgrade() -> None:
    """Add columns with the values that older rows stand for, and the new tables."""
    for column in (
        sa.Column("edit", sa.Text, nullable=False, server_default=""),
        sa.Column("flags", sa.JSON, nullable=False, server_default="[]"),
        sa.Column("confirmed", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("extra", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("models", sa.JSON, nullable=False, server_default="[]"),
        sa.Column("probability", sa.Float, nullable=False, server_default="1"),
    ):
        op.add_column("judgements", column)
    _create_work()
    _create_projects()
    _create_people()
    if op.get_bind().dialect.name == "sqlite":
        for table in _ADDED_ONLY:
            for verb in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_refuse_{verb.lower()} BEFORE {verb} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, '{table} is append-only: add a newer row instead'); END"
                )


def _create_work() -> None:
    op.create_table(
        "handouts",
        sa.Column("question", sa.String, primary_key=True),
        sa.Column("rater", sa.String, primary_key=True),
        sa.Column("rubric", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.ForeignKeyConstraint(["question"], ["questions.id"]),
    )
    op.create_table(
        "skips",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("question", sa.String, nullable=False),
        sa.Column("rater", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.ForeignKeyConstraint(["question"], ["questions.id"]),
    )
    op.create_index("skips_by_question", "skips", ["question", "rater"])
    op.create_table(
        "exclusions",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("rater", sa.String, nullable=False),
        sa.Column("excluded", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
    )
    op.create_index("exclusions_by_project", "exclusions", ["project", "rater", "number"])


def _create_projects() -> None:
    op.create_table(
        "settings",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("content", sa.JSON, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
    )
    op.create_index("settings_by_project", "settings", ["project", "number"])
    op.create_table(
        "rubrics",
        sa.Column("project", sa.String, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("content", sa.JSON, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("before", sa.JSON),
        sa.Column("after", sa.JSON),
        sa.Column("created", sa.Float, nullable=False),
    )


def _create_people() -> None:
    op.create_table(
        "accounts",
        sa.Column("rater", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("language", sa.String, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.ForeignKeyConstraint(["rater"], ["raters.id"]),
    )
    op.create_table(
        "members",
        sa.Column("project", sa.String, primary_key=True),
        sa.Column("rater", sa.String, primary_key=True),
        sa.Column("created", sa.Float, nullable=False),
        sa.ForeignKeyConstraint(["rater"], ["accounts.rater"]),
    )
    op.create_table(
        "invitations",
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("rater", sa.String, nullable=False),
        sa.Column("language", sa.String, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
        sa.Column("used", sa.Float),
        sa.Column("revoked", sa.Float),
    )
    op.create_table(
        "sessions",
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("rater", sa.String, nullable=False),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
        sa.Column("ended", sa.Float),
        sa.ForeignKeyConstraint(["rater"], ["accounts.rater"]),
    )
    op.create_index("sessions_by_rater", "sessions", ["rater"])
