"""Which project a rating command is about where nobody says: the only one that the database holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.cli._ui import UI
from tutelage.cli._verb import Run
from tutelage.config import Resolved

if TYPE_CHECKING:
    from tutelage.store.store import Store

NAMELESS = "default"


def only_project(run: Run) -> Run:
    """`run`, told the only project of `--db` where `--project` is not given; it says so when that is not `default`."""

    def told(resolved: Resolved[Any], ui: UI) -> int:
        if resolved.given("project"):
            return run(resolved, ui)
        found = _only(resolved.config.db)
        if found != NAMELESS:
            ui.say(f"project {found}, the only one in {resolved.config.db}")
        return run(replace(resolved, config=replace(resolved.config, project=found)), ui)

    told.__doc__ = run.__doc__
    return told


def _only(db: str) -> str:
    """As `only_of`; `default` where no database is there yet."""
    from tutelage.store.store import Store

    file = Path(db.removeprefix("sqlite:///"))
    if "://" not in str(file) and not file.is_file():
        return NAMELESS
    with Store(db, create=False) as store:
        return only_of(store)


def only_of(store: Store) -> str:
    """The one project there is; `default` where there are none or several."""
    from tutelage.store.projects import Projects

    names = Projects(store.database).names()
    return names[0] if len(names) == 1 else NAMELESS
