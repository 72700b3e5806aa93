"""Which project a rating command is about where nobody says, the only one there is; and what is said of a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.cli._ui import UI
from tutelage.cli._verb import Run
from tutelage.config import Resolved, suggest
from tutelage.errors import DataError

if TYPE_CHECKING:
    from tutelage.store.store import Store

NAMELESS = "default"


def only_project(run: Run) -> Run:
    """`run`, told the only project of `--db` where `--project` is not given; it says so when that is not `default`.

    Where there are several and none is named, it refuses: none is guessed, and no further one made by mistake.
    """

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
    """As `sole_of`; `default` where no database is there yet."""
    from tutelage.store.store import Store

    file = Path(db.removeprefix("sqlite:///"))
    if "://" not in str(file) and not file.is_file():
        return NAMELESS
    with Store(db, create=False) as store:
        return sole_of(store, db)


def sole_of(store: Store, db: str) -> str:
    """The one project there is; `default` where there is none yet.

    Raises:
        DataError: there are several; the message names them.
    """
    names = names_of(store)
    if len(names) > 1:
        raise DataError(
            "the database holds several projects, and none was named",
            where=db,
            fix=f"--project {listed(names, ' or ')}",
        )
    return names[0] if names else NAMELESS


def names_of(store: Store) -> list[str]:
    """Every project that has questions or settings, sorted."""
    from tutelage.store.projects import Projects

    return Projects(store.database).names()


def tell_if_new(store: Store, project: str, db: str, ui: UI) -> None:
    """Say, before anything is stored, that a project is new in a database that holds others: it may be mistyped."""
    names = names_of(store)
    if names and project not in names:
        near = suggest(project, names)
        ui.warn(f"project {project} is new in {db}; there is: {listed(names, ', ')}{f' ({near})' if near else ''}")


def listed(names: Sequence[str], between: str) -> str:
    """Names of projects for a message, the first twenty of many."""
    return between.join([*names[:20], *(["…"] if len(names) > 20 else [])])
