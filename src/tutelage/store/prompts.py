"""The prompts of a project by themselves: those that wait for answers, new ones, and what was answered to some."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import sqlalchemy as sa

from tutelage.errors import DataError
from tutelage.store.engine import Database
from tutelage.store.labels import digest
from tutelage.store.rows import chunks, prompt_of, prompt_row, sample_of, text_json
from tutelage.store.schema import prompts, samples
from tutelage.types import Prompt, Sample, plain

Which = Literal["unanswered", "all"]


def counts(database: Database, project: str) -> dict[Which, int]:
    """How many different prompts there are, and to how many of them nothing was answered yet."""
    different = sa.func.count(sa.distinct(sa.cast(prompts.c.content, sa.Text)))
    with database.reading() as connection:
        return {which: int(connection.execute(_chosen(project, which, different)).scalar_one()) for which in _ALL}


def prompts_in(database: Database, project: str, which: Which = "all") -> list[Prompt]:
    """The prompts of a project by id, each content once."""
    query = _chosen(project, which, prompts.c.id, prompts.c.content, prompts.c.meta).order_by(prompts.c.id)
    with database.reading() as connection:
        found = [prompt_of(dict(row)) for row in connection.execute(query).mappings()]
    return list(by_content(found).values())


def adopt(database: Database, project: str, given: Iterable[Prompt]) -> tuple[list[Prompt], int]:
    """The project's own prompts of these contents, each once; and how many of them are new and stand there now.

    A prompt's id is made from what it says, as where answers are read: the same prompt of two files is one.

    Raises:
        DataError: a text that PostgreSQL cannot keep.
    """
    there = by_content(prompts_in(database, project))
    wanted = by_content(given)
    new = {
        content: Prompt(f"prompt-{content}", prompt.content, dict(prompt.meta))
        for content, prompt in wanted.items()
        if content not in there
    }
    for prompt in new.values():
        if database.dialect == "postgresql" and "\x00" in plain(prompt.content):
            raise DataError("a prompt holds a NUL character, which PostgreSQL cannot keep", fix="take it out")
    with database.writing() as connection:
        database.insert_new(connection, prompts, [prompt_row(project, prompt) for prompt in new.values()])
    return [there.get(content) or new[content] for content in wanted], len(new)


def answers_to(database: Database, project: str, given: Iterable[Prompt]) -> list[Sample]:
    """What models have answered to some prompts of a project, by id."""
    asked = {prompt.id: prompt for prompt in given}
    found: list[Sample] = []
    with database.reading() as connection:
        for part in chunks(sorted(asked)):
            query = sa.select(samples).where(samples.c.project == project, samples.c.prompt.in_(part))
            rows = connection.execute(query.order_by(samples.c.id)).mappings()
            found += [sample_of(dict(row), asked[row["prompt"]]) for row in rows]
    return found


def by_content(given: Iterable[Prompt]) -> dict[str, Prompt]:
    """What a prompt says, in short → the first that says it."""
    found: dict[str, Prompt] = {}
    for prompt in given:
        found.setdefault(content_of(prompt), prompt)
    return found


def content_of(prompt: Prompt) -> str:
    """The same for prompts that say the same."""
    return digest(text_json(prompt.content))


_ALL: tuple[Which, ...] = ("unanswered", "all")


def _chosen(project: str, which: Which, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    query = sa.select(*columns).where(prompts.c.project == project)
    if which == "all":
        return query
    answered = sa.select(samples.c.id).where(samples.c.project == prompts.c.project, samples.c.prompt == prompts.c.id)
    return query.where(~answered.exists())
