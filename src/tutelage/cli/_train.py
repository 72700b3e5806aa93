"""The training verbs: one per file in `algorithms/`, whose module-level `Config` gives the flags (imports torch when asked)."""

from __future__ import annotations

import importlib
from typing import Any

from tutelage.cli._ui import UI
from tutelage.cli._verbs import Run
from tutelage.config import Resolved
from tutelage.errors import TutelageError


def config_of(name: str) -> type:
    """The `Config` of `algorithms/<name>.py`."""
    module = importlib.import_module(f"tutelage.algorithms.{name.replace('-', '_')}")
    config = vars(module).get("Config")
    if not isinstance(config, type):
        raise TutelageError(f"algorithms/{name}.py has no dataclass named Config")
    return config


def runner(name: str) -> Run:
    """What `tutelage <name>` runs."""

    def run(resolved: Resolved[Any], ui: UI) -> int:
        from tutelage import build

        build.train(name, resolved, dry_run=ui.dry_run, ui=ui)
        return 0

    return run
