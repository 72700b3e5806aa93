"""What a rater is given besides new questions, without being told: gold, repeats, and the quiz before all that.

task k of a rater ── keyed hash of (secret, project, rater, k) ──► gold · repeat · new
no admission yet, and the project has a quiz ──► quiz: gold questions until there are enough, then a row in `admissions`

The hash is known beforehand to nobody without the secret and the same in every process. Gold questions have
`purpose` "gold" and a judgement of the rater `GOLD` that tells the answer; they are asked for no other reason. What is
answered to gold, quiz and repeats is a judgement with that purpose: it counts for no overlap, budget or export.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from tutelage.errors import DeniedError
from tutelage.store.checks import agree, known_answers
from tutelage.store.handout import Row, fresh, hold
from tutelage.store.projects import ProjectSettings
from tutelage.store.schema import admissions, judgements, leases, questions, skips, tasks
from tutelage.store.skipping import standing_skips
from tutelage.store.standing import UNCHOSEN, Purpose, given_in, standing_on

LATEST = 10
"""So many of a rater's last tasks are not asked again yet."""
_DRAWS = 8


class NotAdmittedError(DeniedError):
    """The rater did not pass the project's quiz; an admin may let them in."""


def what_next(
    secret: bytes, project: str, rater: str, count: int, *, gold_rate: float, repeat_rate: float
) -> Literal["gold", "repeat", "new"]:
    """What the task of `rater` after `count` others is to be; the rates are shares of all tasks."""
    drawn = int.from_bytes(_hash(secret, project, rater, str(count)), "big") / 2**64
    return "gold" if drawn < gold_rate else "repeat" if drawn < gold_rate + repeat_rate else "new"


