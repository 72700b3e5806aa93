"""Which weights wrote an answer: on the answer, on every judgement of it, and on the batch that waited for people."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add columns; of rows that are there nothing is known."""
    op.add_column("samples", sa.Column("checkpoint", sa.String, nullable=False, server_default=""))
    op.add_column("judgements", sa.Column("checkpoints", sa.JSON, nullable=False, server_default="[]"))
    op.add_column("batches", sa.Column("checkpoint", sa.String, nullable=False, server_default=""))
