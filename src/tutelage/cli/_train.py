"""The training verbs: one per file in `algorithms/`; the `Config` of its class gives the flags."""

from __future__ import annotations

from typing import Any

from tutelage import registry
from tutelage.cli._ui import UI
from tutelage.cli._verb import Run
from tutelage.config import Resolved


def config_of(name: str) -> type:
    """The settings of `algorithms/<name>.py` (imports it, and so torch)."""
    from tutelage.algorithms._base import Algorithm

    return registry.find("algorithms", name, Algorithm).Config


def runner(name: str) -> Run:
    """What `tutelage <name>` runs."""

    def run(resolved: Resolved[Any], ui: UI) -> int:
        from tutelage import build

        build.train(name, resolved, dry_run=ui.dry_run, ui=ui)
        return 0

    return run
