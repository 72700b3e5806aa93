"""A few questions to ask, for every test of the store."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tutelage.types import Comparison, Message, Prompt, QuestionKind, Sample

Ask = Callable[..., list[Comparison]]


@pytest.fixture
def make_questions() -> Ask:
    """`make_questions(3, kind="ranking", answers=4)` → three questions with Chinese text and meta."""

    def make(count: int, kind: QuestionKind = "pair", answers: int = 2, model: str = "m") -> list[Comparison]:
        made: list[Comparison] = []
        for number in range(count):
            prompt = Prompt(f"p{number}", (Message("user", f"概括：新闻 {number}"),), {"lang": "zh", "n": number})
            said = tuple(
                Sample(f"p{number}-a{j}", prompt, f"答 {number}.{j}", model=f"{model}{j}") for j in range(answers)
            )
            aspects = ("faithful", "fluent") if kind == "scores" else ()
            made.append(Comparison(f"{kind}-{number}", kind, prompt, said, aspects, probability=0.5))
        return made

    return make
