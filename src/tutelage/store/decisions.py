"""What an admin decides by hand: the answer to a doubtful question, what is gold, who works without passing the quiz.

Every decision is a row that is never changed: an answer is a judgement of the rater `GOLD`, an admission a row of
`admissions`; who decided stands in the audit log.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from tutelage.errors import DataError, MissingInputError, TryAgainError
from tutelage.store._live import asked_now
from tutelage.store.audit import note
from tutelage.store.clock import stamp
from tutelage.store.engine import Database
from tutelage.store.handout import origins
from tutelage.store.rows import check_judgement, judgement_row, question_of
from tutelage.store.schema import admissions, judgements, questions, raters
from tutelage.store.standing import GOLD, settle
from tutelage.store.store import Store
from tutelage.types import Comparison, Judgement


class Decisions:
    """The admin's word in all projects.

    Example:
        >>> Decisions(store.database).decide("news", 7, Judgement("", "", "", ranks=(1, 2)), gold=True, actor="dana")
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def decide(
        self, project: str, number: int, answer: Judgement, *, gold: bool | None = None, actor: str
    ) -> Judgement:
        """Set the answer to a question; exports go by it from now on, and a later decision takes its place.

        Args:
            answer: its id, question and rater are filled in here.
            gold: also make it a hidden gold question, or none any more; None = as it is.

        Raises:
            MissingInputError: there is no such question.
            DataError: this does not answer it, or nobody can be checked by an edit.
            TryAgainError: a live run waits for judgements of it; as gold it would be asked no more.
        """
        with self._database.writing() as connection:
            row = _question(connection, project, number)
            if gold and row["kind"] == "edit":
                raise DataError("an edited answer has no single right version to check raters by")
            if gold and row["purpose"] != "gold" and row["id"] in asked_now(connection, project):
                raise TryAgainError(
                    "a training run waits for judgements of this question: as gold it would be asked no more",
                    where=f"project {project}, question {number}",
                    fix="decide it without gold, or mark it once the batch is closed",
                )
            now = stamp(connection, self._database.now(connection))
            told = replace(answer, id=str(uuid.uuid4()), comparison=row["id"], rater=GOLD)
            check_judgement(told, question_of(row))
            self._database.insert_new(connection, raters, [{"id": GOLD, "kind": "key", "created": now}])
            written = judgement_row(told, "", now) | origins(connection, [row["id"]])[row["id"]]
            connection.execute(sa.insert(judgements).values(written))
            after: dict[str, Any] = {"judgement": told.id, "ranks": list(told.ranks), "scores": dict(told.scores)}
            if gold is not None:
                _mark(connection, row["id"], gold)
                after["gold"] = gold
            note(connection, now, actor, "adjudicate", f"{project} #{number}", after=after)
        return told

    def unmark(self, project: str, number: int, *, actor: str) -> None:
        """Ask a gold question like any other again; its known answer stays."""
        with self._database.writing() as connection:
            row = _question(connection, project, number)
            _mark(connection, row["id"], False)
            note(connection, self._database.now(connection), actor, "unmark gold", f"{project} #{number}")

    def golds(self, project: str) -> int:
        """How many gold questions there are."""
        query = sa.select(sa.func.count()).where(questions.c.project == project, questions.c.purpose == "gold")
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one()

    def admissions(self, project: str) -> dict[str, Mapping[str, Any]]:
        """rater → how their quiz ended, or what an admin decided since: admitted, right, asked, actor, created."""
        query = sa.select(admissions).where(admissions.c.project == project).order_by(admissions.c.number)
        with self._database.reading() as connection:
            return {row["rater"]: dict(row) for row in connection.execute(query).mappings()}

    def admit(self, project: str, rater: str, *, actor: str) -> None:
        """Let a rater work who did not pass the quiz.

        Raises:
            DataError: nobody was kept out under that name.
        """
        before = self.admissions(project).get(rater)
        if before is None or before["admitted"]:
            raise DataError(f"{rater!r:.80} was not kept out")
        with self._database.writing() as connection:
            now = self._database.now(connection)
            told = {"admitted": True, "right": before["right"], "asked": before["asked"], "actor": actor}
            connection.execute(sa.insert(admissions).values(project=project, rater=rater, created=now, **told))
            note(connection, now, actor, "admit rater", rater, after={"project": project})


def add_gold(
    store: Store, comparisons: Iterable[Comparison], answers: Sequence[Judgement], project: str
) -> tuple[int, int]:
    """Bring in questions with known answers: (new questions, new answers). What is there already stays as it is.

    Raises:
        DataError: a question without a known answer, or of a kind that checks nobody.
    """
    asked = list(comparisons)
    known = {answer.comparison for answer in answers}
    for comparison in asked:
        if comparison.kind == "edit" or comparison.id not in known:
            raise DataError(f"question {comparison.id!r} has no known answer to check raters by")
    new = store.ask(asked, project, purpose="gold")
    told = [replace(answer, id=f"gold-{answer.comparison}", rater=GOLD) for answer in answers]
    return new, store.answer_many(told, rater_kind="key")


def _question(connection: sa.Connection, project: str, number: int) -> Any:
    mine = (questions.c.project == project, questions.c.number == number)
    row = connection.execute(sa.select(questions).where(*mine)).mappings().first()
    if row is None:
        raise MissingInputError(f"there is no question {number} in this project")
    return row


def _mark(connection: sa.Connection, question: str, gold: bool) -> None:
    connection.execute(sa.update(questions).where(questions.c.id == question).values(purpose="gold" if gold else ""))
    settle(connection, [question])
