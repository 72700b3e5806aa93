"""Which skips stand: a rater may take one back, by a later row that says so. Skips of checks are told apart."""

from __future__ import annotations

import sqlalchemy as sa

from tutelage.store.schema import skips

UNDONE = "undone"
"""Reason of a row that takes the rater's skip before it back; its comment is the id of that skip."""


def standing_skips() -> tuple[sa.ColumnElement[bool], ...]:
    """What holds for the rows of `skips` that are not taken back."""
    later = skips.alias("later")
    newer = sa.exists().where(
        later.c.question == skips.c.question,
        later.c.rater == skips.c.rater,
        later.c.purpose == skips.c.purpose,
        later.c.number > skips.c.number,
    )
    return (skips.c.reason != UNDONE, ~newer)
