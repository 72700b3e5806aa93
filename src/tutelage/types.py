"""The nouns that people and files speak of: prompts, answers, questions to raters and their judgements (no torch)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: str
    """`system`, `user`, `assistant` or `tool`."""
    content: str


Text = str | tuple[Message, ...]
"""What a prompt or a completion may be: plain text, used as it is, or messages, rendered by the chat template."""


def plain(content: Text) -> str:
    """`content` as one string for people to read: a lone message as its content, several as `role: content` lines."""
    if isinstance(content, str):
        return content
    if len(content) == 1:
        return content[0].content
    return "\n".join(f"{message.role}: {message.content}" for message in content)


@dataclass(frozen=True)
class Prompt:
    """What the model is asked.

    Example:
        >>> Prompt("p1", (Message("user", "Summarise: …"),), {"topic": "news"})
    """

    id: str
    content: Text
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Other columns of the row, carried along and never shown to a model."""


@dataclass(frozen=True)
class Sample:
    """What a model answered."""

    id: str
    prompt: Prompt
    text: str
    finish: Finish = "stop"
    """`stop`: the model ended it itself; `length`: it was cut off."""
    model: str = ""
    """Which model wrote it (a folder, with @ and a hash of its weights where it is known, or a hub id); never shown to
    raters."""
    seed: int = 0
    checkpoint: str = ""
    """Digest of the weights that wrote it (`Policy.digest`), where it is known; never shown to raters. Models are told
    apart by their names, not by this: a model that learns has another one at every step."""


def same_words(one: str, two: str) -> bool:
    """Whether two texts read the same to people: they differ at most in white space at their ends."""
    return one.strip() == two.strip()


@dataclass(frozen=True)
class TextRow:
    """One document of a pretraining corpus."""

    text: str
    where: str = ""


@dataclass(frozen=True)
class Demonstration:
    """A prompt and the answer to learn (SFT). With `messages`, every assistant turn is learned."""

    prompt: Text
    completion: Text
    where: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Preference:
    """Two answers to one prompt, the better one first."""

    prompt: Text
    chosen: Text
    rejected: Text
    margin: float = 0.0
    """By how much (strength of preference), subtracted inside the Bradley–Terry sigmoid."""
    weight: float = 1.0
    """How much this pair counts in the mean (1 = one certain judgement)."""
    group: str = ""
    """Pairs that stem from one question (a ranking) share it."""
    where: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    tie: bool = False
    """Neither is better, and `chosen` is only the first; such rows are read where a method can learn from them."""


@dataclass(frozen=True)
class Unpaired:
    """One answer, good or bad."""

    prompt: Text
    completion: Text
    label: bool
    where: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    """How much this answer counts in the mean (1 = one certain judgement)."""


@dataclass(frozen=True)
class Ranking:
    """Several answers to one prompt with their ranks (1 = best, equal = tie)."""

    prompt: Text
    completions: tuple[Text, ...]
    ranks: tuple[int, ...]
    rater: str = ""
    weight: float = 1.0
    where: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rating:
    """One rater's score of one aspect of an answer."""

    rater: str
    aspect: str
    score: float
    scale: tuple[float, float] = (0.0, 5.0)
    """Lowest and highest possible score."""
    weight: float = 1.0
    """How far the rater is believed (1 = fully): how much the score counts beside those of others."""


@dataclass(frozen=True)
class Rated:
    """An answer with the scores that raters gave it."""

    prompt: Text
    completion: Text
    ratings: tuple[Rating, ...]
    where: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)


QuestionKind = Literal["pair", "ranking", "scores", "best", "edit"]


@dataclass(frozen=True)
class Comparison:
    """A question to raters: one prompt and its candidate answers.

    2 for a pair, k for a ranking or the best of k, 1 for scores or an answer to edit.
    """

    id: str
    kind: QuestionKind
    prompt: Prompt
    candidates: tuple[Sample, ...]
    aspects: tuple[str, ...] = ()
    """What to score, for `scores`."""
    scale: tuple[float, float] = (0.0, 5.0)
    probability: float = 1.0
    """With which probability it was selected to be asked (for inverse-propensity weights)."""


@dataclass(frozen=True)
class Judgement:
    """One rater's answer to one question; in the order of `Comparison.candidates`, whatever order was shown."""

    id: str
    """Made by the client before the first send: the same id is the same judgement."""
    comparison: str
    rater: str
    ranks: tuple[int, ...] = ()
    """For `pair`, `ranking` and `best`: 1 = best, equal = tie."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """For `scores`: aspect → score on the question's scale."""
    shown: tuple[int, ...] = ()
    """The order in which the candidates stood on the screen: shown[0] is the index of the leftmost."""
    both_bad: bool = False
    strength: int = 0
    """How much better the best is, 0 = not asked."""
    comment: str = ""
    seconds: float = 0.0
    edit: str = ""
    """For `edit`: the answer as the rater would have it; it becomes a demonstration."""
    flags: tuple[str, ...] = ()
    """What else is to be said of the answers: unsafe, off_topic, cannot_judge."""
    confirmed: bool = False
    """The rater left the start as it was (a ranking, a slider) and said that it is to stay so."""
