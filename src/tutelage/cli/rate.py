"""Ratings: simulated raters, labels from elsewhere, export for training, and how far raters can be believed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tutelage.cli._rate_ask import AskConfig, ask
from tutelage.cli._rate_asking import Asking, questions_of
from tutelage.cli._rate_batches import BatchesConfig, batches
from tutelage.cli._rate_export import Copy, Export, check_project, copy, export
from tutelage.cli._rate_invite import Invite, invite
from tutelage.cli._rate_judge import JudgeConfig, judge
from tutelage.cli._rate_project import only_project, tell_if_new
from tutelage.cli._rate_quality import Project, Select, project, select
from tutelage.cli._rate_serve import Serve, serve
from tutelage.cli._rate_stats import COUNTS, show, told_of
from tutelage.cli._ui import UI, counted
from tutelage.config import Resolved
from tutelage.errors import DataError, UsageError
from tutelage.types import Preference, Ranking

if TYPE_CHECKING:
    from tutelage.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Simulate(Asking):
    """Make questions from sampled answers and let simulated raters answer them; goes on where it was stopped."""

    taste: str = "news"
    """hidden taste: `news`, or package.module:function of (prompt's meta, answer) → {"overall": 0 to 1, aspects …}"""
    raters: str = "default"
    """default (ten, three of them bad) or fresh:N (N ordinary ones)"""
    awaited: bool = False
    """answer also what a training run waits for; else that is left to people, whose word the run wants"""


@dataclass(frozen=True, kw_only=True)
class Import:
    """Bring in labels that people made elsewhere, or a whole project that `rate export --kind raw` wrote."""

    db: str
    """database of the ratings; made when it is not there"""
    data: tuple[str, ...]
    """files of preferences, rankings, ratings or raw rows"""
    kind: Literal["auto", "preference", "ranking", "rated", "raw"] = "auto"
    """what the rows are"""
    project: str = "default"
    """questions and judgements that belong together; not given: the only project there is"""
    rater: str = "imported"
    """who judged, where the rows do not say"""
    on_bad: Literal["error", "skip"] = "error"
    """skip leaves bad rows out and counts them"""
    gold: bool = False
    """the labels are known answers: hidden questions that check raters, never exported as training rows"""
    positional: ClassVar[str] = "data"


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Agreement with intervals, one line per rater, and which model the raters like best."""

    db: str
    """database of the ratings"""
    project: str = "default"
    """questions and judgements that belong together; not given: the only project there is"""
    out: str = ""
    """also write everything to this JSON file"""
    rater: str = ""
    """instead: how often this rater (an id) chose as the others and as --taste; reports read it from people.json"""
    taste: str = ""
    """hidden taste to compare --rater with: `news`, or package.module:function"""


def simulate(resolved: Resolved[Simulate], ui: UI) -> int:
    """Let simulated raters judge answers; every step can be repeated without doing anything twice."""
    from tutelage.data.taste import named_taste
    from tutelage.labelers.simulated import Simulated, raters
    from tutelage.store.batches import Batches
    from tutelage.store.store import Store

    config = resolved.config
    taste = named_taste(config.taste)
    labeler = Simulated(raters(config.raters, config.seed), taste, config.seed)
    if config.overlap > len(labeler.raters):
        raise UsageError(
            f"overlap {config.overlap} wants more raters than the {len(labeler.raters)} of '{config.raters}'",
            fix="lower --overlap or name more --raters",
        )
    comparisons = questions_of(config, ui)
    with Store(config.db, create=bool(comparisons)) as store:
        if comparisons:
            tell_if_new(store, config.project, config.db, ui)
        asked = store.ask(comparisons, config.project, config.overlap)
        kept = set[str]() if config.awaited else Batches(store.database).asked_now(config.project)
        waiting = [one for one in store.open_questions(config.project) if one.comparison.id not in kept]
        wanted = sum(one.missing for one in waiting)
        done = 0
        with ui.progress("judging", wanted) as bar:

            def progress(given: int, _: int) -> None:
                nonlocal done
                bar.advance(given - done)
                done = given

            given = labeler.answer(store, waiting, progress)
        counts = store.stats(config.project)
    ui.say(f"{asked} new questions, {given} new judgements by {len(labeler.raters)} simulated raters in {config.db}")
    if kept:
        ui.say(f"left to people, whose word a training run waits for: {len(kept)} questions (--awaited answers them)")
    _show_totals(ui, counts, config.project)
    ui.result({"new_questions": asked, "new_judgements": given, **counts})
    return 0


def import_(resolved: Resolved[Import], ui: UI) -> int:
    """Take judgements that people made elsewhere; what is there already stays as it is."""
    from tutelage.store import transfer
    from tutelage.store.decisions import add_gold
    from tutelage.store.store import Store

    config = resolved.config
    raw = config.kind == "raw" or (config.kind == "auto" and _is_raw(config.data))
    if raw and config.gold:
        raise UsageError("raw rows say themselves which questions are gold", fix="leave --gold out")
    if raw:
        with Store(config.db) as store:
            tell_if_new(store, config.project, config.db, ui)
            asked, given = transfer.load(store, _raw_rows(config.data), config.project)
    else:
        comparisons, judgements, lines = _labels(config)
        for line in lines:
            ui.say(line)
        with Store(config.db) as store:
            tell_if_new(store, config.project, config.db, ui)
            if config.gold:
                asked, given = add_gold(store, comparisons, judgements, config.project)
            else:
                asked = store.ask(comparisons, config.project)
                given = store.answer_many(judgements, rater_kind="imported")
    ui.say(f"{asked} new questions, {given} new judgements in {config.db}, project {config.project}")
    ui.result({"new_questions": asked, "new_judgements": given})
    return 0


def _is_raw(paths: Sequence[str]) -> bool:
    from tutelage.data.formats import rows_of
    from tutelage.data.jsonl import Problems

    first = next(rows_of(Path(paths[0]), Problems()), None) if paths else None
    return first is not None and first.data.get("record") == "raw"


def _raw_rows(paths: Sequence[str]) -> Iterable[dict[str, Any]]:
    from tutelage.data.formats import rows_of
    from tutelage.data.jsonl import Problems

    for path in paths:
        problems = Problems()
        for number, row in enumerate(rows_of(Path(path), problems)):
            if number == 0 and row.data.get("record") != "raw":
                raise DataError("no raw rows", where=row.where, fix="give a file of `rate export --kind raw`")
            yield row.data
        problems.raise_if_any()


def _labels(config: Import) -> tuple[list[Any], list[Any], list[str]]:
    """Questions, judgements and what reading found."""
    from tutelage.data import formats
    from tutelage.store import labels

    kind = formats.detect_kind(config.data) if config.kind == "auto" else config.kind
    if kind == "preference":
        rows = formats.load(config.data, "preference", on_bad=config.on_bad)
        del rows.report.extra["rater"]  # read by `from_preferences`; a Counter does not mind if it is not there
        lines = [*rows.report.lines(), *_weights_left_out(rows)]
        return *labels.from_preferences(rows, config.project, config.rater), lines
    if kind == "ranking":
        ranked = formats.load(config.data, "ranking", on_bad=config.on_bad)
        lines = [*ranked.report.lines(), *_weights_left_out(ranked)]
        return *labels.from_rankings(ranked, config.project, config.rater), lines
    if kind == "rated":
        scored = formats.load(config.data, "rated", on_bad=config.on_bad)
        return *labels.from_ratings(scored, config.project), scored.report.lines()
    raise UsageError(
        f"rows of kind '{kind}' hold no judgements",
        fix="give preference, ranking, rated or raw rows; answers that are still to be judged: tutelage rate ask",
    )


def _weights_left_out(rows: Sequence[Preference] | Sequence[Ranking]) -> list[str]:
    """A judgement is one rater's word and has no weight; how far to believe it is learned when it is exported."""
    count = sum(row.weight != 1 for row in rows)
    told = f"weights left out of {counted(count, 'row')}: each is one judgement; files of `--kind raw` keep everything"
    return [told] if count else []


def stats(resolved: Resolved[Stats], ui: UI) -> int:
    """Show agreement, raters and models in tables; everything as JSON with --json or --out."""
    from tutelage.store.store import Store

    config = resolved.config
    if bool(config.rater) != bool(config.taste):
        raise UsageError("--rater and --taste go together", fix="give both, or neither for everything else")
    with Store(config.db, create=False) as store:
        check_project(store, config.project, config.db)
        if config.rater:
            return _compare(config, store, ui)
        told = told_of(store, config.project)
    counting = [line for line in told["raters"] if line["rater"] not in told["excluded"]]
    totals = {key: told[key] for key in COUNTS} | {"raters": len(counting)}
    _show_totals(ui, totals, config.project)
    show(told, ui)
    if config.out:
        from tutelage.data.jsonl import write

        write(config.out, [told])
    ui.result(told)
    return 0


def _compare(config: Stats, store: Store, ui: UI) -> int:
    """One rater against the others and a hidden taste, on that rater's own pairs."""
    from tutelage.data.jsonl import write
    from tutelage.data.taste import named_taste
    from tutelage.labelers._worth import worth

    found = worth(store, config.project, config.rater, named_taste(config.taste))
    for line in found.lines():
        ui.say(line)
    if config.out:
        write(config.out, [found.as_json()])
    ui.result(found.as_json())
    return 0


def _show_totals(ui: UI, counts: Mapping[str, int], project: str) -> None:
    rows = [{"": key.replace("_", " "), "number": count} for key, count in counts.items()]
    ui.table(rows, f"project {project}")


VERBS = {
    "serve": (Serve, serve),
    "invite": (Invite, only_project(invite)),
    "ask": (AskConfig, only_project(ask)),
    "simulate": (Simulate, only_project(simulate)),
    "judge": (JudgeConfig, only_project(judge)),
    "import": (Import, only_project(import_)),
    "export": (Export, only_project(export)),
    "copy": (Copy, copy),
    "stats": (Stats, only_project(stats)),
    "batches": (BatchesConfig, batches),
    "project": (Project, only_project(project)),
    "select": (Select, only_project(select)),
}