@dataclass(frozen=True)
class Giver:
    """One rater at the counter, within one writing transaction.

    Args:
        now, expires: seconds since 1970; when the leases begin and end.
    """

    connection: sa.Connection
    rater: str
    project: str
    settings: ProjectSettings
    secret: bytes
    now: float
    expires: float

    def give(self, count: int) -> list[Row]:
        """Up to `count` more questions that the rater holds from now on, each with its `task_purpose`.

        Raises:
            NotAdmittedError: the quiz was not passed.
        """
        connection, settings = self.connection, self.settings
        if not admitted(connection, self.rater, self.project, settings):
            settle_quiz(connection, self.rater, self.project, settings, self.now)
            if not admitted(connection, self.rater, self.project, settings):
                return self._quiz(count)
        if settings.budget:
            count = min(count, settings.budget - spent(connection, self.project))
        only = settings.selection != "random" and _chosen(connection, self.project)
        waiting = fresh(connection, self.rater, self.project, count, chosen_only=only) if count > 0 else []
        mine = (tasks.c.project == self.project, tasks.c.rater == self.rater, tasks.c.purpose != "quiz")
        number = connection.execute(sa.select(sa.func.count()).select_from(tasks).where(*mine)).scalar_one()
        rates = {"gold_rate": settings.gold_rate, "repeat_rate": settings.repeat_rate}
        found: list[Row] = []
        while waiting and len(found) < count:
            kind = what_next(self.secret, self.project, self.rater, number, **rates)
            row = self._gold() if kind == "gold" else self._repeat(number) if kind == "repeat" else None
            purpose: Purpose = "" if row is None or kind == "new" else kind
            found.append(self._take(waiting.pop(0) if row is None else row, purpose))
            number += 1
        return found

    def _quiz(self, count: int) -> list[Row]:
        """Quiz questions: those left on another screen first, then new ones up to what the quiz asks."""
        connection, rater, project = self.connection, self.rater, self.project
        left = _open_quiz(connection, rater, project)
        asked = min(self.settings.quiz, _golds(connection, project))
        wanted = asked - len(_answers(connection, rater, project)) - len(left)
        held = sa.select(leases.c.question).where(leases.c.rater == rater)
        idle = [name for name in left if name not in set(connection.execute(held).scalars())]
        found = [self._take(_question(connection, name), "quiz") for name in idle[:count]]
        while wanted > 0 and len(found) < count and (row := self._gold()) is not None:
            found.append(self._take(row, "quiz"))
            wanted -= 1
        return found

    def _take(self, row: Row, purpose: Purpose) -> Row:
        """Lease a question and note the task, so that the next one drawn is another."""
        hold(self.connection, row["id"], self.rater, self.expires, purpose)
        note_task(self.connection, row, self.rater, purpose, self.now)
        return row | {"task_purpose": purpose}

    def _gold(self) -> Row | None:
        """The gold question that comes next for this rater, in an order that is theirs alone."""
        ids = _unseen(self.connection, self.rater, self.project)
        if not ids:
            return None
        return _question(self.connection, min(ids, key=lambda name: _hash(self.secret, "gold", self.rater, name)))

    def _repeat(self, number: int) -> Row | None:
        """A question that the rater has answered, not among the last ones and never asked again before."""
        connection, again = self.connection, tasks.alias("again")
        theirs = (again.c.question == tasks.c.question, again.c.rater == self.rater, again.c.purpose == "repeat")
        stands = sa.exists().where(*standing_on(tasks.c.question), judgements.c.rater == self.rater)
        query = (
            sa.select(tasks.c.question)
            .join(questions, questions.c.id == tasks.c.question)
            .where(tasks.c.project == self.project, tasks.c.rater == self.rater, tasks.c.purpose == "", stands)
            .where(questions.c.kind != "edit", questions.c.purpose == "")
            .order_by(tasks.c.number.desc())
        )
        latest = list(connection.execute(query.add_columns(tasks.c.number).limit(LATEST)))
        if len(latest) < LATEST:
            return None
        new = query.where(~sa.exists().where(*theirs), tasks.c.number < latest[-1].number)
        mine = (tasks.c.project == self.project, tasks.c.rater == self.rater, tasks.c.purpose == "")
        given = connection.execute(sa.select(sa.func.count()).select_from(tasks).where(*mine)).scalar_one()
        drawn = sa.select(tasks.c.number).where(*mine).order_by(tasks.c.number).limit(1)
        for draw in range(_DRAWS):  # any of them alike; few draws fail, so that not all need be read
            place = self._lot(number, draw, given)
            task = connection.execute(drawn.offset(place)).scalar_one()
            if (name := connection.execute(new.where(tasks.c.number == task)).scalar()) is not None:
                return _question(connection, name)
        names = list(connection.execute(new).scalars())
        return _question(connection, names[self._lot(number, _DRAWS, len(names))]) if names else None

    def _lot(self, number: int, draw: int, count: int) -> int:
        """A number below `count` that nobody can foresee who lacks the secret."""
        return int.from_bytes(_hash(self.secret, "repeat", self.rater, str(number), str(draw)), "big") % count


def note_task(connection: sa.Connection, row: Row, rater: str, purpose: str, now: float) -> None:
    """Add a row to `tasks` unless there is one: a task keeps its number when it is handed out again."""
    same = (tasks.c.question == row["id"], tasks.c.rater == rater, tasks.c.purpose == purpose)
    if connection.execute(sa.select(tasks.c.number).where(*same)).first() is None:
        told = {"project": row["project"], "question": row["id"], "rater": rater, "purpose": purpose, "created": now}
        connection.execute(sa.insert(tasks).values(told))


def spent(connection: sa.Connection, project: str) -> int:
    """Judgements of a project that count, and those that are being made: leases that have not run out."""
    here = sa.exists().where(questions.c.id == leases.c.question, questions.c.project == project)
    running = sa.select(sa.func.count()).select_from(leases).where(leases.c.purpose == "", here)
    return given_in(connection, project) + connection.execute(running).scalar_one()


