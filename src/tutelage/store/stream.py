"""A project read piece by piece as it was at one moment, in memory that does not grow with it.

Every piece is a short transaction of its own, so a writer never waits for a reader of a million rows, and a reader
never sees what came after its `Cut`: rows are only added, and their numbers only grow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from tutelage.store.engine import Database
from tutelage.store.handout import comparisons_of
from tutelage.store.rows import judgement_of
from tutelage.store.schema import admissions, exclusions, judgements, questions, settings, skips, tasks
from tutelage.types import Comparison, Judgement

PAGE = 400
"""questions read at once"""


@dataclass(frozen=True)
class Cut:
    """What had been stored at one moment: newest numbers, and a time where an earlier state was asked for.

    Example:
        >>> cut = cut_of(store.database)
        >>> Cut(**cut.as_json()) == cut
        True
    """

    newest: Mapping[str, int]
    """table → number of its newest row"""
    moment: float
    """seconds since 1970: nothing newer counts where rows have no number"""
    at: float | None = None
    """as it was at that time; None = all that was there at the moment of the cut"""

    def as_json(self) -> dict[str, Any]:
        """For files: `Cut(**…)` makes it again."""
        return asdict(self)

    def within(self, table: sa.Table) -> tuple[sa.ColumnElement[bool], ...]:
        """What holds for rows of a numbered table that were there."""
        early = () if self.at is None else (table.c.created <= self.at,)
        return (table.c.number <= self.newest[table.name], *early)


@dataclass(frozen=True)
class Posed:
    """Questions with the judgements that stand on them, oldest first."""

    comparisons: list[Comparison]
    judgements: list[Judgement]


def cut_of(database: Database, at: float | None = None) -> Cut:
    """The newest rows there are now; `at` (seconds since 1970) looks back further."""
    tables = (judgements, questions, skips, tasks, settings, exclusions, admissions)
    with database.reading() as connection:
        newest = {
            table.name: connection.execute(sa.select(sa.func.max(table.c.number))).scalar() or 0 for table in tables
        }
        now = database.now(connection)
    return Cut(newest, now if at is None else at, at)


class Reader:
    """One project under one cut.

    Args:
        without: raters whose judgements are left out.
        page: questions read at once.
    """

    def __init__(
        self, database: Database, project: str, cut: Cut, without: Collection[str] = (), page: int = PAGE
    ) -> None:
        self.database, self.project, self.cut = database, project, cut
        self.without, self.page = frozenset(without), page

    def numbers(self) -> Iterator[list[int]]:
        """The numbers of the questions in the order asked, some at a time."""
        last = 0
        while True:
            with self.database.reading() as connection:
                found = list(connection.execute(question_numbers(self.project, self.cut, last, self.page)).scalars())
            if not found:
                return
            yield found
            last = found[-1]

    def in_order(self) -> Iterator[Posed]:
        """Each question by itself, in the order asked."""
        for numbers in self.numbers():
            yield from _apart(self.posed(numbers), by_prompt=False)

    def by_prompt(self, order: Sequence[Sequence[int]]) -> Iterator[Posed]:
        """All questions of a prompt together, prompts in the order first asked.

        Args:
            order: of `prompt_order`.
        """
        for numbers in order:
            yield from _apart(self.posed(numbers), by_prompt=True)

    def posed(self, numbers: Sequence[int]) -> Posed:
        """The questions of these numbers, in this order, and the judgements that stand."""
        place = {number: index for index, number in enumerate(numbers)}
        asked: list[dict[str, Any]] = []
        given: list[tuple[int, Judgement]] = []
        with self.database.reading() as connection:
            for start in range(0, len(numbers), PAGE):
                query = questions_numbered([int(number) for number in numbers[start : start + PAGE]])
                asked += [dict(row) for row in connection.execute(query).mappings()]
            asked.sort(key=lambda row: place[row["number"]])
            comparisons = comparisons_of(connection, self.project, asked)
            for start in range(0, len(asked), PAGE):
                given += self._standing(connection, [row["id"] for row in asked[start : start + PAGE]])
        given.sort(key=lambda pair: pair[0])
        return Posed(comparisons, [judgement for _, judgement in given])

    def _standing(self, connection: sa.Connection, ids: Sequence[str]) -> list[tuple[int, Judgement]]:
        rows = connection.execute(judgements_on(ids, self.cut)).mappings().all()
        newest = {(row["question"], row["rater"]): row for row in rows}  # rows come oldest first
        kept = [row for row in newest.values() if not row["withdrawn"] and row["rater"] not in self.without]
        return [(row["number"], judgement_of(row)) for row in kept]


def question_numbers(project: str, cut: Cut, last: int, limit: int) -> sa.Select[Any]:
    """Numbers of the next questions after `last`."""
    mine = (questions.c.project == project, questions.c.number > last, *cut.within(questions))
    return sa.select(questions.c.number).where(*mine).order_by(questions.c.number).limit(limit)


def questions_numbered(numbers: Sequence[int]) -> sa.Select[Any]:
    """Rows of questions by number."""
    return sa.select(questions).where(questions.c.number.in_(numbers))


def judgements_on(ids: Sequence[str], cut: Cut) -> sa.Select[Any]:
    """The judgement rows on some questions that the cut has and that are no checks, oldest first by rater."""
    mine = (judgements.c.question.in_(ids), judgements.c.purpose == "", *cut.within(judgements))
    query = sa.select(judgements).where(*mine)
    return query.order_by(judgements.c.question, judgements.c.rater, judgements.c.number)


def _apart(posed: Posed, *, by_prompt: bool) -> Iterator[Posed]:
    """One piece for each question, or for each run of questions on one prompt."""
    pieces: dict[str, Posed] = {}
    owner: dict[str, Posed] = {}
    for comparison in posed.comparisons:
        piece = pieces.setdefault(comparison.prompt.id if by_prompt else comparison.id, Posed([], []))
        piece.comparisons.append(comparison)
        owner[comparison.id] = piece
    for judgement in posed.judgements:
        owner[judgement.comparison].judgements.append(judgement)
    yield from pieces.values()


def prompt_order(reader: Reader) -> list[Any]:
    """The numbers of all questions in parts that hold whole prompts, in the order in which prompts were first asked.

    About 30 bytes a question while it is made, 8 afterwards. Prompts are told apart by 64 bits of a hash here and by
    their ids afterwards: two that collide only come in one part.
    """
    import numpy as np  # 0.1 s that most openings of a database do not need

    number: Any = np.zeros(0, dtype=np.int64)
    prompt: Any = np.zeros(0, dtype=np.uint64)
    last, numbers, prompts = 0, [number], [prompt]
    while True:
        mine = question_numbers(reader.project, reader.cut, last, 5_000).add_columns(questions.c.prompt)
        with reader.database.reading() as connection:
            rows = connection.execute(mine).all()
        if not rows:
            break
        last = rows[-1][0]
        numbers.append(np.fromiter((row[0] for row in rows), np.int64, len(rows)))
        prompts.append(np.fromiter((_hash(row[1]) for row in rows), np.uint64, len(rows)))
    number, prompt = np.concatenate(numbers), np.concatenate(prompts)
    del numbers, prompts
    starts = np.flatnonzero(np.concatenate([[True], prompt[1:] != prompt[:-1]])) if len(prompt) else np.zeros(0, int)
    if len(np.unique(prompt[starts])) < len(starts):  # some prompt came again later
        _, first, group = np.unique(prompt, return_index=True, return_inverse=True)
        order = np.argsort(first[group], kind="stable")
        number, prompt = number[order], prompt[order]
        starts = np.flatnonzero(np.concatenate([[True], prompt[1:] != prompt[:-1]]))
    ends = [0]
    for end in [*map(int, starts[1:]), len(number)]:
        if end - ends[-1] >= reader.page or end == len(number):
            ends.append(end)
    return [number[start:end] for start, end in zip(ends, ends[1:], strict=False) if end > start]


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
