"""Pairs that one rater has judged by a rule that a small learner can learn, chosen at random or on purpose.

Shared by the tests of what choosing saves: what is computed, and what the dashboard says of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from tutelage.store.choosing import Choice, Choosing
from tutelage.store.store import Store
from tutelage.types import Comparison, Judgement, Prompt, Sample

WORDS = [f"word{number}" for number in range(40)]


def pairs(count: int, seed: int = 0, easy: int = 0) -> list[Comparison]:
    """Pairs of answers made of words; the last `easy` of them are all the same one."""
    draw, made = Random(seed), list[Comparison]()
    for number in range(count):
        prompt = Prompt(f"p{number}", f"Question {number} about {draw.choice(WORDS)}")
        texts = [" ".join(draw.choices(WORDS, k=8)) for _ in range(2)]
        texts = ["word0", "word1"] if number >= count - easy else texts
        said = tuple(Sample(f"s{number}{side}", prompt, text) for side, text in zip("ab", texts, strict=True))
        made.append(Comparison(f"q{number}", "pair", prompt, said))
    return made


def better(asked: Comparison, draw: Random) -> tuple[int, int]:
    """Words of even number are good; where there are as many, a coin decides."""
    one, two = (sum(1 - 2 * (int(word[4:]) % 2) for word in said.text.split()) for said in asked.candidates)
    return (1, 2) if (one - two or draw.choice((-1, 1))) > 0 else (2, 1)


def judge(store: Store, asked: Sequence[Comparison], arms: Mapping[str, str], project: str) -> None:
    """Ask the pairs as chosen by `arms` (pair → random or active), and let ann judge each."""
    draw = Random(5)
    store.ask(asked, project)
    Choosing(store.database).put(project, [Choice(name, 0.5, arm) for name, arm in arms.items()], actor="t", how={})
    store.answer_many([Judgement(f"j{one.id}", one.id, "ann", better(one, draw)) for one in asked])


def judge_alike(store: Store, project: str) -> None:
    """Arms that are alike: choosing saves nothing."""
    asked = pairs(240)
    judge(store, asked, {one.id: "random" if number % 2 else "active" for number, one in enumerate(asked)}, project)


def judge_taught(store: Store, project: str, easy: str = "random") -> None:
    """Three fifths of the arm `easy` are one easy pair over and over; the other arm has none of these."""
    asked, hard = pairs(900, easy=300), "active" if easy == "random" else "random"
    arms = {one.id: easy if number >= 600 or number % 3 == 0 else hard for number, one in enumerate(asked)}
    judge(store, asked, arms, project)
