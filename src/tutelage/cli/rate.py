"""Ratings: simulated raters, labels from elsewhere, export for training, and how far raters can be believed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tutelage.cli._rate_serve import Invite, Serve, invite, serve
from tutelage.cli._rate_stats import COUNTS, excluded, moment, origin, show, told_of
from tutelage.cli._ui import UI
from tutelage.config import Resolved
from tutelage.errors import DataError, UsageError

if TYPE_CHECKING:
    from tutelage.labelers._consensus import Consensus
    from tutelage.store.store import Store
    from tutelage.types import Comparison, QuestionKind

_KINDS = ("pair", "ranking", "scores")


@dataclass(frozen=True, kw_only=True)
class Simulate:
    """Make questions from sampled answers and let simulated raters answer them; goes on where it was stopped."""

    db: str
    """database of the ratings; made when it is not there"""
    samples: tuple[str, ...] = ()
    """answers as `tutelage sample` writes them; without, the open questions of the project are answered"""
    taste: str = "news"
    """hidden taste: `news`, or package.module:function of (prompt's meta, answer) → {"overall": 0 to 1, aspects …}"""
    raters: str = "default"
    """default (ten, three of them bad) or fresh:N (N ordinary ones)"""
    project: str = "default"
    """questions and judgements that belong together"""
    kinds: tuple[str, ...] = _KINDS
    """kinds of question: pair, ranking, scores"""
    overlap: int = 3
    """raters per question"""
    pairs: int = 2
    """pairs per prompt; 0 = all"""
    ranking_size: int = 4
    """answers in a ranking"""
    scored: int = 0
    """answers per prompt that are scored; 0 = all"""
    aspects: tuple[str, ...] = ("faithful", "concise", "fluent", "safe")
    """what is scored, 0 to 5"""
    seed: int = 0
    """same seed, same judgements"""


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
    """questions and judgements that belong together"""
    rater: str = "imported"
    """who judged, where the rows do not say"""
    on_bad: Literal["error", "skip"] = "error"
    """skip leaves bad rows out and counts them"""
    positional: ClassVar[str] = "data"


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write judgements as training data; ties go to a file of their own beside it, nothing is dropped uncounted."""

    db: str
    """database of the ratings"""
    out: str
    """file to write (.jsonl or .jsonl.gz)"""
    kind: Literal["preference", "ranking", "rated", "unpaired", "raw"] = "preference"
    """what the rows are to be; raw = everything, to be imported again"""
    project: str = "default"
    """questions and judgements that belong together"""
    weights: Literal["reliability", "none"] = "reliability"
    """how far each rater is believed: learned from agreement, or everybody alike"""
    rows: Literal["pair", "question", "judgement"] = "pair"
    """preferences: one row for all that was said about two answers, one for each question, or one for each judgement"""
    sources: tuple[str, ...] = _KINDS
    """kinds of question that preferences are made of: pair, ranking, scores"""
    margin: Literal["strength", "none"] = "strength"
    """margin of a preference: mean strength in thirds, or 0"""
    gap: float = 0.5
    """difference of mean scores (0–5) from which one answer is better"""
    test_fraction: float = 0.0
    """share of the prompts whose rows go to --test-out"""
    test_out: str = ""
    """file for the test rows; by default OUT with .test before its ending"""
    at: str = ""
    """as it was at that time (2026-11-21T10:00:00, UTC unless it names a zone); not for raw, which is all history"""


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Agreement with intervals, one line per rater, and which model the raters like best."""

    db: str
    """database of the ratings"""
    project: str = "default"
    """questions and judgements that belong together"""
    out: str = ""
    """also write everything to this JSON file"""


def simulate(resolved: Resolved[Simulate], ui: UI) -> int:
    """Let simulated raters judge answers; every step can be repeated without doing anything twice."""
    from tutelage.data.taste import named_taste
    from tutelage.labelers.simulated import Simulated, raters
    from tutelage.store.store import Store

    config = resolved.config
    taste = named_taste(config.taste)
    labeler = Simulated(raters(config.raters, config.seed), taste, config.seed)
    if config.overlap > len(labeler.raters):
        raise UsageError(
            f"overlap {config.overlap} wants more raters than the {len(labeler.raters)} of '{config.raters}'",
            fix="lower --overlap or name more --raters",
        )
    comparisons = _questions(config, ui)
    with Store(config.db, create=bool(comparisons)) as store:
        asked = store.ask(comparisons, config.project, config.overlap)
        wanted = sum(open_.missing for open_ in store.open_questions(config.project))
        done = 0
        with ui.progress("judging", wanted) as bar:

            def progress(given: int, _: int) -> None:
                nonlocal done
                bar.advance(given - done)
                done = given

            given = labeler.label(store, config.project, progress)
        counts = store.stats(config.project)
    ui.say(f"{asked} new questions, {given} new judgements by {len(labeler.raters)} simulated raters in {config.db}")
    _show_totals(ui, counts, config.project)
    ui.result({"new_questions": asked, "new_judgements": given, **counts})
    return 0


def _questions(config: Simulate, ui: UI) -> list[Comparison]:
    from tutelage.labelers._pairing import Pairing, questions
    from tutelage.store.answers import read_answers

    pairing = Pairing(
        kinds=_kinds(config.kinds),
        pairs=config.pairs,
        ranking_size=config.ranking_size,
        scored=config.scored,
        aspects=config.aspects,
        seed=config.seed,
    )
    if not config.samples:
        return []
    made = questions(read_answers(config.samples), config.project, pairing)
    for reason, count in made.notes.items():
        ui.say(f"not asked about: {count} {reason}")
    if not made.comparisons:
        raise DataError("no question can be asked about these answers", where=", ".join(config.samples))
    return made.comparisons


def import_(resolved: Resolved[Import], ui: UI) -> int:
    """Take judgements that people made elsewhere; what is there already stays as it is."""
    from tutelage.store import transfer
    from tutelage.store.store import Store

    config = resolved.config
    raw = config.kind == "raw" or (config.kind == "auto" and _is_raw(config.data))
    if raw:
        with Store(config.db) as store:
            asked, given = transfer.load(store, _raw_rows(config.data), config.project)
    else:
        comparisons, judgements, lines = _labels(config)
        for line in lines:
            ui.say(line)
        with Store(config.db) as store:
            asked = store.ask(comparisons, config.project)
            given = store.answer_many(judgements, rater_kind="imported")
    ui.say(f"{asked} new questions, {given} new judgements in {config.db}, project {config.project}")
    ui.result({"new_questions": asked, "new_judgements": given})
    return 0


def _is_raw(paths: Sequence[str]) -> bool:
    from tutelage.data.jsonl import read

    first = next(iter(read(paths[0]))) if paths and ".json" in Path(paths[0]).name else None
    return first is not None and {"question", "judgements"} <= first.data.keys()


def _raw_rows(paths: Sequence[str]) -> Iterable[dict[str, Any]]:
    from tutelage.data.jsonl import read

    needed = {"question", "kind", "prompt", "candidates", "aspects", "scale", "probability", "overlap", "judgements"}
    for path in paths:
        for row in read(path):
            if not needed <= row.data.keys():
                missing = ", ".join(sorted(needed - row.data.keys()))
                raise DataError(
                    f"a raw row lacks {missing}", where=row.where, fix="give a file of `rate export --kind raw`"
                )
            yield row.data


def _labels(config: Import) -> tuple[list[Any], list[Any], list[str]]:
    """Questions, judgements and what reading found."""
    from tutelage.data import formats
    from tutelage.store import labels

    kind = formats.detect_kind(config.data) if config.kind == "auto" else config.kind
    if kind == "preference":
        rows = formats.load(config.data, "preference", on_bad=config.on_bad)
        del rows.report.extra["rater"]  # read by `from_preferences`; a Counter does not mind if it is not there
        return *labels.from_preferences(rows, config.project, config.rater), rows.report.lines()
    if kind == "ranking":
        ranked = formats.load(config.data, "ranking", on_bad=config.on_bad)
        return *labels.from_rankings(ranked, config.project, config.rater), ranked.report.lines()
    if kind == "rated":
        scored = formats.load(config.data, "rated", on_bad=config.on_bad)
        return *labels.from_ratings(scored, config.project), scored.report.lines()
    raise UsageError(f"rows of kind '{kind}' hold no judgements", fix="give preference, ranking, rated or raw rows")


def export(resolved: Resolved[Export], ui: UI) -> int:
    """Write judgements as data to train on, weighted by how far their raters can be believed."""
    from tutelage.data.jsonl import write
    from tutelage.labelers._consensus import consensus
    from tutelage.store import transfer
    from tutelage.store.export import split_by_prompt
    from tutelage.store.store import Store

    config = resolved.config
    if not 0 <= config.test_fraction < 1:
        raise UsageError(f"test-fraction {config.test_fraction} is not in [0, 1)")
    with Store(config.db, create=False) as store:
        _check_project(store, config.project, config.db)
        if config.kind == "raw":
            count = write(config.out, transfer.dump(store, config.project))
            ui.say(f"{count} questions with all their judgements in {config.out}")
            ui.result({"questions": count, "out": config.out})
            return 0
        at, pool = moment(config.at), config.rows == "pair"
        without = excluded(store, config.project, at)
        found = consensus(store, config.project, config.weights, pool=pool, gap=config.gap, at=at, without=without)
        made = _exported(config, found)
        if not made.rows:
            raise DataError(f"project '{config.project}' holds nothing to export as {config.kind}: {dict(made.counts)}")
        traced = origin(store, config.project, found, config.out, asdict(config), without)
    train, test = split_by_prompt(made.rows, config.test_fraction)
    counts: dict[str, Any] = {**made.counts, "train_rows": write(config.out, train), "out": config.out}
    counts |= {"origin": traced} | ({"excluded_raters": sorted(without)} if without else {})
    ties, test_ties = split_by_prompt(made.ties, config.test_fraction)
    held_out = config.test_out or _beside(config.out, "test")
    parts = {
        "test": (held_out, test),
        "ties": (_beside(config.out, "ties"), ties),
        "test_ties": (_beside(held_out, "ties"), test_ties),
    }
    for name, (path, rows) in parts.items():
        if rows:
            counts |= {f"{name}_rows": write(path, rows), f"{name}_out": str(path)}
    for name, value in counts.items():
        ui.say(f"{name.replace('_', ' ')}: {value}")
    ui.result(counts)
    return 0


def _exported(config: Export, found: Consensus) -> Any:
    from tutelage.store import export as rows

    weights = found.weights
    sources = _kinds(config.sources)
    votes = [vote for vote in found.votes if vote.kind in sources]
    margins = config.margin == "strength"
    makers: dict[str, Callable[[], Any]] = {
        "ranking": lambda: rows.rankings(found.comparisons, found.judgements, weights),
        "rated": lambda: rows.ratings(found.comparisons, found.judgements, weights),
        "unpaired": lambda: rows.unpaired(votes, found.model.first, found.comparisons, found.judgements, weights),
        "preference": lambda: rows.preferences(
            votes, found.model.first, found.model.ties, weighted=config.weights != "none", margins=margins
        ),
    }
    if config.kind == "preference" and config.rows == "judgement":
        return rows.single_preferences(votes, weights, margins=margins)
    return makers[config.kind]()


def stats(resolved: Resolved[Stats], ui: UI) -> int:
    """Show agreement, raters and models in tables; everything as JSON with --json or --out."""
    from tutelage.store.store import Store

    config = resolved.config
    with Store(config.db, create=False) as store:
        _check_project(store, config.project, config.db)
        told = told_of(store, config.project)
    totals = {key: told[key] for key in COUNTS} | {"raters": len(told["raters"])}
    _show_totals(ui, totals, config.project)
    show(told, ui)
    if config.out:
        from tutelage.data.jsonl import write

        write(config.out, [told])
    ui.result(told)
    return 0


def _show_totals(ui: UI, counts: Mapping[str, int], project: str) -> None:
    rows = [{"": key.replace("_", " "), "number": count} for key, count in counts.items()]
    ui.table(rows, f"project {project}")


def _kinds(names: Sequence[str]) -> tuple[QuestionKind, ...]:
    """Names from the command line, which may also stand in one word with commas."""
    chosen = [part.strip() for name in names for part in name.split(",") if part.strip()]
    unknown = [name for name in chosen if name not in _KINDS]
    if unknown or not chosen:
        raise UsageError(f"unknown kinds of question: {unknown or 'none given'}", fix=f"choices: {', '.join(_KINDS)}")
    found: dict[str, QuestionKind] = {"pair": "pair", "ranking": "ranking", "scores": "scores"}
    return tuple(found[name] for name in chosen)


def _check_project(store: Store, project: str, db: str) -> None:
    known = store.projects()
    if project not in known:
        raise DataError(
            f"there is no project '{project}' in the database",
            where=db,
            fix=f"--project {' or '.join(known)}"
            if known
            else "the database is empty: `tutelage rate simulate` or `rate import`",
        )


def _beside(out: str, name: str) -> str:
    """`pairs.jsonl.gz` → `pairs.NAME.jsonl.gz`."""
    path = Path(out)
    stem, _, ending = path.name.partition(".")
    return str(path.with_name(f"{stem}.{name}.{ending}" if ending else f"{stem}.{name}.jsonl"))


VERBS = {
    "serve": (Serve, serve),
    "invite": (Invite, invite),
    "simulate": (Simulate, simulate),
    "import": (Import, import_),
    "export": (Export, export),
    "stats": (Stats, stats),
}
