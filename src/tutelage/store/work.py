"""What a signed-in rater does: take tasks, answer them, take answers back, skip; each step may be sent again safely."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import sqlalchemy as sa

from tutelage.errors import DataError, TutelageError
from tutelage.store.clock import shorten, stamp
from tutelage.store.engine import Database
from tutelage.store.frontier import retreat
from tutelage.store.handout import comparisons_of, held, hold, lease_of, origins
from tutelage.store.hidden import Giver, NotAdmittedError, admitted, note_task, settle_quiz
from tutelage.store.projects import settings_in
from tutelage.store.rows import check_judgement, judgement_of, judgement_row, question_of
from tutelage.store.schema import handouts, judgements, leases, questions, raters, skips, tasks
from tutelage.store.skipping import UNDONE, standing_skips
from tutelage.store.standing import GOLD, is_left_out, settle, standing_on
from tutelage.types import Comparison, Judgement

SkipReason = Literal["unclear", "too_long", "no_knowledge", "unsafe", "other"]
SKIP_REASONS: tuple[SkipReason, ...] = ("unclear", "too_long", "no_knowledge", "unsafe", "other")


class UnknownTaskError(TutelageError, LookupError):
    """This rater was never handed such a task, or has no such judgement; whether others were is not said."""

    exit_code = 66


class ConflictError(TutelageError):
    """The same id was used before for something else."""

    exit_code = 65


@dataclass(frozen=True)
class Task:
    """A question as one rater holds it."""

    id: str
    """Its name towards raters, new each time a rater is given a question: it tells neither which nor why."""
    number: int
    """Of the question."""
    comparison: Comparison
    rubric: int
    """Version of the guidelines that are in force now."""
    lease_seconds: float
    purpose: str = ""
    """"gold", "quiz" and "repeat" check the rater, who is not told; "" is asked to learn from."""


@dataclass(frozen=True)
class Kept:
    """A judgement that is durable."""

    id: str
    extra: bool
    """It came when the question had all the judgements that it wanted."""


class Work:
    """The raters' side of a database.

    Example:
        >>> work = Work(store.database)
        >>> for task in work.take("ann", "news", count=2, lease_seconds=900, rubric=1): ...

    Args:
        secret: of this installation; without it, raters could work out which of their tasks are checks.
    """

    def __init__(self, database: Database, secret: bytes = b"") -> None:
        self._database = database
        self._secret = secret

    def take(self, rater: str, project: str, *, count: int, lease_seconds: float, rubric: int) -> list[Task]:
        """Up to `count` tasks that `rater` holds from now on, the ones it held already first; [] = nothing left now.

        Asking again therefore gives the same tasks and a new lease, also to a second tab or after a restart. The
        project's settings say how many are checks, in which order questions come, and when the budget is spent: what
        was judged and what is held together never pass it.

        Raises:
            NotAdmittedError: the rater did not pass the quiz.
            DataError: nobody may be called `gold`.
        """
        if rater == GOLD:
            raise DataError(f"the rater id {GOLD!r} stands for known answers, not for a person")
        with self._database.writing() as connection:
            now = self._database.now(connection)
            shorten(connection, project, now + lease_seconds)
            rows = held(connection, rater, project, count, now)
            for row in rows:
                hold(connection, row["id"], rater, now + lease_seconds, row["task_purpose"])
            if len(rows) < count:
                told = settings_in(connection, project)
                giver = Giver(connection, rater, project, told, self._secret, now, now + lease_seconds)
                rows += giver.give(count - len(rows))
            return self._handed(connection, rater, project, rows, rubric, now, lease_seconds)

    def refused(self, rater: str, project: str) -> bool:
        """Whether `rater` gets no work because they did not pass the quiz."""
        with self._database.reading() as connection:
            try:
                admitted(connection, rater, project, settings_in(connection, project))
            except NotAdmittedError:
                return True
        return False

    def submit(self, judgement: Judgement, project: str, *, rubric: int | None = None) -> Kept:
        """Keep the answer of `judgement.rater` to the task that `judgement.comparison` numbers; durable on return.

        The same id with the same content gives the same reply; so does the same content under another id (a second
        tab, a double click). Other content is an edit: a newer row that supersedes the older one. An answer after its
        lease has run out is kept like any other.

        Args:
            rubric: version of the guidelines under which the task was shown; None = the newest that it was handed out
                under, which a page that shows it already has not seen.

        Raises:
            UnknownTaskError: the rater was never handed this task, or not under that rubric.
            ConflictError: the id stands for another judgement.
            DataError: this does not answer the question.
        """
        with self._database.writing() as connection:
            row = _task(connection, judgement.rater, project, judgement.comparison, rubric)
            judgement = replace(judgement, comparison=row["id"])
            kept = connection.execute(sa.select(judgements).where(judgements.c.id == judgement.id)).mappings().first()
            if kept is not None:
                same = judgement_of(kept) == judgement and kept["purpose"] == row["task_purpose"]
                if kept["withdrawn"] or not same:
                    raise ConflictError("this id stands for another judgement", fix="make a new id for a new answer")
                return Kept(judgement.id, kept["extra"])
            check_judgement(judgement, question_of(row))
            purpose = row["task_purpose"]
            newest = _newest(connection, row["id"], judgement.rater, purpose)
            if newest is not None and not newest["withdrawn"] and _same_answer(judgement_of(newest), judgement):
                return Kept(newest["id"], newest["extra"])
            others = (*standing_on(row["id"]), judgements.c.rater.not_in([judgement.rater, GOLD]))
            others = (*others, ~is_left_out(project, judgements.c.rater))
            count = connection.execute(sa.select(sa.func.count()).select_from(judgements).where(*others)).scalar_one()
            now, told = self._database.now(connection), origins(connection, [row["id"]])[row["id"]]
            told |= {"extra": not purpose and count >= row["overlap"], "purpose": purpose}
            written = judgement_row(judgement, str(row["rubric"]), stamp(connection, now)) | told
            connection.execute(sa.insert(judgements).values(written))
            connection.execute(lease_of(row["id"], judgement.rater))
            if purpose == "quiz":
                settle_quiz(connection, judgement.rater, project, settings_in(connection, project), now)
            elif not purpose:
                settle(connection, [row["id"]])
            return Kept(judgement.id, told["extra"])

    def undo(
        self, judgement_id: str, new_id: str, rater: str, project: str, *, lease_seconds: float, rubric: int
    ) -> Task:
        """Take a judgement back by a row `new_id` and hold its task again.

        Raises:
            UnknownTaskError: this rater has no such judgement.
            ConflictError: it was superseded or taken back before, or `new_id` stands for something else.
        """
        mine = (judgements.c.id == judgement_id, judgements.c.rater == rater, questions.c.project == project)
        query = sa.select(questions, judgements.c.withdrawn, judgements.c.purpose.label("task_purpose"))
        query = query.join(judgements, judgements.c.question == questions.c.id)
        with self._database.writing() as connection:
            row = connection.execute(query.where(*mine)).mappings().first()
            if row is None or row["withdrawn"]:
                raise UnknownTaskError("you have no such judgement")
            now = self._database.now(connection)
            newest = _newest(connection, row["id"], rater, row["task_purpose"])
            assert newest is not None
            if newest["id"] == judgement_id:
                used = connection.execute(sa.select(judgements.c.id).where(judgements.c.id == new_id)).first()
                if used is not None:
                    raise ConflictError("this id stands for another judgement", fix="make a new id to undo")
                kept = {name: value for name, value in newest.items() if name != "number"}
                taken_back = {"id": new_id, "withdrawn": True, "created": stamp(connection, now)}
                connection.execute(sa.insert(judgements).values(kept | taken_back))
            elif newest["id"] != new_id or not newest["withdrawn"]:
                raise ConflictError("a newer answer stands in its place", fix="undo that one")
            settle(connection, [row["id"]])
            hold(connection, row["id"], rater, now + lease_seconds, row["task_purpose"])
            return self._handed(connection, rater, project, [dict(row)], rubric, now, lease_seconds)[0]

    def skip(self, number: str, skip_id: str, rater: str, project: str, reason: SkipReason, comment: str = "") -> None:
        """Give a task back for good: this rater is not asked again, and others see why.

        Raises:
            UnknownTaskError, ConflictError: as for `submit`.
        """
        with self._database.writing() as connection:
            row = _task(connection, rater, project, number)
            told = {"id": skip_id, "question": row["id"], "rater": rater, "reason": reason, "comment": comment}
            new = told | {"purpose": row["task_purpose"], "created": self._database.now(connection)}
            kept = connection.execute(sa.select(skips).where(skips.c.id == skip_id)).mappings().first()
            if kept is None:
                connection.execute(sa.insert(skips).values(new))
                connection.execute(lease_of(row["id"], rater))
            elif {name: kept[name] for name in told} != told:
                raise ConflictError("this id stands for another skip", fix="make a new id")

    def unskip(self, skip_id: str, new_id: str, rater: str, project: str, *, lease_seconds: float, rubric: int) -> Task:
        """Take a skip back by a row `new_id` and hold its task again.

        Raises:
            UnknownTaskError: this rater has skipped no such task.
            ConflictError: it was taken back before, or `new_id` stands for something else.
        """
        mine = (skips.c.id == skip_id, skips.c.rater == rater, questions.c.project == project)
        query = sa.select(questions, skips.c.purpose.label("task_purpose"))
        query = query.join(skips, skips.c.question == questions.c.id)
        with self._database.writing() as connection:
            row = connection.execute(query.where(*mine, skips.c.reason != UNDONE)).mappings().first()
            if row is None:
                raise UnknownTaskError("you have skipped no such task")
            now = self._database.now(connection)
            given = dict(row)
            theirs = (skips.c.question == row["id"], skips.c.rater == rater, skips.c.purpose == given["task_purpose"])
            query = sa.select(skips).where(*theirs).order_by(skips.c.number.desc())
            newest = connection.execute(query).mappings().first()
            assert newest is not None
            if newest["id"] == skip_id:
                if connection.execute(sa.select(skips.c.id).where(skips.c.id == new_id)).first() is not None:
                    raise ConflictError("this id stands for another skip", fix="make a new id")
                told = {"id": new_id, "question": row["id"], "rater": rater, "reason": UNDONE, "comment": skip_id}
                connection.execute(sa.insert(skips).values(**told, purpose=given["task_purpose"], created=now))
                retreat(connection, project, (row["place"], row["number"]), rater)
            elif newest["id"] != new_id or newest["comment"] != skip_id:
                raise ConflictError("this skip was taken back before, or the task was skipped again")
            hold(connection, row["id"], rater, now + lease_seconds, given["task_purpose"])
            return self._handed(connection, rater, project, [given], rubric, now, lease_seconds)[0]

    def done_since(self, rater: str, project: str, since: float) -> int:
        """How many tasks of a project `rater` has answered since then (seconds since 1970) and not taken back.

        Checks count like all others: a number that stood still would give them away.
        """
        mine = (questions.c.project == project, judgements.c.rater == rater, judgements.c.created >= since)
        query = sa.select(sa.func.count()).select_from(judgements).join(questions, sa.true())
        with self._database.reading() as connection:
            return connection.execute(query.where(*mine, *standing_on(questions.c.id, None))).scalar_one()

    def skipped(self, project: str) -> list[dict[str, Any]]:
        """Every skip of a project that was not taken back, oldest first: question, rater, reason, comment, created.

        Who skips a check says nothing of the question: gold, the quiz and repeats are left out.
        """
        query = sa.select(skips).join(questions, questions.c.id == skips.c.question).where(*standing_skips())
        query = query.where(skips.c.purpose == "")
        query = query.order_by(skips.c.number)
        with self._database.reading() as connection:
            return [dict(row) for row in connection.execute(query.where(questions.c.project == project)).mappings()]

    def held(self, project: str) -> list[dict[str, Any]]:
        """The leases that run now: question, rater, expires."""
        query = sa.select(leases).join(questions, questions.c.id == leases.c.question)
        with self._database.reading() as connection:
            now = self._database.now(connection)
            running = query.where(questions.c.project == project, leases.c.expires > now)
            return [dict(row) for row in connection.execute(running).mappings()]

    def _handed(
        self,
        connection: sa.Connection,
        rater: str,
        project: str,
        rows: Sequence[dict[str, Any]],
        rubric: int,
        now: float,
        lease_seconds: float,
    ) -> list[Task]:
        """Note who is shown what, and give it."""
        self._database.insert_new(connection, raters, [{"id": rater, "kind": "person", "created": now}])
        shown = [{"question": row["id"], "rater": rater, "rubric": rubric, "created": now} for row in rows]
        self._database.insert_new(connection, handouts, shown)
        posed = comparisons_of(connection, project, rows)
        found: list[Task] = []
        for row, comparison in zip(rows, posed, strict=True):
            purpose = row["task_purpose"]
            note_task(connection, row, rater, purpose, now)
            name = _task_id(connection, row["id"], rater, purpose)
            found.append(Task(name, row["number"], comparison, rubric, lease_seconds, purpose))
        return found


def today(now: float | None = None) -> float:
    """When this day began on the server's own clock, in seconds since 1970."""
    here = time.localtime(now)
    return time.mktime((here.tm_year, here.tm_mon, here.tm_mday, 0, 0, 0, 0, 0, -1))


