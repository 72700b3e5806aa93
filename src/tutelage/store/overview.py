"""What an admin sees of a project without reading it all: counts, days, latest judgements, questions by the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import sqlalchemy as sa

from tutelage.errors import MissingInputError
from tutelage.store._heard import left_out
from tutelage.store.engine import Database
from tutelage.store.rows import prompt_of, sample_of
from tutelage.store.schema import judgements, leases, prompts, questions, samples, sessions, skips, tasks
from tutelage.store.skipping import standing_skips
from tutelage.store.standing import GOLD, given_in, is_left_out, standing_on
from tutelage.types import Prompt, Sample

DAY = 86400.0
Show = Literal["all", "open", "disputed", "skipped", "gold"]
SHOWS: tuple[Show, ...] = ("all", "open", "disputed", "skipped", "gold")
Row = dict[str, Any]


@dataclass(frozen=True)
class Counts:
    """How far a project is."""

    questions: int = 0
    wanted: int = 0
    """judgements that all questions together want"""
    given: int = 0
    """of these, what stands; what is beyond an overlap does not count"""
    open_questions: int = 0
    raters: int = 0

    @property
    def share(self) -> int:
        """Per cent that is done; 100 only when all is."""
        return 100 * self.given // self.wanted if self.wanted else 0


@dataclass(frozen=True)
class Asked:
    """One question with all that was ever said about it."""

    row: Row
    prompt: Prompt
    candidates: tuple[Sample, ...]
    history: list[Row]
    """newest first; `stands` says which judgement counts"""
    skips: list[Row]


class Overview:
    """Reads for the admin's pages, each one query or a few.

    Example:
        >>> Overview(store.database).counts("news").share
        42
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def now(self) -> float:
        """Seconds since 1970 by the database's clock."""
        with self._database.reading() as connection:
            return self._database.now(connection)

    def counts(self, project: str) -> Counts:
        """Questions and judgements of a project."""
        told = _per_question(project).subquery()
        given = sa.case((told.c.given < told.c.overlap, told.c.given), else_=told.c.overlap)
        query = sa.select(
            sa.func.count(),
            sa.func.coalesce(sa.func.sum(told.c.overlap), 0),
            sa.func.coalesce(sa.func.sum(given), 0),
            sa.func.coalesce(sa.func.sum(sa.case((told.c.given < told.c.overlap, 1), else_=0)), 0),
        ).select_from(told)
        with self._database.reading() as connection:
            found = connection.execute(query).one()
        return Counts(*(int(value) for value in found), raters=len(self.counting(project)))

    def kinds(self, project: str) -> list[Row]:
        """kind, questions, done (with all the judgements that they want), by kind."""
        told = _per_question(project).subquery()
        done = sa.func.sum(sa.case((told.c.given >= told.c.overlap, 1), else_=0)).label("done")
        query = sa.select(told.c.kind, sa.func.count().label("questions"), done).group_by(told.c.kind)
        with self._database.reading() as connection:
            return [dict(row) for row in connection.execute(query.order_by(told.c.kind)).mappings()]

    def pulse(self, project: str, days: int = 14) -> Row:
        """What goes on: `today` and `raters_today` (since midnight UTC), `held` leases, median `seconds`, `days`.

        `days` holds (start in seconds since 1970, judgements given), oldest first, today last.
        """
        with self._database.reading() as connection:
            now = self._database.now(connection)
            midnight = now - now % DAY
            since = midnight - (days - 1) * DAY
            counting = (*judgements_stand(), ~is_left_out(project, judgements.c.rater))
            recent = _rows(project).where(judgements.c.created >= since, *counting).subquery()
            slot = sa.cast(sa.func.floor((recent.c.created - since) / DAY), sa.Integer).label("slot")
            per_day = sa.select(slot, sa.func.count()).group_by(slot)
            counted = {int(row[0]): int(row[1]) for row in connection.execute(per_day)}
            today = sa.select(sa.func.count(sa.distinct(recent.c.rater))).where(recent.c.created >= midnight)
            held = sa.select(sa.func.count()).select_from(leases).join(questions, questions.c.id == leases.c.question)
            running = held.where(questions.c.project == project, leases.c.expires > now)
            latest = _rows(project).order_by(judgements.c.number.desc()).limit(500).subquery()
            seconds = connection.execute(sa.select(latest.c.seconds)).scalars().all()
            return {
                "today": counted.get(days - 1, 0),
                "raters_today": connection.execute(today).scalar_one(),
                "held": connection.execute(running).scalar_one(),
                "seconds": round(median(seconds), 1) if seconds else None,
                "days": [(since + at * DAY, counted.get(at, 0)) for at in range(days)],
            }

    def latest(self, project: str, limit: int = 20) -> list[Row]:
        """The newest judgement rows with `kind` and the question's `asked` number."""
        query = _rows(project, questions.c.kind, questions.c.number.label("asked"))
        with self._database.reading() as connection:
            newest = query.order_by(judgements.c.number.desc()).limit(limit)
            return [dict(row) for row in connection.execute(newest).mappings()]

    def page(self, project: str, show: Show = "all", *, limit: int = 50, offset: int = 0) -> tuple[int, list[Row]]:
        """How many questions of that sort there are, and some: number, kind, prompt, content, given, overlap, skips."""
        told = _per_question(project, "gold" if show == "gold" else "").subquery()
        query = sa.select(told, prompts.c.content).join(
            prompts, (prompts.c.project == project) & (prompts.c.id == told.c.prompt)
        )
        if show == "open":
            query = query.where(told.c.given < told.c.overlap)
        elif show == "skipped":
            query = query.where(told.c.skips > 0)
        elif show == "disputed":
            query = query.where(told.c.verdicts > 1, told.c.kind.in_(("pair", "ranking", "best")))
        with self._database.reading() as connection:
            total = connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one()
            rows = connection.execute(query.order_by(told.c.number).limit(limit).offset(offset)).mappings()
            return total, [dict(row) for row in rows]

    def question(self, project: str, number: int) -> Asked:
        """One question.

        Raises:
            MissingInputError: this project has no question of that number.
        """
        with self._database.reading() as connection:
            mine = (questions.c.project == project, questions.c.number == number)
            row = connection.execute(sa.select(questions).where(*mine)).mappings().first()
            if row is None:
                raise MissingInputError(f"there is no question {number} in this project")
            posed = (prompts.c.project == project, prompts.c.id == row["prompt"])
            prompt = prompt_of(connection.execute(sa.select(prompts).where(*posed)).mappings().one())
            said = (samples.c.project == project, samples.c.id.in_(row["candidates"]))
            told = {one["id"]: one for one in connection.execute(sa.select(samples).where(*said)).mappings()}
            query = sa.select(judgements).where(judgements.c.question == row["id"])
            history = [dict(one) for one in connection.execute(query.order_by(judgements.c.number.desc())).mappings()]
            query = (
                sa.select(skips).where(skips.c.question == row["id"], *standing_skips()).order_by(skips.c.number.desc())
            )
            skipped = [dict(one) for one in connection.execute(query).mappings()]
        seen: set[tuple[str, str]] = set()
        for one in history:
            who = (one["rater"], one["purpose"])
            one["stands"] = who not in seen and not one["withdrawn"]
            seen.add(who)
        candidates = tuple(sample_of(told[name], prompt) for name in row["candidates"])
        return Asked(dict(row), prompt, candidates, history, skipped)

    def spent(self, project: str) -> tuple[int, int]:
        """(judgements that count against the budget, leases that run now): together never above it."""
        held = sa.select(sa.func.count()).select_from(leases).join(questions, questions.c.id == leases.c.question)
        with self._database.reading() as connection:
            running = (questions.c.project == project, leases.c.purpose == "")
            held = held.where(*running, leases.c.expires > self._database.now(connection))
            return given_in(connection, project), connection.execute(held).scalar_one()

    def by_rater(self, project: str = "") -> dict[str, int]:
        """rater → judgements (as `judgements_stand` says) in a project or in all, for whoever ever gave any there."""
        query = sa.select(judgements.c.rater, sa.func.sum(sa.case((sa.and_(*judgements_stand()), 1), else_=0)))
        query = query.where(judgements.c.rater != GOLD).group_by(judgements.c.rater)
        if project:
            query = query.join(questions, questions.c.id == judgements.c.question).where(questions.c.project == project)
        with self._database.reading() as connection:
            return {row[0]: int(row[1]) for row in connection.execute(query)}

    def counting(self, project: str) -> dict[str, int]:
        """rater → judgements in a project that count, for whoever has any: nobody who is excluded is among them."""
        with self._database.reading() as connection:
            out = left_out(connection, project)
        return {rater: count for rater, count in self.by_rater(project).items() if count and rater not in out}

    def last_seen(self) -> dict[str, float]:
        """rater → when they last signed in, were given a task, answered or skipped (seconds since 1970)."""
        found: dict[str, float] = {}
        with self._database.reading() as connection:
            for table in (sessions, tasks, judgements, skips):
                query = sa.select(table.c.rater, sa.func.max(table.c.created)).group_by(table.c.rater)
                for rater, created in connection.execute(query):
                    found[rater] = max(found.get(rater, 0.0), created)
        return found

    def by_rubric(self, project: str) -> dict[str, int]:
        """version of the guidelines → judgements made under it that count."""
        told = _rows(project).where(*judgements_stand(), ~is_left_out(project, judgements.c.rater)).subquery()
        query = sa.select(told.c.rubric, sa.func.count()).group_by(told.c.rubric)
        with self._database.reading() as connection:
            return {str(row[0]): int(row[1]) for row in connection.execute(query)}

    def on_other_scales(self, project: str, scales: Mapping[str, tuple[float, float]]) -> dict[str, int]:
        """Aspect of `scales` → open questions that ask for it on another scale, which they keep."""
        aspects, asked_on = sa.cast(questions.c.aspects, sa.String), sa.cast(questions.c.scale, sa.String)
        mine = (questions.c.project == project, questions.c.kind == "scores", questions.c.open.is_(True))
        query = sa.select(aspects, asked_on, sa.func.count()).where(*mine).group_by(aspects, asked_on)
        found: dict[str, int] = {}
        with self._database.reading() as connection:
            for names, text, count in connection.execute(query):
                scale = tuple(json.loads(text))
                for name in json.loads(names):
                    if scales.get(name, scale) != scale:
                        found[name] = found.get(name, 0) + count
        return found

    def newest(self) -> tuple[int, int]:
        """Numbers of the newest judgement and skip: while they stay the same, so does what is counted. 0 = none."""
        given, left = sa.select(sa.func.max(judgements.c.number)), sa.select(sa.func.max(skips.c.number))
        with self._database.reading() as connection:
            return connection.execute(given).scalar() or 0, connection.execute(left).scalar() or 0

    def posed(self, ids: Sequence[str]) -> dict[str, Row]:
        """id of a question → its number and the content of its prompt."""
        same = (prompts.c.project == questions.c.project) & (prompts.c.id == questions.c.prompt)
        query = sa.select(questions.c.id, questions.c.number, prompts.c.content).join(prompts, same)
        with self._database.reading() as connection:
            rows = connection.execute(query.where(questions.c.id.in_(ids))).mappings()
            return {row["id"]: {"number": row["number"], "content": row["content"]} for row in rows}


