"""The database where people and training meet: ask questions, hand them out, take answers, read them back.

ask ──► questions ──► next_question (a lease) ──► answer ──► judgements ──► votes · export
             ▲                                                   │
             └────────── withdraw: open again ◄──────────────────┘   (rows are only ever added)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import sqlalchemy as sa

from tutelage.errors import DataError
from tutelage.store._heard import left_out
from tutelage.store.clock import stamp
from tutelage.store.engine import Database
from tutelage.store.handout import comparisons_of, lease, lease_of, origins
from tutelage.store.rows import (
    Question,
    check_comparison,
    check_judgement,
    chunks,
    judgement_of,
    judgement_row,
    prompt_row,
    question_of,
    question_row,
    sample_row,
)
from tutelage.store.schema import judgements, prompts, questions, raters, samples
from tutelage.store.standing import GOLD, settle
from tutelage.types import Comparison, Judgement, QuestionKind


@dataclass(frozen=True)
class OpenQuestion:
    """A question that still lacks judgements."""

    comparison: Comparison
    missing: int
    """How many."""
    raters: frozenset[str]
    """Who has judged it already."""


class Store:
    """Questions and judgements of any number of projects in one database.

    Example:
        >>> with Store("ratings.db") as store:
        ...     store.ask(comparisons, project="news", overlap=3)
        ...     store.answer(Judgement("id-1", comparisons[0].id, "ann", ranks=(1, 2), shown=(1, 0)))

    Args:
        url: a file, `:memory:` or an SQLAlchemy URL.
        create: make the file when it is not there (False: MissingInputError).
        wait_seconds: how long to wait for another writer before TryAgainError.
    """

    def __init__(self, url: str | Path, *, create: bool = True, wait_seconds: float = 60.0) -> None:
        self._database = Database(url, create=create, wait_seconds=wait_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def database(self) -> Database:
        """For the other rooms of the store, which share its connection: `People`, `Projects`, `Work`."""
        return self._database

    def close(self) -> None:
        """Release the file."""
        self._database.close()

    def ask(
        self,
        comparisons: Iterable[Comparison],
        project: str = "default",
        overlap: int = 1,
        *,
        purpose: Literal["", "gold"] = "",
    ) -> int:
        """Add questions, each wanting `overlap` judgements by different raters; how many were new.

        A question id that is there already is left as it is, so asking twice changes nothing.

        Args:
            purpose: "gold" for questions that only check raters; `GOLD` judges them to tell the answer.

        Raises:
            DataError: a question nobody could answer, or an id that stands for another text already.
        """
        if overlap < 1:
            raise DataError(f"overlap {overlap}: every question wants at least one judgement")
        asked = list(comparisons)
        for comparison in asked:
            check_comparison(comparison)
            _check_letters(comparison, self._database)
        said = {sample.id: sample for comparison in asked for sample in comparison.candidates}
        posed = {comparison.prompt.id: comparison.prompt for comparison in asked}
        with self._database.writing() as connection:
            now = self._database.now(connection)
            _insert_same(
                self._database, connection, prompts, [prompt_row(project, prompt) for prompt in posed.values()]
            )
            _insert_same(self._database, connection, samples, [sample_row(project, sample) for sample in said.values()])
            kind = {"purpose": purpose, "open": not purpose}
            rows = [question_row(project, comparison, overlap, now) | kind for comparison in asked]
            return _insert_same(self._database, connection, questions, rows)

    def add_raters(self, names: Iterable[str], kind: str = "person") -> None:
        """Make raters known; `kind` is person, simulated, imported or judge."""
        with self._database.writing() as connection:
            self._add_raters(connection, names, kind, self._database.now(connection))

    def answer(self, judgement: Judgement, *, rubric: str = "") -> Judgement:
        """Store one judgement; it is durable when this returns. The same id again returns what is stored already.

        A newer judgement of the same rater on the same question supersedes the older one, which stays in the history.
        An answer after its lease has run out, or beyond the overlap, is stored like any other.
        """
        self.answer_many([judgement], rubric=rubric)
        with self._database.reading() as connection:
            row = connection.execute(sa.select(judgements).where(judgements.c.id == judgement.id)).mappings().one()
        return judgement_of(dict(row))

    def answer_many(
        self,
        answers: Sequence[Judgement],
        *,
        rubric: str = "",
        rater_kind: str = "person",
        created: float | None = None,
    ) -> int:
        """Store judgements in one transaction, all or none; how many were new.

        Raises:
            DataError: one of them does not answer its question, or its question is not there.
        """
        if not answers:
            return 0
        with self._database.writing() as connection:
            asked = self._questions(connection, sorted({answer.comparison for answer in answers}))
            for answer in answers:
                if answer.comparison not in asked:
                    raise DataError(f"there is no question {answer.comparison!r}", where=f"judgement {answer.id!r}")
                check_judgement(answer, asked[answer.comparison])
            now = stamp(connection, self._database.now(connection)) if created is None else created
            self._add_raters(connection, sorted({answer.rater for answer in answers}), rater_kind, now)
            told = origins(connection, sorted(asked))
            rows = [judgement_row(answer, rubric, now) | told[answer.comparison] for answer in answers]
            added = self._database.insert_new(connection, judgements, rows)
            done = [{"held": answer.comparison, "holder": answer.rater} for answer in answers]
            connection.execute(lease_of(sa.bindparam("held"), sa.bindparam("holder")), done)
            settle(connection, sorted(asked))
        return added

    def withdraw(self, judgement_id: str, new_id: str) -> None:
        """Undo a judgement by adding a row `new_id` that takes it back; its question is open again.

        Raises:
            DataError: there is no such judgement, or a newer one stands in its place.
        """
        with self._database.writing() as connection:
            row = connection.execute(sa.select(judgements).where(judgements.c.id == judgement_id)).mappings().first()
            if row is None:
                raise DataError(f"there is no judgement {judgement_id!r}")
            same = (judgements.c.question == row["question"], judgements.c.rater == row["rater"])
            same = (*same, judgements.c.purpose == row["purpose"])
            query = sa.select(judgements).where(*same).order_by(judgements.c.number.desc()).limit(1)
            newest = connection.execute(query).mappings().one()
            if newest["id"] == new_id:
                return
            if newest["id"] != judgement_id:
                raise DataError(
                    f"judgement {judgement_id!r} was superseded by {newest['id']!r}", fix="withdraw that one"
                )
            now = stamp(connection, self._database.now(connection))
            taken_back = {"id": new_id, "withdrawn": True, "created": now}
            kept = {name: value for name, value in row.items() if name != "number"}
            self._database.insert_new(connection, judgements, [kept | taken_back])
            settle(connection, [row["question"]])

    def next_question(
        self, rater: str, lease_seconds: float = 600.0, project: str = "default", kinds: Sequence[QuestionKind] = ()
    ) -> Comparison | None:
        """Lease the next question to `rater`: the one it holds already, else the first that still lacks judgements.

        Leases of others count as judgements until they run out (by the clock of the database), so that the overlap is
        met exactly when everybody answers in time. None: there is nothing to do for this rater now.
        """
        with self._database.writing() as connection:
            now = self._database.now(connection)
            found = lease(connection, rater, project, 1, now, lease_seconds, kinds)
            return comparisons_of(connection, project, found)[0] if found else None

    def release(self, question: str, rater: str) -> None:
        """Give a lease back unanswered (skipped, or the rater went away)."""
        with self._database.writing() as connection:
            connection.execute(lease_of(question, rater))

    def projects(self) -> list[str]:
        """Names of the projects that have questions, sorted."""
        with self._database.reading() as connection:
            return sorted(connection.execute(sa.select(questions.c.project).distinct()).scalars())

    def comparisons(self, project: str = "default", kinds: Sequence[QuestionKind] = ()) -> list[Comparison]:
        """The questions of a project in the order asked."""
        query = sa.select(questions).where(questions.c.project == project).order_by(questions.c.number)
        if kinds:
            query = query.where(questions.c.kind.in_(kinds))
        with self._database.reading() as connection:
            return comparisons_of(connection, project, [dict(row) for row in connection.execute(query).mappings()])

    def judgements(
        self, project: str = "default", at: float | None = None, *, everybody: bool = False
    ) -> list[Judgement]:
        """The judgements that stand and count: the newest of each rater on each question, without those taken back.

        Answers to checks (gold questions, the quiz, repeats) are not among them.

        Args:
            at: as it was at that time (seconds since 1970).
            everybody: also those of raters who are excluded, and the known answers of `GOLD`.
        """
        query = sa.select(judgements).where(judgements.c.number.in_(_standing(project, at)))
        with self._database.reading() as connection:
            out = set[str]() if everybody else left_out(connection, project, at)
            rows = connection.execute(query.order_by(judgements.c.number)).mappings()
            return [judgement_of(row) for row in rows if not row["withdrawn"] and row["rater"] not in out]

    def judgements_of(self, ids: Sequence[str]) -> list[Judgement]:
        """The judgements that stand on these questions, oldest first."""
        found: list[Judgement] = []
        with self._database.reading() as connection:
            for part in chunks(ids):
                newest = sa.select(sa.func.max(judgements.c.number)).where(judgements.c.question.in_(part))
                newest = newest.where(judgements.c.purpose == "", judgements.c.rater != GOLD)
                standing = newest.group_by(judgements.c.question, judgements.c.rater)
                query = sa.select(judgements).where(judgements.c.number.in_(standing)).order_by(judgements.c.number)
                rows = connection.execute(query).mappings()
                found += [judgement_of(row) for row in rows if not row["withdrawn"]]
        return found

    def history(self, project: str = "default") -> list[dict[str, Any]]:
        """Every judgement row ever added, superseded and withdrawn ones too, oldest first."""
        query = (
            sa.select(judgements, raters.c.kind.label("rater_kind"))
            .join(questions, questions.c.id == judgements.c.question)
            .join(raters, raters.c.id == judgements.c.rater)
            .where(questions.c.project == project)
            .order_by(judgements.c.number)
        )
        with self._database.reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def open_questions(self, project: str = "default") -> list[OpenQuestion]:
        """The questions that have fewer judgements that count than their overlap, in the order asked."""
        judged: dict[str, set[str]] = {}
        out = self.left_out(project)
        for judgement in self.judgements(project, everybody=True):
            if judgement.rater != GOLD:
                judged.setdefault(judgement.comparison, set()).add(judgement.rater)
        overlaps = self.overlaps(project, asked_only=True)
        found: list[OpenQuestion] = []
        for comparison in self.comparisons(project):
            names = frozenset(judged.get(comparison.id, ()))
            count = len(names - out)
            if comparison.id in overlaps and count < overlaps[comparison.id]:
                found.append(OpenQuestion(comparison, overlaps[comparison.id] - count, names))
        return found

    def stats(self, project: str = "default") -> dict[str, int]:
        """How many questions (and open ones), samples, raters, judgements standing (and extra beyond the overlap).

        Gold questions, known answers and raters who are excluded are not among them. What was judged before its
        question became gold is: it is exported like all else.
        """
        overlaps = self.overlaps(project, asked_only=True)
        standing = self.judgements(project)
        counts = dict.fromkeys(overlaps, 0)
        for judgement in standing:
            if judgement.comparison in counts:
                counts[judgement.comparison] += 1
        with self._database.reading() as connection:
            query = sa.select(sa.func.count()).select_from(samples).where(samples.c.project == project)
            told = connection.execute(query).scalar_one()
        return {
            "questions": len(overlaps),
            "open_questions": sum(counts[question] < wanted for question, wanted in overlaps.items()),
            "samples": told,
            "raters": len({judgement.rater for judgement in standing}),
            "judgements": len(standing),
            "extra_judgements": sum(max(0, counts[question] - wanted) for question, wanted in overlaps.items()),
        }

    def left_out(self, project: str = "default") -> set[str]:
        """Raters whose judgements do not count now: those who are excluded, and `GOLD`."""
        with self._database.reading() as connection:
            return left_out(connection, project)

    def overlaps(self, project: str = "default", *, asked_only: bool = False) -> dict[str, int]:
        """How many judgements each question wants; `asked_only` leaves gold questions out."""
        query = sa.select(questions.c.id, questions.c.overlap).where(questions.c.project == project)
        query = query.where(questions.c.purpose == "") if asked_only else query
        with self._database.reading() as connection:
            return {row.id: row.overlap for row in connection.execute(query)}

    def _add_raters(self, connection: sa.Connection, names: Iterable[str], kind: str, now: float) -> None:
        told = [{"id": name, "kind": "key" if name == GOLD else kind, "created": now} for name in names]
        self._database.insert_new(connection, raters, told)

    def _questions(self, connection: sa.Connection, ids: Sequence[str]) -> dict[str, Question]:
        found: dict[str, Question] = {}
        for part in chunks(ids):
            rows = connection.execute(sa.select(questions).where(questions.c.id.in_(part))).mappings()
            found.update((row["id"], question_of(row)) for row in rows)
        return found


def _check_letters(comparison: Comparison, database: Database) -> None:
    if database.dialect == "postgresql" and (odd := [one for one in comparison.candidates if "\x00" in one.text]):
        raise DataError(
            "an answer holds a NUL character, which PostgreSQL cannot keep",
            where=f"question {comparison.id!r}, answer {odd[0].id!r}",
            fix="take it out of the text, or use an SQLite file",
        )


def _insert_same(database: Database, connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> int:
    """Insert what is new; what is there under the same id must say the same."""
    content = {"prompts": ["content"], "samples": ["text"], "questions": ["candidates", "project"]}[table.name]
    known: dict[str, Any] = {}
    for part in chunks([row["id"] for row in rows]):
        query = sa.select(table).where(table.c.id.in_(part))
        if table is not questions:  # ids of questions are unique in the whole database, the others in their project
            query = query.where(table.c.project == rows[0]["project"])
        known.update((row["id"], row) for row in connection.execute(query).mappings())
    for row in rows:
        other = [name for name in content if row["id"] in known and known[row["id"]][name] != row[name]]
        if other:
            raise DataError(
                f"id {row['id']!r} already stands for another {other[0]} in the database",
                where=f"table {table.name}, project {row['project']!r}",
                fix="give it an id of its own, or use another project or database",
            )
    return database.insert_new(connection, table, [row for row in rows if row["id"] not in known])


def _standing(project: str, at: float | None) -> sa.Select[tuple[int]]:
    """Numbers of the newest row of each rater on each question."""
    query = (
        sa.select(sa.func.max(judgements.c.number))
        .join(questions, questions.c.id == judgements.c.question)
        .where(questions.c.project == project, judgements.c.purpose == "")
        .group_by(judgements.c.question, judgements.c.rater)
    )
    return query if at is None else query.where(judgements.c.created <= at)
