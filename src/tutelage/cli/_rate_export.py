"""`rate export` and `rate copy`: judgements as files to train on, and a database moved to another."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tutelage.cli._rate_stats import called, excluded, moment, names
from tutelage.cli._ui import UI
from tutelage.config import Resolved
from tutelage.errors import DataError, UsageError

if TYPE_CHECKING:
    from tutelage.labelers._export import Export as Made
    from tutelage.store.store import Store
    from tutelage.types import QuestionKind

SOURCES: tuple[QuestionKind, ...] = ("pair", "ranking", "scores", "best")
_ENDING = r"\.(jsonl|json|parquet)(\.gz)?$"
_TRL = {
    "preference": ("prompt", "chosen", "rejected"),
    "per-rater": ("prompt", "chosen", "rejected"),
    "unpaired": ("prompt", "completion", "label"),
    "demonstration": ("prompt", "completion"),
}
"""kind → the columns that TRL reads (its "Dataset formats" page)"""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write judgements as training data, row by row; ties go to a file beside it, nothing is dropped uncounted."""

    db: str
    """database of the ratings: a file or postgresql://…"""
    out: str
    """file to write (.jsonl, .jsonl.gz or .parquet)"""
    kind: Literal["preference", "unpaired", "ranking", "rated", "demonstration", "per-rater", "raw"] = "preference"
    """what the rows are to be; per-rater = a preference for each judgement; raw = everything, to be imported again"""
    project: str = "default"
    """questions and judgements that belong together; not given: the only project there is"""
    weights: Literal["reliability", "none"] = "reliability"
    """how far each rater is believed: learned from agreement, or everybody alike"""
    rows: Literal["pair", "question", "judgement"] = "pair"
    """preferences: one row for all that was said about two answers, one for each question, or one for each judgement"""
    sources: tuple[str, ...] = SOURCES
    """kinds of question that preferences are made of: pair, ranking, scores, best"""
    margin: Literal["strength", "none"] = "strength"
    """margin of a preference: mean strength in thirds, or 0"""
    gap: float = 0.5
    """difference of mean scores (0–5) from which one answer is better"""
    columns: Literal["all", "trl"] = "all"
    """trl: only the columns of TRL's formats, without weight, margin, group and meta"""
    test_fraction: float = 0.0
    """share of the prompts whose rows go to --test-out"""
    test_out: str = ""
    """file for the test rows; by default OUT with .test before its ending"""
    at: str = ""
    """as it was at that time (2026-11-21T10:00:00, UTC unless it names a zone)"""


@dataclass(frozen=True, kw_only=True)
class Copy:
    """Copy a whole database into an empty one, from SQLite to PostgreSQL or back, and compare the two."""

    from_: str
    """database to copy: a file that no server has open, or postgresql://…, copied as it is when the copy begins"""
    to: str
    """empty database to fill: a file or postgresql://…; a file is made when it is not there"""


def export(resolved: Resolved[Export], ui: UI) -> int:
    """Write judgements as data to train on, weighted by how far their raters can be believed."""
    from tutelage.store.store import Store
    from tutelage.store.stream import cut_of

    config = resolved.config
    if not 0 <= config.test_fraction < 1:
        raise UsageError(f"test-fraction {config.test_fraction} is not in [0, 1)")
    if config.columns == "trl" and config.kind not in _TRL:
        raise UsageError(f"TRL has no format for {config.kind} rows", fix=f"--kind {' or '.join(_TRL)}")
    at = moment(config.at)
    with Store(config.db, create=False) as store:
        check_project(store, config.project, config.db)
        cut = cut_of(store.database, at)
        if config.kind == "raw":
            counts: dict[str, Any] = _raw(config, store, cut)
        else:
            reasons = excluded(store, config.project, at)
            made = _made(config, store, cut, reasons)
            counts = _written(config, made) | {"origin": _origin(config, made, reasons)}
            counts |= {"excluded_raters": sorted(reasons)} if reasons else {}
            counts |= {"unheard_raters": unheard} if (unheard := made.unheard()) else {}
            known = names(store)
            for line in made.unheard_lines():
                ui.warn(line)
            for rater, reason in sorted(reasons.items()):
                ui.say(f"left out: {called(rater, known.get(rater, ''))}, {reason or 'no reason given'}")
    for name, value in counts.items():
        if name not in ("excluded_raters", "unheard_raters"):
            ui.say(f"{name.replace('_', ' ')}: {value}")
    ui.result(counts)
    return 0


def _raw(config: Export, store: Store, cut: Any) -> dict[str, Any]:
    from collections import Counter

    from tutelage.data.writing import Writer
    from tutelage.store import transfer

    found = Counter[str]()
    with Writer(config.out) as file:
        for row in transfer.dump(store, config.project, cut):
            found[row["record"]] += 1
            file.add(row)
    return {f"{kind}s": count for kind, count in found.items() if kind != "raw"} | {"out": config.out}


