"""Judgements of excluded raters fill no overlap: count anew what questions have where somebody was excluded."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"

_COUNTING = """
    SELECT count(*) FROM judgements AS told
    WHERE told.question = questions.id AND told.rater <> 'gold' AND told.purpose = '' AND NOT told.withdrawn
    AND NOT EXISTS (
        SELECT 1 FROM judgements AS newer
        WHERE newer.question = told.question AND newer.rater = told.rater AND newer.purpose = told.purpose
        AND newer.number > told.number)
    AND NOT EXISTS (
        SELECT 1 FROM exclusions AS word
        WHERE word.project = questions.project AND word.rater = told.rater AND word.excluded AND NOT EXISTS (
            SELECT 1 FROM exclusions AS later
            WHERE later.project = word.project AND later.rater = word.rater AND later.number > word.number))
"""


def upgrade() -> None:
    """Count, and open what wants more."""
    where = "WHERE project IN (SELECT project FROM exclusions)"
    op.execute(f"UPDATE questions SET given = ({_COUNTING}) {where}")
    op.execute(f"UPDATE questions SET open = (given < overlap AND purpose = '') {where}")
