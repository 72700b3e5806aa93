"""Takes the records of a raw export into a database: checked, in pieces, and never twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import sqlalchemy as sa

from tutelage.errors import DataError
from tutelage.store.engine import Database
from tutelage.store.frontier import forget
from tutelage.store.rows import (
    LATER,
    Row,
    check_comparison,
    check_judgement,
    chunks,
    judgement_of,
    prompt_of,
    prompt_row,
    question_of,
    sample_of,
    sample_row,
)
from tutelage.store.schema import (
    admissions,
    exclusions,
    handouts,
    judgements,
    prompts,
    questions,
    raters,
    rubrics,
    samples,
    settings,
    skips,
    tasks,
)
from tutelage.store.standing import settle, settle_project
from tutelage.types import Comparison, QuestionKind

WORKING = ("given", "open")
"""columns of questions that are counted anew, not truth"""
_FIX = "give a file of `tutelage rate export --kind raw`, as it was written"
_WHOLE = {"setting": settings, "rubric": rubrics, "exclusion": exclusions, "admission": admissions}
"""records of which a project has all or none: rows that came later stay in force"""
_ONE_BY_ONE = {"judgement": judgements, "skip": skips, "task": tasks}


class Intake:
    """One import into one project, inside one transaction.

    Args:
        project: takes all records, whatever it was called where they are from.
    """

    def __init__(self, database: Database, connection: sa.Connection, project: str) -> None:
        self.database, self.connection, self.project = database, connection, project
        self.added: Counter[str] = Counter()
        """kind of record → how many were new"""
        forget(connection, project)
        self._settled = {kind for kind, table in _WHOLE.items() if self._has(table)}

    def add(self, kind: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Take some records of one kind, in their order.

        Raises:
            DataError: an unknown kind, a missing or wrong field, or an id that stands for something else already.
        """
        takers: dict[str, Callable[[Sequence[Mapping[str, Any]]], int]] = {
            "question": self._questions, "rater": self._raters,
        }  # fmt: skip
        try:
            if kind in takers:
                self.added[kind] += takers[kind](records)
            elif kind in _WHOLE:
                self.added[kind] += self._all_or_none(kind, records)
            elif kind in _ONE_BY_ONE:
                self.added[kind] += self._numbered(kind, records)
            else:
                raise DataError(f"there is no kind of record {kind[:40]!r}", fix=_FIX)
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            told = f"lacks {error}" if isinstance(error, KeyError) else f"holds something else than it should: {error}"
            raise DataError(f"a raw record of kind {kind!r} {told}", fix=_FIX) from error

    def _questions(self, records: Sequence[Mapping[str, Any]]) -> int:
        posed, said, asked, shown = dict[str, Row](), dict[str, Row](), list[Row](), list[dict[str, Any]]()
        for record in records:
            prompt = prompt_of(record["prompt"])
            candidates = tuple(sample_of(row, prompt) for row in record["candidates"])
            low, high = record["scale"]
            kind = cast(QuestionKind, record["kind"])
            told = Comparison(
                record["id"], kind, prompt, candidates, tuple(record["aspects"]), (low, high), record["probability"]
            )
            check_comparison(told)
            posed[prompt.id] = prompt_row(self.project, prompt)
            said.update((sample.id, sample_row(self.project, sample)) for sample in candidates)
            names = {"prompt": prompt.id, "candidates": [sample.id for sample in candidates], "project": self.project}
            asked.append(_columns(questions, {**record, **names}, WORKING))
            shown += [_columns(handouts, {**row, "question": told.id}) for row in record["handouts"]]
        self._same(prompts, list(posed.values()))
        self._same(samples, list(said.values()), but=("checkpoint",))  # several may write the same words
        new = self._same(questions, asked, but=("probability", "overlap", "arm", "place"))
        self.database.insert_new(self.connection, handouts, shown)
        settle(self.connection, [row["id"] for row in asked])
        return new

    def _raters(self, records: Sequence[Mapping[str, Any]]) -> int:
        return self.database.insert_new(self.connection, raters, [_columns(raters, record) for record in records])

    def _numbered(self, kind: str, records: Sequence[Mapping[str, Any]]) -> int:
        table = _ONE_BY_ONE[kind]
        names = sorted({record["question"] for record in records})
        known = self._known(questions, names)
        for record in records:
            question = known.get(record["question"])
            if question is None or question["project"] != self.project:
                raise DataError(f"there is no question {record['question']!r} in project {self.project!r}", fix=_FIX)
            if kind == "judgement":
                check_judgement(judgement_of(record), question_of(question))
        rows = [_columns(table, {**record, "project": self.project}) for record in records]
        if table is tasks:
            return self.database.insert_new(self.connection, tasks, rows)
        new = self._same(table, rows)
        if kind == "judgement":
            settle(self.connection, names)
        return new

    def _all_or_none(self, kind: str, records: Sequence[Mapping[str, Any]]) -> int:
        if kind in self._settled:
            return 0
        rows = [_columns(_WHOLE[kind], {**record, "project": self.project}) for record in records]
        if rows:
            self.connection.execute(sa.insert(_WHOLE[kind]), rows)
        if rows and kind == "exclusion":
            settle_project(self.connection, self.project)
        return len(rows)

    def _has(self, table: sa.Table) -> bool:
        query = sa.select(sa.literal(1)).where(sa.exists().where(table.c.project == self.project))
        return self.connection.execute(query).first() is not None

    def _same(self, table: sa.Table, rows: Sequence[Row], but: Sequence[str] = ()) -> int:
        """Insert what is new; what is there under the same id must say the same. How many were new."""
        known = self._known(table, sorted({row["id"] for row in rows}))
        new: dict[str, dict[str, Any]] = {}
        for row in rows:
            there = known.get(row["id"]) or new.get(row["id"])
            differs = [
                name for name in row if name not in but and there is not None and _unlike(there[name], row[name])
            ]
            if differs:
                raise DataError(
                    f"id {row['id']!r} already stands for another {differs[0]} in the database",
                    where=f"table {table.name}, project {self.project!r}",
                    fix="use an empty database",
                )
            if there is None:
                new[row["id"]] = dict(row)
        if new:
            self.connection.execute(sa.insert(table), list(new.values()))
        return len(new)

    def _known(self, table: sa.Table, ids: Sequence[str]) -> dict[str, Row]:
        found: dict[str, Row] = {}
        for part in chunks(ids, 1000):
            query = sa.select(table).where(table.c.id.in_(part))
            if table in (prompts, samples):  # ids of the others are unique in the whole database
                query = query.where(table.c.project == self.project)
            found.update((row["id"], row) for row in self.connection.execute(query).mappings())
        return found


def _unlike(one: Any, two: Any) -> bool:
    return one != two and json.dumps(one, sort_keys=True) != json.dumps(two, sort_keys=True)


def _columns(table: sa.Table, record: Row, but: Sequence[str] = ()) -> dict[str, Any]:
    """The columns of a row; those that older files do not have get the value that their absence stands for.

    Raises:
        DataError: a field that the table does not have: a newer tutelage wrote it.
        KeyError: a field is missing.
    """
    wanted = [column for column in table.columns if column.name not in ("number", *but)]
    odd = record.keys() - {column.name for column in wanted} - {"record", "handouts", "project"}
    if odd:
        raise DataError(f"{table.name} have no {', '.join(sorted(odd))}", fix="upgrade tutelage")
    told: dict[str, Any] = {}
    for column in wanted:
        if column.name not in record and column.server_default is not None:
            told[column.name] = LATER.get(column.name, "")
        else:
            told[column.name] = record[column.name]
    return told