def _made(config: Export, store: Store, cut: Any, without: Mapping[str, str]) -> Made:
    from tutelage.labelers._export import Export as Made
    from tutelage.labelers._export import Wanted

    each = config.kind == "per-rater" or (config.kind == "preference" and config.rows == "judgement")
    wanted = Wanted(
        kind="per-rater" if each else config.kind,
        weights=config.weights,
        pool=config.rows == "pair" and not each,
        sources=kinds(config.sources, SOURCES),
        margins=config.margin == "strength",
        gap=config.gap,
    )
    return Made(store, config.project, wanted, cut, sorted(without))


def _written(config: Export, made: Made) -> dict[str, Any]:
    """Stream the rows into their files; all of them appear, or none."""
    from tutelage.data.writing import Writer
    from tutelage.store.export import held_out

    test = config.test_out or beside(config.out, "test")
    paths = {
        ("rows", False): config.out,
        ("rows", True): test,
        ("ties", False): beside(config.out, "ties"),
        ("ties", True): beside(test, "ties"),
    }
    files: dict[tuple[str, bool], Writer] = {}
    with ExitStack() as opened:
        files["rows", False] = opened.enter_context(Writer(config.out))
        for part, row in _kept(config, made):
            where = (part, bool(config.test_fraction) and held_out(row, config.test_fraction))
            if where not in files:
                files[where] = opened.enter_context(Writer(paths[where]))
            files[where].add(row)
        if not any(part == "rows" and file.rows for (part, _), file in files.items()):
            told = ", ".join(f"{count} {name}" for name, count in made.counts.items())
            raise DataError(
                f"project '{config.project}' holds nothing to export as {config.kind}: {told}",
                fix="another --kind or --project; raw holds whatever is there",
            )
    counts: dict[str, Any] = {**made.counts, "train_rows": files["rows", False].rows, "out": config.out}
    names = {("rows", True): "test", ("ties", False): "ties", ("ties", True): "test_ties"}
    for where, name in names.items():
        if where in files:
            counts |= {f"{name}_rows": files[where].rows, f"{name}_out": str(paths[where])}
    return counts


def _kept(config: Export, made: Made) -> Iterator[tuple[str, dict[str, Any]]]:
    if config.columns == "all":
        yield from made.rows()
        return
    names = _TRL[config.kind]
    yield from ((part, {name: row[name] for name in names}) for part, row in made.rows() if part == "rows")


def _origin(config: Export, made: Made, reasons: Mapping[str, str]) -> str:
    """Write beside an export who is in it and who is not, so that it can be traced and made again; the file's name."""
    from tutelage import __version__
    from tutelage.data.jsonl import write
    from tutelage.labelers._export import origin

    path = Path(config.out)
    name = str(path.with_name(f"{re.sub(_ENDING, '', path.name)}.origin.jsonl"))
    told = {"made": datetime.now(UTC).isoformat(timespec="seconds"), "version": __version__}
    write(name, [told | origin(made, asdict(config), reasons)])
    return name


def copy(resolved: Resolved[Copy], ui: UI) -> int:
    """Copy every table, compare counts and content, and set what numbers the next rows; may be killed and run again."""
    from tutelage.cli._rate_serve import lock_of
    from tutelage.store.copy import copy as copied
    from tutelage.store.engine import Database

    config = resolved.config
    source = Database(config.from_, create=False)
    lock = None
    try:
        lock = lock_of(config.from_, "another --from")  # what raters said after the copy would be in the old file only
        target = Database(config.to)
        try:
            with ui.progress("copying", 1) as bar:
                told = copied(source, target)
                bar.advance(1)
        finally:
            target.close()
    finally:
        source.close()
        if lock is not None:
            lock.release()
    rows = [{"table": name, "rows": count} for name, count in told.rows.items() if count]
    ui.table(rows, "copied, and the same on both sides")
    ui.say(f"content {told.digest[:16]}… on both sides; serve it with: tutelage rate serve --db {_shown(config.to)}")
    ui.result({"rows": told.rows, "digest": told.digest})
    return 0


def _shown(url: str) -> str:
    from sqlalchemy import make_url

    return make_url(url).render_as_string() if "://" in url else url


def kinds(names: tuple[str, ...], known: tuple[QuestionKind, ...]) -> tuple[QuestionKind, ...]:
    """Names from the command line, which may also stand in one word with commas."""
    chosen = [part.strip() for name in names for part in name.split(",") if part.strip()]
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        raise UsageError(f"unknown kinds of question: {unknown or 'none given'}", fix=f"choices: {', '.join(known)}")
    return tuple(kind for name in chosen for kind in known if kind == name)


def check_project(store: Store, project: str, db: str) -> None:
    """
    Raises:
        DataError: there is no such project; the message names those that are there.
    """
    known = store.projects()
    if project not in known:
        raise DataError(
            f"there is no project '{project}' in the database",
            where=db,
            fix=f"--project {' or '.join(known)}"
            if known
            else "the database is empty: `tutelage rate simulate` or `rate import`",
        )


def beside(out: str, name: str) -> str:
    """`pairs.jsonl.gz` → `pairs.NAME.jsonl.gz`."""
    path = Path(out)
    stem, _, ending = path.name.partition(".")
    return str(path.with_name(f"{stem}.{name}.{ending}" if ending else f"{stem}.{name}.jsonl"))
