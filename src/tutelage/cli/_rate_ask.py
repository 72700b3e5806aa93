"""`tutelage rate ask`: questions about sampled answers, for people to judge on the rating pages."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tutelage.cli._rate_asking import Asking, questions_of
from tutelage.cli._rate_project import names_of, tell_if_new
from tutelage.cli._ui import UI
from tutelage.config import Resolved
from tutelage.errors import DataError, UsageError

if TYPE_CHECKING:
    from tutelage.store.store import Store
    from tutelage.types import Comparison, QuestionKind


@dataclass(frozen=True, kw_only=True)
class AskConfig(Asking):
    """Make questions from sampled answers, for people to judge on the rating pages."""

    samples: tuple[str, ...] = ()
    """answers as `tutelage sample` writes them; several to a prompt make a question"""
    overlap: int = 3
    """people who judge each question"""
    limit: int = 0
    """at most so many questions, drawn at random by --seed; 0 = all"""
    where: tuple[str, ...] = ()
    """only about prompts whose `meta` says so: lang=en"""

    handles_dry_run: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.samples:
            raise UsageError(
                "questions are made of answers", fix="--samples ANSWERS.jsonl, as `tutelage sample` writes"
            )
        if self.limit < 0 or self.overlap < 1:
            raise UsageError("limit is 0 or more, overlap 1 or more")
        if any("=" not in rule for rule in self.where):
            raise UsageError(f"--where {' '.join(self.where)} says nothing", fix="NAME=VALUE, such as lang=en")


def ask(resolved: Resolved[AskConfig], ui: UI) -> int:
    """Put questions about sampled answers before people; asking twice changes nothing."""
    from tutelage.store.store import Store

    config = resolved.config
    chosen = _chosen(config, questions_of(config, ui))
    if ui.dry_run:
        ui.say(f"{len(chosen)} questions would be asked in project {config.project}")
        return 0
    with Store(config.db) as store:
        asked = _asked(store, chosen, config, ui)
        counts = store.stats(config.project)
    ui.say(
        f"{asked} new questions in {config.db}, project {config.project}: people judge them by `tutelage rate serve`"
    )
    ui.result({"new_questions": asked, **counts})
    return 0


def _asked(store: Store, chosen: Sequence[Comparison], config: AskConfig, ui: UI) -> int:
    """Ask; how many were new. A project that is made by asking takes its settings from what was asked."""
    from tutelage.store.projects import KINDS, Projects, ProjectSettings

    projects, new = Projects(store.database), config.project not in names_of(store)
    tell_if_new(store, config.project, config.db, ui)
    kinds: tuple[QuestionKind, ...] = tuple(kind for kind in KINDS if any(one.kind == kind for one in chosen))
    told = ProjectSettings(kinds=kinds, overlap=config.overlap) if new else None  # refused before anything is stored
    asked = store.ask(chosen, config.project, config.overlap)
    if told:
        projects.change(config.project, told, actor="cli")
    return asked


def _chosen(config: AskConfig, made: Sequence[Comparison]) -> list[Comparison]:
    """Those that --where and --limit leave, in the order made.

    Raises:
        DataError: --where leaves none.
    """
    rules = [rule.partition("=")[::2] for rule in config.where]
    fitting = [one for one in made if all(str(one.prompt.meta.get(name, "")) == value for name, value in rules)]
    if not fitting:
        raise DataError(f"no prompt has {' and '.join(config.where)} in its meta", where=", ".join(config.samples))
    drawn = sorted(fitting, key=lambda one: _lot(config.seed, one.id))[: config.limit or None]
    kept = {one.id for one in drawn}
    return [one for one in fitting if one.id in kept]


def _lot(seed: int, name: str) -> str:
    return hashlib.blake2b(f"{seed}\x00{name}".encode(), digest_size=16).hexdigest()
