"""A database as an older version of tutelage left it, and brought up step by step."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

import tutelage.store


def upgrade(connection: sa.Connection, revision: str) -> None:
    """Bring its tables up to `revision`, from whatever they are at."""
    config = Config()
    config.set_main_option("script_location", str(Path(tutelage.store.__path__[0]) / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
