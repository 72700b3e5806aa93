"""Which question comes next for a rater, and the lease on it, which others respect until it runs out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from tutelage.store._live import asked_now, asked_too_late, awaited
from tutelage.store.frontier import advance, after, begins
from tutelage.store.rows import chunks, prompt_of, sample_of
from tutelage.store.schema import judgements, leases, prompts, questions, samples, skips, tasks
from tutelage.store.skipping import standing_skips
from tutelage.store.standing import is_left_out, standing_on
from tutelage.types import Comparison, Prompt, QuestionKind, Sample

Row = dict[str, Any]


def lease(
    connection: sa.Connection,
    rater: str,
    project: str,
    count: int,
    now: float,
    seconds: float,
    kinds: Sequence[QuestionKind] = (),
) -> list[Row]:
    """Up to `count` rows of questions that `rater` now holds: those it held already first, then the next in order.

    What a training run waits for comes before the rest, then what was chosen (`place`), then the order asked.
    Leases of others count as judgements until they run out; what this rater has judged or skipped never comes again.
    """
    found = held(connection, rater, project, count, now, kinds)
    found += fresh(connection, rater, project, count - len(found), kinds)
    for row in found:
        hold(connection, row["id"], rater, now + seconds, row.get("task_purpose", ""))
    return found


def held(
    connection: sa.Connection, rater: str, project: str, count: int, now: float, kinds: Sequence[QuestionKind] = ()
) -> list[Row]:
    """What `rater` holds, in the order in which it was handed out, each with its `task_purpose`."""
    connection.execute(sa.delete(leases).where(leases.c.expires <= now))
    names = list(connection.execute(sa.select(leases.c.question).where(leases.c.rater == rater)).scalars())
    if not names:
        return []
    mine = (leases.c.rater == rater, questions.c.id.in_(names), questions.c.project == project)
    given = (tasks.c.question == leases.c.question, tasks.c.rater == rater, tasks.c.purpose == leases.c.purpose)
    judged = sa.exists().where(
        *standing_on(questions.c.id, None), judgements.c.rater == rater, judgements.c.purpose == leases.c.purpose
    )
    wanted = (leases.c.purpose != "") | (questions.c.given + _others(rater) < questions.c.overlap)
    query = (
        sa.select(questions, leases.c.purpose.label("task_purpose"))
        .join(leases, leases.c.question == questions.c.id)
        .outerjoin(tasks, sa.and_(*given))
        .where(*mine, ~judged, ~_skipped(rater, leases.c.purpose), wanted, ~asked_too_late(questions.c.id))
        .order_by(tasks.c.number, questions.c.number)
        .limit(count)
    )
    query = query.where(questions.c.kind.in_(kinds)) if kinds else query
    return [dict(row) for row in connection.execute(query).mappings()]


def fresh(
    connection: sa.Connection,
    rater: str,
    project: str,
    count: int,
    kinds: Sequence[QuestionKind] = (),
    *,
    chosen_only: bool = False,
) -> list[Row]:
    """The next questions to learn from that `rater` has neither judged, skipped nor holds.

    Args:
        chosen_only: leave out pairs that no selection has chosen; what a run waits for comes all the same.
    """
    holds = sa.exists().where(leases.c.question == questions.c.id, leases.c.rater == rater)
    mine = sa.exists().where(*standing_on(questions.c.id), judgements.c.rater == rater)
    done = mine | _skipped(rater, "repeat", other=True) | asked_too_late(questions.c.id)
    query = sa.select(questions).where(questions.c.given + _others(rater) < questions.c.overlap, ~holds, ~done)
    query = query.where(questions.c.kind.in_(kinds)) if kinds else query
    backlog = (questions.c.project == project) & questions.c.open.is_(True) & ~awaited(questions.c.id)
    if chosen_only:
        backlog = backlog & ((questions.c.kind != "pair") | (questions.c.arm != ""))
    start = begins(connection, project, rater)
    parts = [query.where(backlog, part) for part in after(start)]
    if names := asked_now(connection, project):
        wanted = sa.func.coalesce(questions.c.open, sa.false()).is_(True)  # found by id, not among all that is open
        parts.insert(0, query.where(questions.c.id.in_(names), wanted))
    found: list[Row] = []
    for part in parts:
        if len(found) < count:
            ordered = part.order_by(questions.c.place, questions.c.number).limit(count - len(found))
            found += [dict(row) for row in connection.execute(ordered).mappings()]
    advance(connection, project, rater, start, done)
    return found


def hold(connection: sa.Connection, question: str, rater: str, expires: float, purpose: str) -> None:
    """Lease a question to `rater` until `expires` (seconds since 1970)."""
    connection.execute(lease_of(question, rater))
    told = {"question": question, "rater": rater, "expires": expires, "purpose": purpose}
    connection.execute(sa.insert(leases).values(told))


def lease_of(question: str | sa.BindParameter[str], rater: str | sa.BindParameter[str]) -> sa.Delete:
    """Takes a lease away."""
    return sa.delete(leases).where(leases.c.question == question, leases.c.rater == rater)


def _others(rater: str) -> sa.ScalarSelect[int]:
    """How many others hold a question to learn from it; what excluded raters hold keeps nobody from it."""
    others = (leases.c.question == questions.c.id, leases.c.rater != rater, leases.c.purpose == "")
    others = (*others, ~is_left_out(questions.c.project, leases.c.rater))
    return sa.select(sa.func.count()).select_from(leases).where(*others).correlate(questions).scalar_subquery()


def _skipped(rater: str, purpose: Any, *, other: bool = False) -> sa.ColumnElement[bool]:
    """Whether the rater has skipped a question when it was given for that purpose (`other`: for any other)."""
    same = skips.c.purpose != purpose if other else skips.c.purpose == purpose
    return sa.exists().where(skips.c.question == questions.c.id, skips.c.rater == rater, same, *standing_skips())


def comparisons_of(connection: sa.Connection, project: str, rows: Sequence[dict[str, Any]]) -> list[Comparison]:
    """Rows of `questions` of one project with their prompts and samples."""
    wanted = sorted({row["prompt"] for row in rows})
    posed: dict[str, Prompt] = {}
    said: dict[str, Sample] = {}
    for part in chunks(wanted):
        query = sa.select(prompts).where(prompts.c.project == project, prompts.c.id.in_(part))
        posed.update((row["id"], prompt_of(row)) for row in connection.execute(query).mappings())
    for part in chunks(sorted({name for row in rows for name in row["candidates"]})):
        query = sa.select(samples).where(samples.c.project == project, samples.c.id.in_(part))
        told = connection.execute(query).mappings()
        said.update((row["id"], sample_of(row, posed[row["prompt"]])) for row in told)
    return [
        Comparison(
            id=row["id"],
            kind=row["kind"],
            prompt=posed[row["prompt"]],
            candidates=tuple(said[name] for name in row["candidates"]),
            aspects=tuple(row["aspects"]),
            scale=(row["scale"][0], row["scale"][1]),
            probability=row["probability"],
        )
        for row in rows
    ]


def origins(connection: sa.Connection, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What a judgement's row says of its question: who wrote the candidates, and how likely it was to be asked.

    Of what was written by several checkpoints alike it names the first: the batches tell which wrote it in each step.
    """
    found: dict[str, dict[str, Any]] = {}
    for part in chunks(ids):
        asked = connection.execute(sa.select(questions).where(questions.c.id.in_(part))).mappings().all()
        wanted: dict[str, set[str]] = {}
        for row in asked:
            wanted.setdefault(row["project"], set()).update(row["candidates"])
        writers: dict[tuple[str, str], tuple[str, str]] = {}
        for project, names in wanted.items():
            for some in chunks(sorted(names)):  # by id: the prompt has no index
                query = sa.select(samples.c.id, samples.c.model, samples.c.checkpoint)
                rows = connection.execute(query.where(samples.c.project == project, samples.c.id.in_(some)))
                writers.update(((project, row.id), (row.model, row.checkpoint)) for row in rows)
        for row in asked:
            told = [writers[row["project"], name] for name in row["candidates"]]
            models, checkpoints = [model for model, _ in told], [checkpoint for _, checkpoint in told]
            known = {"models": models, "checkpoints": checkpoints if any(checkpoints) else []}
            found[row["id"]] = known | {"probability": row["probability"], "extra": False}
    return found
