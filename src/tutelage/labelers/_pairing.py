"""Which questions to ask about sampled answers: pairs, rankings and scores, drawn at random by seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from random import Random

from tutelage.errors import UsageError
from tutelage.types import Comparison, QuestionKind, Sample

KINDS: tuple[QuestionKind, ...] = ("pair", "ranking", "scores")
ASPECTS = ("faithful", "concise", "fluent", "safe")
MOST = 9
"""answers in one question: each has a key of its own"""
USUAL = (0.0, 5.0)
"""the scale that an id does not name, so that ids made before scales were named stay"""


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """What is asked about the answers to one prompt."""

    kinds: tuple[QuestionKind, ...] = KINDS
    pairs: int = 2
    """pairs per prompt, drawn at random; 0 = all"""
    ranking_size: int = 4
    """answers in a ranking; there is one per prompt with three answers or more"""
    scored: int = 0
    """answers per prompt to be scored, drawn at random; 0 = all"""
    aspects: tuple[str, ...] = ASPECTS
    scale: tuple[float, float] = USUAL
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds:
            raise UsageError(f"unknown kinds of question: {unknown}", fix=f"choices: {', '.join(KINDS)}")
        if self.pairs < 0 or self.scored < 0 or not 3 <= self.ranking_size <= MOST:
            raise UsageError(f"pairs and scored are 0 or more, ranking_size 3 to {MOST}")


@dataclass(frozen=True)
class Questions:
    """Questions, and what could not be asked about."""

    comparisons: list[Comparison]
    notes: dict[str, int] = field(default_factory=dict)
    """reason → how many answers or prompts were left out"""


def questions(samples: Iterable[Sample], project: str, pairing: Pairing) -> Questions:
    """Questions with ids that depend on project, kind and content only, so that asking again asks nothing new.

    Empty answers and repeated answers to one prompt (white space at the ends apart: nobody sees it) are not asked
    about; they are counted in `notes`.
    """
    answers: dict[str, dict[str, Sample]] = {}
    notes = {"empty answers": 0, "repeated answers": 0, "prompts with fewer than two different answers": 0}
    for sample in samples:
        told = answers.setdefault(sample.prompt.id, {})
        words = sample.text.strip()
        if not words:
            notes["empty answers"] += 1
        elif words in told:
            notes["repeated answers"] += 1
        else:
            told[words] = sample
    comparisons: list[Comparison] = []
    for told in answers.values():
        notes["prompts with fewer than two different answers"] += len(told) < 2
        comparisons.extend(_about(list(told.values()), project, pairing))
    return Questions(comparisons, {reason: count for reason, count in notes.items() if count})


def _about(answers: Sequence[Sample], project: str, pairing: Pairing) -> list[Comparison]:
    """Questions about the different answers to one prompt."""
    if not answers:
        return []
    random = Random(_hash(str(pairing.seed), answers[0].prompt.id))
    found: list[Comparison] = []
    if "pair" in pairing.kinds:
        every = list(combinations(answers, 2))
        drawn = random.sample(every, pairing.pairs) if 0 < pairing.pairs < len(every) else every
        chance = len(drawn) / len(every) if every else 1.0
        found.extend(_question(project, "pair", pair, probability=chance) for pair in drawn)
    if "ranking" in pairing.kinds and len(answers) > 2:
        size = min(pairing.ranking_size, len(answers))
        ranked = random.sample(list(answers), size)
        found.append(_question(project, "ranking", ranked, probability=size / len(answers)))
    if "scores" in pairing.kinds:
        drawn = random.sample(list(answers), pairing.scored) if 0 < pairing.scored < len(answers) else answers
        for sample in drawn:
            asked = _question(project, "scores", [sample], pairing.aspects, len(drawn) / len(answers), pairing.scale)
            found.append(asked)
    return found


def _question(
    project: str,
    kind: QuestionKind,
    said: Sequence[Sample],
    aspects: tuple[str, ...] = (),
    probability: float = 1.0,
    scale: tuple[float, float] = USUAL,
) -> Comparison:
    parts = [project, kind, *aspects, said[0].prompt.id, *(f"{sample.id}\x01{sample.text}" for sample in said)]
    parts += [] if scale == USUAL else [f"{end:g}" for end in scale]
    name = f"{kind}-{_hash(*parts):032x}"
    return Comparison(name, kind, said[0].prompt, tuple(said), aspects, scale, probability=probability)


def _hash(*parts: str) -> int:
    return int.from_bytes(hashlib.blake2b("\x00".join(parts).encode(), digest_size=16).digest(), "big")
