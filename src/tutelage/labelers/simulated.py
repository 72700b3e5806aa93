"""Raters with a hidden taste and human faults: severity, noise, carelessness, a favourite side, malice.

A rater perceives the hidden quality u of an answer (0–1, `taste(meta, text)["overall"]`) as u + noise, and then
- pair: prefers what seems better by more than `tie_width`, the answer on the left gaining `left_bias`;
- ranking: orders what it perceives, close neighbours sharing a rank;
- scores: perceives each aspect with noise, takes off `severity` and rounds to whole points of the scale.
All randomness comes from (seed, rater, question): who answers when, and in which process, changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from tutelage.errors import DataError, UsageError
from tutelage.labelers._base import Labeler, Progress
from tutelage.store.store import OpenQuestion, Store
from tutelage.types import Comparison, Judgement, Sample

Taste = Callable[[Mapping[str, Any], str], Mapping[str, float]]
_BATCH = 2000
"""Judgements per transaction: a kill loses at most these, and they are given again the same."""


@dataclass(frozen=True)
class Rater:
    """One simulated person.

    Example:
        >>> Rater("ann", noise=0.1, severity=0.5)
    """

    name: str
    noise: float = 0.10
    """standard deviation of what is perceived, on the scale of quality 0–1"""
    severity: float = 0.0
    """points of a 0–5 scale taken off every score"""
    tie_width: float = 0.05
    """perceived differences below this are ties"""
    left_bias: float = 0.0
    """what standing leftmost adds to the perceived quality"""
    careless: float = 0.0
    """how often it clicks without reading"""
    adversarial: bool = False
    """prefers what is worse"""


DEFAULT: tuple[Rater, ...] = (
    Rater("ada", noise=0.06),
    Rater("bo", noise=0.10, severity=0.6),
    Rater("chen", noise=0.08, severity=-0.4, tie_width=0.08),
    Rater("dina", noise=0.14, severity=0.3),
    Rater("emeka", noise=0.10, tie_width=0.03),
    Rater("fang", noise=0.16, severity=-0.7),
    Rater("gita", noise=0.12, severity=0.9, tie_width=0.06),
    Rater("careless", noise=0.15, careless=0.7),
    Rater("lefty", noise=0.12, left_bias=0.45),
    Rater("adversary", noise=0.10, adversarial=True),
)
"""The ten of the demo: seven of different care and severity, and three that no majority should trust."""


def raters(name: str, seed: int = 0) -> tuple[Rater, ...]:
    """`default` (the ten), or `fresh:N`: N ordinary raters that have not been seen before, different for each seed.

    Raises:
        UsageError: neither of these.
    """
    if name == "default":
        return DEFAULT
    kind, _, count = name.partition(":")
    if kind == "fresh" and count.isdecimal() and int(count) > 0:
        return tuple(_fresh(number, seed) for number in range(1, int(count) + 1))
    raise UsageError(f"'{name}' does not name simulated raters", fix="choices: default, fresh:N (such as fresh:5)")


def _fresh(number: int, seed: int) -> Rater:
    random = _random(seed, "fresh", str(number))
    name = f"fresh-{seed}-{number}"
    return Rater(name, random.uniform(0.06, 0.16), random.gauss(0.0, 0.5), random.uniform(0.03, 0.08))


class Simulated(Labeler):
    """Answers every open question by as many of `raters` as it still wants.

    Args:
        raters: who; a question is always given to the same ones of them.
        taste: the hidden quality of an answer, from the prompt's meta and the answer's text: `overall` and the aspects
            that are asked for, each 0–1.
    """

    def __init__(self, raters: Sequence[Rater], taste: Taste, seed: int = 0) -> None:
        self.raters = tuple(raters)
        self.taste = taste
        self.seed = seed
        self._known: dict[tuple[str, str], Mapping[str, float]] = {}
        names = [rater.name for rater in self.raters]
        if not names or len(set(names)) < len(names):
            raise UsageError(f"simulated raters need distinct names, found {names}")

    def label(self, store: Store, project: str = "default", progress: Progress | None = None) -> int:
        return self.answer(store, store.open_questions(project), progress)

    def answer(self, store: Store, waiting: Sequence[OpenQuestion], progress: Progress | None = None) -> int:
        """Answer these questions by as many raters as each still wants; how many judgements were given."""
        wanted = sum(min(question.missing, len(self.raters)) for question in waiting)
        given, batch = 0, list[Judgement]()
        for index, question in enumerate(waiting):
            batch.extend(self.judge(question.comparison, rater) for rater in self._chosen(question))
            if len(batch) >= _BATCH or index == len(waiting) - 1:
                given += store.answer_many(batch, rater_kind="simulated")
                batch.clear()
                if progress is not None:
                    progress(given, wanted)
        return given

    def _chosen(self, question: OpenQuestion) -> list[Rater]:
        """The first missing ones in an order that belongs to the question; to score, to the prompt.

        One person so scores all answers to a prompt, and the scores can be compared.
        """
        asked = question.comparison
        about = asked.prompt.id if asked.kind == "scores" else asked.id
        order = sorted(self.raters, key=lambda rater: _hash(self.seed, "turn", about, rater.name))
        return [rater for rater in order if rater.name not in question.raters][: question.missing]

    def judge(self, question: Comparison, rater: Rater) -> Judgement:
        """What `rater` answers; the same each time."""
        name = f"sim-{_hash(self.seed, 'judgement', rater.name, question.id):032x}"
        random = _random(self.seed, rater.name, question.id)
        shown = list(range(len(question.candidates)))
        random.shuffle(shown)
        seconds = round(random.lognormvariate(2.5, 0.6), 1)
        judgement = Judgement(name, question.id, rater.name, shown=tuple(shown), seconds=seconds)
        careless = random.random() < rater.careless
        if question.kind == "scores":
            return replace(judgement, scores=self._scores(question, rater, random, careless))
        seen = self._perceive(question, rater, random, careless, shown)
        ranks = _ranks(seen, rater.tie_width)
        if question.kind == "ranking":
            return replace(judgement, ranks=ranks)
        gap = abs(seen[0] - seen[1])
        strength = 0 if ranks == (1, 1) else 1 + (gap > 0.2) + (gap > 0.45)
        bad = ranks == (1, 1) and max(seen) < 0.1 and not careless
        return replace(judgement, ranks=ranks, strength=strength, both_bad=bad)

    def _perceive(
        self, question: Comparison, rater: Rater, random: Random, careless: bool, shown: Sequence[int]
    ) -> list[float]:
        if careless:
            return [random.random() for _ in question.candidates]
        seen: list[float] = []
        for index, sample in enumerate(question.candidates):
            quality = self._quality(sample, "overall")
            quality = (1 - quality if rater.adversarial else quality) + random.gauss(0.0, rater.noise)
            seen.append(quality + (rater.left_bias if shown[0] == index else 0.0))
        return seen

    def _scores(self, question: Comparison, rater: Rater, random: Random, careless: bool) -> dict[str, float]:
        low, high = question.scale
        scores: dict[str, float] = {}
        for aspect in question.aspects:
            quality = self._quality(question.candidates[0], aspect)
            quality = (1 - quality if rater.adversarial else quality) + random.gauss(0.0, rater.noise)
            quality = random.random() if careless else quality - rater.severity / 5
            scores[aspect] = float(min(high, max(low, round(low + (high - low) * quality))))
        return scores

    def _quality(self, sample: Sample, aspect: str) -> float:
        key = (sample.prompt.id, sample.text)
        if key not in self._known:
            self._known[key] = self.taste(sample.prompt.meta, sample.text)
        if aspect not in self._known[key]:
            raise DataError(
                f"the taste says nothing about {aspect!r}",
                fix=f"ask for some of: {', '.join(sorted(self._known[key]))}",
            )
        return self._known[key][aspect]


def _ranks(seen: Sequence[float], tie_width: float) -> tuple[int, ...]:
    """1 = best; whoever is closer than `tie_width` to the one just above shares its rank."""
    ranks = [0] * len(seen)
    order = sorted(range(len(seen)), key=lambda index: -seen[index])
    for position, index in enumerate(order):
        above = order[position - 1]
        same = position > 0 and seen[above] - seen[index] < tie_width
        ranks[index] = ranks[above] if same else position + 1
    return tuple(ranks)


def _hash(seed: int, *parts: str) -> int:
    text = "\x00".join((str(seed), *parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")


def _random(seed: int, *parts: str) -> Random:
    return Random(_hash(seed, *parts))
