"""`tutelage rate judge`: a language model answers open questions, and stands among the raters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from tutelage.cli._rate_asking import Asking, questions_of
from tutelage.cli._rate_project import tell_if_new
from tutelage.cli._ui import UI
from tutelage.config import Resolved
from tutelage.errors import UsageError
from tutelage.judge import RUBRIC, rubric_of


@dataclass(frozen=True, kw_only=True)
class JudgeConfig(Asking):
    """Let a language model answer open questions, or new ones made of sampled answers, as one of the raters."""

    judge: tuple[str, ...]
    """who judges: BASE_URL#MODEL of any service that speaks OpenAI's chat completions, such as
    http://localhost:11434/v1#qwen3:8b; the key comes from TUTELAGE_JUDGE_KEY (api.openai.com: also OPENAI_API_KEY)"""
    rubric: str = ""
    """file that says what a good answer is; without, tutelage's own few sentences"""
    on_disagreement: Literal["tie", "drop"] = "tie"
    """each pair is judged in both orders; where the verdicts differ: a tie, or no judgement at all"""
    name: tuple[str, ...] = ()
    """raters' names, one for each judge; without, judge:MODEL"""
    kinds: tuple[str, ...] = ("pair",)
    """kinds of question made of --samples: pair, ranking, scores"""
    overlap: int = 1
    """judgements per new question; more than there are judges leaves the rest to people"""
    at_once: int = 8
    """requests under way at the same time"""
    timeout: float = 120.0
    """seconds for one request"""
    retries: int = 4
    """further tries of a request that failed"""
    cache: str = ""
    """folder where replies are kept, so that nothing is asked twice; without, DB.judged beside a database file"""

    handles_dry_run: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.overlap < 1 or self.at_once < 1:
            raise UsageError("overlap and at-once are 1 or more")


def judge(resolved: Resolved[JudgeConfig], ui: UI) -> int:
    """Let a language model answer open questions as one of the raters; goes on where it was stopped."""
    from tutelage.labelers.judged import JudgedLabeler, judge_at, named_apart
    from tutelage.store.store import Store

    config = resolved.config
    shared: dict[str, Any] = {
        "timeout": config.timeout,
        "retries": config.retries,
        "at_once": config.at_once,
        "cache": _cache(config),
    }
    shared["rubric"] = rubric_of(config.rubric) if config.rubric else RUBRIC
    judges = [judge_at(address, **shared) for address in config.judge]
    names = named_apart(judges, config.name)
    comparisons = questions_of(config, ui)
    if ui.dry_run:
        ui.say(f"{len(comparisons)} questions would be asked of {', '.join(names)}")
        return 0
    notes = dict[str, int]()
    with Store(config.db, create=bool(comparisons)) as store:
        if comparisons:
            tell_if_new(store, config.project, config.db, ui)
        asked, given = store.ask(comparisons, config.project, config.overlap), 0
        for one, name in zip(judges, names, strict=True):
            labeler = JudgedLabeler(one, name, config.on_disagreement)
            with ui.progress(name, len(store.open_questions(config.project))) as bar:
                done = 0

                def progress(seen: int, _: int) -> None:
                    nonlocal done
                    bar.advance(seen - done)
                    done = seen

                given += labeler.label(store, config.project, progress)
            for note, count in labeler.notes.items():
                notes[f"{name}: {note}"] = count
        counts = store.stats(config.project)
    ui.say(f"{asked} new questions, {given} new judgements by {', '.join(names)} in {config.db}")
    for note, count in notes.items():
        ui.say(f"{note}: {count}")
    ui.result({"new_questions": asked, "new_judgements": given, "notes": notes, **counts})
    return 0


def _cache(config: JudgeConfig) -> Path | None:
    if config.cache:
        return Path(config.cache)
    return None if "://" in config.db else Path(f"{config.db}.judged")
