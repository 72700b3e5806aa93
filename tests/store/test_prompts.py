"""Prompts by themselves, on both databases: kept until they are answered, each content once, whatever it is called."""

from __future__ import annotations

import pytest

from rating_room import questions
from tutelage.errors import DataError
from tutelage.store.prompts import adopt, answers_to, content_of, counts, prompts_in
from tutelage.store.store import Store
from tutelage.types import Comparison, Message, Prompt, Sample


def test_prompts_wait_for_answers_and_are_told_apart_by_what_they_say(database_url: str):
    with Store(database_url) as store:
        given = [Prompt("a", "Why?", {"n": 1}), Prompt("b", (Message("user", "为什么?"),)), Prompt("c", "Why?")]
        kept, new = adopt(store.database, "p", given)
        assert (new, len(kept)) == (2, 2) and kept[0].meta == {"n": 1}
        assert adopt(store.database, "p", reversed(given))[1] == 0
        assert counts(store.database, "p") == {"unanswered": 2, "all": 2}
        assert counts(store.database, "other") == {"unanswered": 0, "all": 0}
        said = tuple(Sample(f"s{n}", kept[0], f"Because {n}.", model="m") for n in range(2))
        store.ask([Comparison("q", "pair", kept[0], said)], project="p")
        assert counts(store.database, "p") == {"unanswered": 1, "all": 2}
        assert prompts_in(store.database, "p", "unanswered") == [kept[1]]
        assert answers_to(store.database, "p", kept) == list(said)
        assert answers_to(store.database, "other", kept) == []


def test_a_prompt_that_is_there_under_another_id_is_the_one_that_is_taken(database_url: str):
    with Store(database_url) as store:
        asked = questions(2)
        store.ask(asked, project="p")
        same = [Prompt("mine", one.prompt.content) for one in asked]
        kept, new = adopt(store.database, "p", same)
        assert new == 0 and {prompt.id for prompt in kept} == {one.prompt.id for one in asked}
        assert [content_of(prompt) for prompt in kept] == [content_of(prompt) for prompt in same]


def test_what_postgresql_cannot_keep_is_refused_whole(postgres_url: str):
    with Store(postgres_url) as store:
        with pytest.raises(DataError, match="NUL"):
            adopt(store.database, "p", [Prompt("a", "fine"), Prompt("b", "not\x00fine")])
        assert counts(store.database, "p")["all"] == 0