def admitted(connection: sa.Connection, rater: str, project: str, settings: ProjectSettings) -> bool:
    """Whether `rater` gets work; False: the quiz comes first. Who worked here before there was a quiz needs none.

    Raises:
        NotAdmittedError: the quiz is over and was not passed.
    """
    if not settings.quiz:
        return True
    mine = (admissions.c.project == project, admissions.c.rater == rater)
    told = connection.execute(sa.select(admissions).where(*mine).order_by(admissions.c.number.desc())).mappings()
    newest = told.first()
    if newest is not None:
        if not newest["admitted"]:
            raise NotAdmittedError("you did not pass the questions that this project begins with")
        return True
    worked = (tasks.c.project == project, tasks.c.rater == rater, tasks.c.purpose != "quiz")
    return connection.execute(sa.select(tasks.c.number).where(*worked).limit(1)).first() is not None


def settle_quiz(connection: sa.Connection, rater: str, project: str, settings: ProjectSettings, now: float) -> None:
    """Decide on a newcomer once all quiz questions are answered, for good: later edits change nothing.

    A skipped quiz question is replaced while there are others; after that it counts as wrong.
    """
    mine = (admissions.c.project == project, admissions.c.rater == rater)
    if not settings.quiz or connection.execute(sa.select(admissions.c.number).where(*mine)).first() is not None:
        return
    right = _answers(connection, rater, project)
    asked = min(settings.quiz, _golds(connection, project))
    open_ = _open_quiz(connection, rater, project)
    if len(right) < asked and (open_ or _unseen(connection, rater, project)):
        return
    passed = sum(right) >= settings.pass_mark * asked - 1e-9
    told = {"admitted": passed, "right": sum(right), "asked": asked, "actor": "quiz"}
    connection.execute(sa.insert(admissions).values(project=project, rater=rater, created=now, **told))


def _question(connection: sa.Connection, name: str) -> Row:
    return dict(connection.execute(sa.select(questions).where(questions.c.id == name)).mappings().one())


def _unseen(connection: sa.Connection, rater: str, project: str) -> list[str]:
    """Gold questions that `rater` was never given."""
    seen = sa.exists().where(tasks.c.question == questions.c.id, tasks.c.rater == rater)
    query = sa.select(questions.c.id).where(questions.c.project == project, questions.c.purpose == "gold", ~seen)
    return list(connection.execute(query).scalars())


def _golds(connection: sa.Connection, project: str) -> int:
    query = sa.select(sa.func.count()).where(questions.c.project == project, questions.c.purpose == "gold")
    return connection.execute(query).scalar_one()


def _chosen(connection: sa.Connection, project: str) -> bool:
    """Whether any question was ever chosen by a selection."""
    either = questions.c.open.in_([True, False])  # so that the index is used
    query = sa.select(questions.c.number).where(questions.c.project == project, either, questions.c.place < UNCHOSEN)
    return connection.execute(query.limit(1)).first() is not None


def _open_quiz(connection: sa.Connection, rater: str, project: str) -> list[str]:
    """Quiz questions on the rater's screen, or left there: given, and neither answered nor skipped."""
    answered = sa.exists().where(*standing_on(tasks.c.question, "quiz"), judgements.c.rater == rater)
    skipped = sa.exists().where(skips.c.question == tasks.c.question, skips.c.rater == rater, *standing_skips())
    query = sa.select(tasks.c.question).where(
        tasks.c.project == project, tasks.c.rater == rater, tasks.c.purpose == "quiz", ~answered, ~skipped
    )
    return list(connection.execute(query.order_by(tasks.c.number)).scalars())


def _answers(connection: sa.Connection, rater: str, project: str) -> list[bool]:
    """Which quiz answers of `rater` are right."""
    told = known_answers(connection, project)
    given = (
        sa.select(judgements)
        .join(questions, questions.c.id == judgements.c.question)
        .where(questions.c.project == project, judgements.c.rater == rater, *standing_on(questions.c.id, "quiz"))
    )
    rows = connection.execute(given).mappings().all()
    return [agree(told[row["question"]], dict(row)) for row in rows if row["question"] in told]


def _hash(secret: bytes, *parts: str) -> bytes:
    return hashlib.blake2b("\x00".join(parts).encode(), digest_size=8, key=secret[:64]).digest()
