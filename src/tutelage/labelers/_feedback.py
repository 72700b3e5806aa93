"""`--data feedback.db`: training rows straight from the rating database, the same ones at every restart of a run.

    feedback.db · feedback.db?project=news · postgresql://host/ratings?project=news&at=2026-11-21T10:00:00&without=bo

What was stored when a run began is written into its folder (`ratings.json`: project, cut, who is left out), so people
may go on rating while it trains, and the same command goes on with the same rows. `lineage.json` repeats it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa

from tutelage.data import formats
from tutelage.data.jsonl import Row
from tutelage.errors import DataError, UsageError
from tutelage.labelers._database import Source, named
from tutelage.labelers._export import Export, Wanted
from tutelage.store.people import People
from tutelage.store.schema import judgements, questions
from tutelage.store.store import Store
from tutelage.store.stream import Cut, cut_of

FILE = "ratings.json"
"""in the run folder: what each database held when the run began"""
_KINDS = ("preference", "unpaired", "ranking", "rated", "demonstration")


@dataclass(frozen=True)
class Frozen:
    """What a run reads, whatever is added later."""

    project: str
    cut: Cut
    excluded: Mapping[str, str] = field(default_factory=dict[str, str])
    """rater → why"""
    newest: str = ""
    """id of the newest judgement under the cut: another database has another one"""


def load(
    text: str, kind: str, *, on_bad: formats.OnBad = "error", ties: bool = False, folder: Path | None = None
) -> formats.Rows[Any]:
    """Rows of one kind as `tutelage rate export` would write them, typed and checked like those of a file.

    Args:
        ties: preferences: pairs that prefer neither too.
        folder: of the run, which keeps what was read; None = read what is there now.

    Raises:
        UsageError: several projects and none is named, or no such kind of rows.
        DataError: no such project, or nothing judged that rows of this kind are made of.
    """
    if kind not in _KINDS:
        raise UsageError(
            f"a rating database holds no rows of kind {kind!r}", where=text, fix=f"it gives {', '.join(_KINDS)}"
        )
    source = named(text)
    with Store(source.url, create=False) as store:
        frozen = freeze(text, folder, store)
        wanted = Wanted(kind, source.weights)
        made = Export(store, frozen.project, wanted, frozen.cut, [*frozen.excluded, *source.without])
        parts: dict[str, list[Row]] = {"rows": [], "ties": []}
        for number, (part, row) in enumerate(made.rows(), start=1):
            parts[part].append(Row(row, f"{source.url} {frozen.project}:row {number}"))
        unheard = made.unheard_lines()
    if not parts["rows"]:
        told = ", ".join(f"{count} {reason}" for reason, count in made.counts.items()) or "no judgement"
        raise DataError(
            f"project {frozen.project!r} holds nothing to train on as {kind} rows: {told}",
            where=source.url,
            fix="let people rate (`tutelage rate serve`), name another project, or train on another kind of rows",
        )
    sources = [parts["rows"], *([parts["ties"]] if ties and parts["ties"] else [])]
    loaded = formats.typed(sources, f"{source.url} ({_told(frozen)})", cast(formats.Kind, kind), on_bad, ties=ties)
    loaded.report.notes += unheard
    if parts["ties"] and not ties:
        loaded.report.notes.append(f"left out {len(parts['ties'])} pairs that are ties")
    return loaded


def freeze(text: str, folder: Path | None, store: Store | None = None) -> Frozen:
    """What a run reads of a database: what its folder says, or else what is there now, which the folder then keeps."""
    kept: dict[str, Any] = {}
    path = folder and folder / FILE
    if path and path.is_file():
        kept = json.loads(path.read_bytes())
    if store is None:
        with Store(named(text).url, create=False) as opened:
            return freeze(text, folder, opened)
    if text in kept:
        told = kept[text]
        frozen = Frozen(told["project"], Cut(**told["cut"]), told["excluded"], told["newest"])
        if _newest(store, frozen.cut) != frozen.newest:
            raise UsageError(
                "this is not the database that the run began with: its newest judgement then is not there",
                where=text,
                fix="give the old database again, or choose another --out",
            )
        return frozen
    source = named(text)
    cut = cut_of(store.database, source.at)
    project = _project(store, source, text)
    excluded = People(store.database, b"").excluded(project, source.at)
    frozen = Frozen(project, cut, excluded, _newest(store, cut))
    if path and folder:
        told = {"project": project, "cut": cut.as_json(), "excluded": dict(excluded), "newest": frozen.newest}
        told |= {"without": list(source.without), "weights": source.weights}
        folder.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".tmp-{FILE}-{os.getpid()}")
        draft.write_text(json.dumps(kept | {text: told}, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        draft.replace(path)
    return frozen


def _project(store: Store, source: Source, text: str) -> str:
    known = store.projects()
    if source.project in known:
        return source.project
    names = ", ".join(known)
    if source.project or not known:
        what = f"there is no project {source.project!r} in it" if known else "the database holds no questions yet"
        raise DataError(what, where=text, fix=f"?project= one of {names}" if known else "`tutelage rate serve`")
    if len(known) > 1:
        raise UsageError(
            f"it holds several projects: {names}", where=text, fix=f"--data '{source.url}?project={known[0]}'"
        )
    return known[0]


def _newest(store: Store, cut: Cut) -> str:
    query = sa.select(judgements.c.id).join(questions, questions.c.id == judgements.c.question)
    newest = query.where(*cut.within(judgements)).order_by(judgements.c.number.desc()).limit(1)
    with store.database.reading() as connection:
        return connection.execute(newest).scalar() or ""


def _told(frozen: Frozen) -> str:
    out = f", without {', '.join(frozen.excluded)}" if frozen.excluded else ""
    return f"project {frozen.project}, up to judgement {frozen.cut.newest['judgements']}{out}"
