"""What `rate ask`, `rate simulate` and `rate judge` share: questions made of sampled answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tutelage.cli._rate_export import kinds
from tutelage.cli._ui import UI
from tutelage.errors import DataError

if TYPE_CHECKING:
    from tutelage.types import Comparison, QuestionKind

KINDS: tuple[QuestionKind, ...] = ("pair", "ranking", "scores")


@dataclass(frozen=True, kw_only=True)
class Asking:
    """Which questions are made, and where they stand."""

    db: str
    """database of the ratings; made when it is not there"""
    samples: tuple[str, ...] = ()
    """answers as `tutelage sample` writes them; without, the open questions of the project are answered"""
    project: str = "default"
    """questions and judgements that belong together; not given: the only project there is"""
    kinds: tuple[str, ...] = KINDS
    """kinds of question made of --samples: pair, ranking, scores"""
    overlap: int = 3
    """raters per question"""
    pairs: int = 2
    """pairs per prompt; 0 = all"""
    ranking_size: int = 4
    """answers in a ranking, 3 to 9"""
    scored: int = 0
    """answers per prompt that are scored; 0 = all"""
    aspects: tuple[str, ...] = ("faithful", "concise", "fluent", "safe")
    """what is scored, 0 to 5"""
    seed: int = 0
    """which questions are drawn; same seed, same questions"""


def questions_of(config: Asking, ui: UI) -> list[Comparison]:
    """The questions of --samples; none without.

    Raises:
        DataError: the answers leave nothing to ask about.
    """
    from tutelage.labelers._pairing import Pairing, questions
    from tutelage.store.answers import read_answers

    pairing = Pairing(
        kinds=kinds(config.kinds, KINDS),
        pairs=config.pairs,
        ranking_size=config.ranking_size,
        scored=config.scored,
        aspects=config.aspects,
        seed=config.seed,
    )
    if not config.samples:
        return []
    made = questions(read_answers(config.samples), config.project, pairing)
    for reason, count in made.notes.items():
        ui.say(f"not asked about: {count} {reason}")
    if not made.comparisons:
        raise DataError("no question can be asked about these answers", where=", ".join(config.samples))
    return made.comparisons
