"""Which question comes next for a rater, and the lease on it, which others respect until it runs out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from tutelage.store.rows import chunks, prompt_of, sample_of
from tutelage.store.schema import judgements, leases, prompts, questions, samples, skips
from tutelage.store.skipping import standing_skips
from tutelage.types import Comparison, Prompt, QuestionKind, Sample


def lease(
    connection: sa.Connection,
    rater: str,
    project: str,
    count: int,
    now: float,
    seconds: float,
    kinds: Sequence[QuestionKind] = (),
) -> list[dict[str, Any]]:
    """Up to `count` rows of questions that `rater` now holds: those it held already first, then in the order asked.

    Leases of others count as judgements until they run out; what this rater has judged or skipped never comes again.
    """
    connection.execute(sa.delete(leases).where(leases.c.expires <= now))
    held = sa.exists().where(leases.c.question == questions.c.id, leases.c.rater == rater)
    found: list[dict[str, Any]] = []
    for mine in (held, ~held):
        query = _open(rater, project, kinds).where(mine).order_by(questions.c.number).limit(count - len(found))
        if len(found) < count:
            found += [dict(row) for row in connection.execute(query).mappings()]
    for row in found:
        connection.execute(lease_of(row["id"], rater))
        connection.execute(sa.insert(leases).values(question=row["id"], rater=rater, expires=now + seconds))
    return found


def lease_of(question: str | sa.BindParameter[str], rater: str | sa.BindParameter[str]) -> sa.Delete:
    """Takes a lease away."""
    return sa.delete(leases).where(leases.c.question == question, leases.c.rater == rater)


def _open(rater: str, project: str, kinds: Sequence[QuestionKind]) -> sa.Select[Any]:
    """Questions that `rater` has neither judged nor skipped and that judgements and others' leases do not fill."""
    stands = standing_on(questions.c.id)
    mine = sa.exists().where(*stands, judgements.c.rater == rater)
    skipped = sa.exists().where(skips.c.question == questions.c.id, skips.c.rater == rater, *standing_skips())
    done = sa.select(sa.func.count()).select_from(judgements).where(*stands).correlate(questions).scalar_subquery()
    others = (leases.c.question == questions.c.id, leases.c.rater != rater)
    taken = sa.select(sa.func.count()).select_from(leases).where(*others).correlate(questions).scalar_subquery()
    query = sa.select(questions).where(
        questions.c.project == project, done + taken < questions.c.overlap, ~mine, ~skipped
    )
    return query.where(questions.c.kind.in_(kinds)) if kinds else query


def standing_on(question: Any) -> tuple[sa.ColumnElement[bool], ...]:
    """What holds for the judgements that stand on a question: neither superseded nor taken back."""
    newer = judgements.alias("newer")
    superseded = sa.exists().where(
        newer.c.question == judgements.c.question,
        newer.c.rater == judgements.c.rater,
        newer.c.number > judgements.c.number,
    )
    return (judgements.c.question == question, judgements.c.withdrawn.is_(False), ~superseded)


def comparisons_of(connection: sa.Connection, project: str, rows: Sequence[dict[str, Any]]) -> list[Comparison]:
    """Rows of `questions` of one project with their prompts and samples."""
    wanted = sorted({row["prompt"] for row in rows})
    posed: dict[str, Prompt] = {}
    said: dict[str, Sample] = {}
    for part in chunks(wanted):
        query = sa.select(prompts).where(prompts.c.project == project, prompts.c.id.in_(part))
        posed.update((row["id"], prompt_of(row)) for row in connection.execute(query).mappings())
        query = sa.select(samples).where(samples.c.project == project, samples.c.prompt.in_(part))
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
    """What a judgement's row says of its question: who wrote the candidates, and how likely it was to be asked."""
    found: dict[str, dict[str, Any]] = {}
    for part in chunks(ids):
        asked = connection.execute(sa.select(questions).where(questions.c.id.in_(part))).mappings().all()
        same = (samples.c.project == questions.c.project) & (samples.c.prompt == questions.c.prompt)
        query = sa.select(samples.c.project, samples.c.id, samples.c.model).join(questions, same)
        rows = connection.execute(query.where(questions.c.id.in_(part)).distinct())
        models = {(row.project, row.id): row.model for row in rows}
        for row in asked:
            told = [models[row["project"], name] for name in row["candidates"]]
            found[row["id"]] = {"models": told, "probability": row["probability"], "extra": False}
    return found