def judgements_stand() -> tuple[sa.ColumnElement[bool], ...]:
    """What holds for the rows that every page, `rate stats` and exports call judgements: neither edited since nor taken
    back, and given to learn from (gold, quiz and repeats check the rater). Who is excluded counts beside that."""
    return standing_on(judgements.c.question)[1:]


def _rows(project: str, *more: Any) -> sa.Select[Any]:
    """All judgement rows of a project, the superseded and withdrawn and the checks too; known answers are none."""
    query = sa.select(judgements, *more).join(questions, questions.c.id == judgements.c.question)
    return query.where(questions.c.project == project, judgements.c.rater != GOLD)


def _per_question(project: str, purpose: str = "") -> sa.Select[Any, Any, Any, Any, Any, Any, Any]:
    """The questions of a project with `given` (judgements that count), `verdicts` (different ones) and `skips`.

    Who is excluded counts for nothing. For gold questions, what was answered to them counts; for the others, no check
    does.
    """
    newest = (
        sa.select(sa.func.max(judgements.c.number))
        .join(questions, questions.c.id == judgements.c.question)
        .where(questions.c.project == project, judgements.c.rater != GOLD)
        .where(judgements.c.purpose.in_(["gold", "quiz"] if purpose else [""]))
        .group_by(judgements.c.question, judgements.c.rater)
    )
    stands = (
        sa.select(
            judgements.c.question,
            sa.func.count().label("given"),
            sa.func.count(sa.distinct(sa.cast(judgements.c.ranks, sa.Text))).label("verdicts"),
        )
        .where(judgements.c.number.in_(newest), judgements.c.withdrawn.is_(False))
        .where(~is_left_out(project, judgements.c.rater))
        .group_by(judgements.c.question)
        .subquery()
    )
    left = sa.select(skips.c.question, sa.func.count().label("skips")).where(*standing_skips())
    left = left.where(skips.c.purpose.in_(["gold", "quiz"] if purpose else [""]))
    left = left.group_by(skips.c.question).subquery()
    return (
        sa.select(
            questions.c.number,
            questions.c.kind,
            questions.c.prompt,
            questions.c.overlap,
            sa.func.coalesce(stands.c.given, 0).label("given"),
            sa.func.coalesce(stands.c.verdicts, 0).label("verdicts"),
            sa.func.coalesce(left.c.skips, 0).label("skips"),
        )
        .outerjoin(stands, stands.c.question == questions.c.id)
        .outerjoin(left, left.c.question == questions.c.id)
        .where(questions.c.project == project, questions.c.purpose == purpose)
    )
