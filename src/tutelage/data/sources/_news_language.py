"""What a language must offer to the news world: its word lists and sentence patterns, and which names are held out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from zlib import crc32

HELD_OUT_EVERY = 8
"""About one in so many combinations of the last two pieces is kept for the test split."""


@dataclass(frozen=True)
class Combined:
    """Words made of pieces; those kept for the test are new combinations of pieces that training has seen.

    Example:
        >>> cities = Combined((("Port", "Lake"), ("Alder", "Marlow")), joint=" ")
    """

    pieces: tuple[tuple[str, ...], ...]
    """One list per position; the last two decide what is held out."""
    ending: str = ""
    joint: str = ""
    """Stands between the last two pieces."""

    def words(self, held_out: bool) -> list[str]:
        """All words of one split, in a fixed order."""
        return [word for word, test in self._all() if test == held_out]

    def _all(self) -> Iterator[tuple[str, bool]]:
        *front, left, right = self.pieces
        for head in product(*front):
            for (i, a), (j, b) in product(enumerate(left), enumerate(right)):
                # by place, not by spelling: what is held out is then the same in every language
                test = crc32(f"{i}+{j}".encode()) % HELD_OUT_EVERY == 0
                yield "".join(head) + a + self.joint + b + self.ending, test


@dataclass(frozen=True)
class Quantity:
    """Something that is counted in the news."""

    surface: str
    """The fact as it must be quoted, with `{n}`."""
    clause: str
    """A short clause for a summary."""
    sentences: tuple[str, ...]
    """Full sentences for an article."""
    question: str


@dataclass(frozen=True)
class Language:
    """One language of the news world; patterns use `{who} {what} {where} {when} {amount}`."""

    code: str
    people: Combined
    cities: Combined
    events: Combined
    """Actions × objects."""
    days: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    stop: str
    """Ends a sentence."""
    space: str
    """Stands between two sentences."""
    leads: tuple[str, ...]
    """First sentences of an article: who, what, where, when."""
    fillers: tuple[str, ...]
    distractors: tuple[str, ...]
    """Sentences that name another person or another city."""
    summaries: tuple[str, ...]
    """Patterns of phrases that may be empty: `{first}` or `{when}`, `{who}`, `{where}`, `{what}`, `{amount}`."""
    someone: str
    in_place: str
    on_day: str
    day_first: str
    amount_tails: tuple[str, ...]
    headlines: tuple[str, ...]
    bulletins: tuple[str, ...]
    """Radio news of one day: each reads the same `{headlines}`."""
    comma: str
    recaps: tuple[str, ...]
    tails: tuple[str, ...]
    """Empty talk that makes a summary too long."""
    slurs: tuple[str, ...]
    """Stand before a name; a word from `unsafe` in each."""
    sneers: tuple[str, ...]
    """Stand before a whole sentence; a word from `unsafe` in each."""
    unsafe: tuple[str, ...]
    subjects: tuple[str, ...]
    """Nameless subjects for translation; the same order in every language."""
    questions: tuple[tuple[str, str], ...]
    """(question, answer) patterns."""
    ask_summary: str
    ask_question: str
    ask_headline: str
    ask_translation: str
    window: tuple[int, int]
    """Shortest and longest summary that counts as concise, in words (English) or characters (Chinese)."""

    @cached_property
    def actions(self) -> tuple[str, ...]:
        return self.events.pieces[0]

    @cached_property
    def objects(self) -> tuple[str, ...]:
        return self.events.pieces[1]
