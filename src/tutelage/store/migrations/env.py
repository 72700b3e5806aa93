"""Runs the migrations on the connection that `tutelage.store.engine` hands over."""

from __future__ import annotations

from alembic import context

from tutelage.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
