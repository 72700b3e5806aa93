"""What training asks people while it waits: batches of answers, and which judgements each was settled by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the tables of live reward; nothing that is there changes."""
    op.create_table(
        "batches",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("run", sa.String, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("wanted", sa.Integer, nullable=False),
        sa.Column("late", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("seen", sa.Integer, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("deadline", sa.Float),
        sa.Column("closed", sa.Float),
    )
    op.create_index("batches_by_project", "batches", ["project", "state"])
    op.create_table(
        "batch_items",
        sa.Column("batch", sa.String, primary_key=True),
        sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("question", sa.String),
        sa.Column("used", sa.JSON),
        sa.Column("fallback", sa.Float),
        sa.ForeignKeyConstraint(["batch"], ["batches.id"]),
        sa.ForeignKeyConstraint(["question"], ["questions.id"]),
    )
    op.create_index("batch_items_by_question", "batch_items", ["question"])