def _task_id(connection: sa.Connection, question: str, rater: str, purpose: str) -> str:
    same = (tasks.c.question == question, tasks.c.rater == rater, tasks.c.purpose == purpose)
    return f"t{connection.execute(sa.select(tasks.c.number).where(*same)).scalar_one()}"


def _task(connection: sa.Connection, rater: str, project: str, name: str, rubric: int | None = None) -> Any:
    """The question of that task with the rubric that `rater` saw; unknown where it was never handed to them.

    Before there were task ids the question's number stood in their place: pages that are still open send it, and it
    means the first time that they were given the question.
    """
    digits = name.removeprefix("t")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 16):
        raise DataError(f"{name[:40]!r} is not the id of a task")
    which = questions.c.number if digits == name else tasks.c.number
    query = (
        sa.select(questions, handouts.c.rubric, tasks.c.purpose.label("task_purpose"))
        .join(handouts, handouts.c.question == questions.c.id)
        .join(tasks, (tasks.c.question == questions.c.id) & (tasks.c.rater == handouts.c.rater))
        .where(which == int(digits), questions.c.project == project, handouts.c.rater == rater)
        .where(sa.true() if rubric is None else handouts.c.rubric == rubric)
        .order_by(tasks.c.number, handouts.c.rubric.desc())
        .limit(1)
    )
    row = connection.execute(query).mappings().first()
    if row is None:
        raise UnknownTaskError("you were not given such a task", fix="ask for the next one")
    return row


def _newest(connection: sa.Connection, question: str, rater: str, purpose: str) -> Any:
    mine = (judgements.c.question == question, judgements.c.rater == rater, judgements.c.purpose == purpose)
    return (
        connection.execute(sa.select(judgements).where(*mine).order_by(judgements.c.number.desc())).mappings().first()
    )


def _same_answer(one: Judgement, two: Judgement) -> bool:
    """They say the same, whenever and however long it took."""
    return replace(one, id="", seconds=0.0) == replace(two, id="", seconds=0.0)
