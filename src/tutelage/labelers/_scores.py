"""Scores that raters give to answers: from a file, or from people who are asked while it trains (`_live.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tutelage.data import formats
from tutelage.data.taste import named_taste
from tutelage.errors import UsageError
from tutelage.labelers._live import Live, Plan, Trainer
from tutelage.labelers.simulated import Simulated, raters
from tutelage.rewards._named import People
from tutelage.rewards.human import Ask, Scales
from tutelage.statistics.severity import RaterScales
from tutelage.types import Rating, Sample, Text, plain

Key = tuple[str, str]
"""prompt and answer, as text"""


def key(prompt: Text, answer: Text) -> Key:
    """What an answer is found by again: its content, whatever ids it had."""
    return plain(prompt), plain(answer)


class Recorded:
    """Scores from files of `rated` rows; whom they do not mention has none.

    Where rows say how far each rater is believed (`rater_weights`, as `rate export` writes them), scores weigh so much.
    """

    def __init__(self, paths: str) -> None:
        self.known: dict[Key, list[Rating]] = {}
        for row in formats.load(paths, "rated"):
            trust = row.meta.get("rater_weights") or {}
            ratings = [replace(one, weight=float(trust.get(one.rater, 1.0))) for one in row.ratings]
            self.known.setdefault(key(row.prompt, row.completion), []).extend(ratings)

    def __call__(self, samples: Sequence[Sample]) -> list[list[Rating]]:
        return [self.known.get(key(sample.prompt.content, sample.text), []) for sample in samples]


class Settled(RaterScales):
    """Scales of scores that are all counted already: hearing them again adds nothing."""

    def __init__(self, scores: Iterable[tuple[str, float]], shrinkage: float) -> None:
        super().__init__(shrinkage)
        super().add(scores)

    def add(self, scores: Iterable[tuple[str, float]]) -> None:
        return

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        return


class Levels:
    """The scales of a live source: of everything that was heard before the batch at hand (see `Live.level`)."""

    def __init__(self, live: Live) -> None:
        self.live = live

    def add(self, scores: Iterable[tuple[str, float]]) -> None:
        return

    def level(self, rater: str, score: float) -> float:
        return self.live.level(rater, score)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        return


def scales_of(source: Recorded, shrinkage: float, aspects: Sequence[str] = ()) -> RaterScales:
    """The raters' severity by all that is recorded.

    Each score is told as the reward sees it: on 0..1, the mean over the aspects of one answer.
    """
    told: list[tuple[str, float]] = []
    for ratings in source.known.values():
        given: dict[str, list[float]] = {}
        for rating in ratings:
            if not aspects or rating.aspect in aspects:
                low, high = rating.scale
                given.setdefault(rating.rater, []).append((rating.score - low) / (high - low))
        told += [(rater, sum(scores) / len(scores)) for rater, scores in given.items()]
    return Settled(told, shrinkage)


def asking(
    say: Callable[[str], None], warn: Callable[[str], None] | None = None, trainer: Trainer | None = None
) -> Callable[[People], tuple[Ask | Live, Scales | None]]:
    """Makes what `people:…` names: from files, or from the store with people or simulated raters behind it.

    Args:
        trainer: the run that asks; None = nobody trains, and people are not to be asked.
    """

    def made(wanted: People) -> tuple[Ask | Live, Scales | None]:
        if is_recorded(wanted.source):
            source = Recorded(wanted.source)
            return source, scales_of(source, wanted.shrinkage, wanted.aspects) if wanted.zscore else None
        names = raters(wanted.raters, wanted.seed) if wanted.raters else ()
        if names and wanted.n > len(names):
            raise UsageError(f"n={wanted.n} wants more raters than the {len(names)} of '{wanted.raters}'")
        if trainer is None and not names:
            raise UsageError(
                "people are asked about the answers of training steps only, not about what is measured or looked at",
                where=f"people:{wanted.source}",
                fix="name what they have said already (people:RATINGS.jsonl, as `tutelage rate export --kind rated` "
                "writes it), a reward model trained on it, or simulated raters (?raters=default)",
            )
        simulated = Simulated(names, named_taste(wanted.taste), wanted.seed) if names else None
        plan = Plan(
            project=wanted.project,
            aspects=wanted.aspects,
            raters=wanted.n,
            wait=wanted.wait,
            late=wanted.late,
            pairs=wanted.ask == "pairs",
        )
        shrinkage = wanted.shrinkage if wanted.zscore else None
        live = Live(wanted.source, plan, trainer, simulated, say, warn, shrinkage=shrinkage)
        return live, Levels(live) if wanted.zscore else None

    return made


def is_recorded(file: str) -> bool:
    """Whether a name is that of rows in files, rather than of a database."""
    return Path(file).is_dir() or file.endswith((".jsonl", ".json", ".jsonl.gz", ".json.gz", ".parquet"))
