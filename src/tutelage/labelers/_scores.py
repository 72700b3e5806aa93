"""Scores that raters give to answers: from a file, or from the store, where what is missing is asked and waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tutelage.data import formats
from tutelage.data.taste import named_taste
from tutelage.errors import TryAgainError, UsageError
from tutelage.labelers.simulated import Simulated, raters
from tutelage.rewards._named import People
from tutelage.rewards.human import Ask, Scales
from tutelage.statistics.severity import RaterScales
from tutelage.store.labels import digest
from tutelage.store.rows import text_json
from tutelage.store.store import OpenQuestion, Store
from tutelage.types import Comparison, Judgement, Prompt, Rating, Sample, Text, plain

Key = tuple[str, str]
"""prompt and answer, as text"""
_POLL = 1.0


def key(prompt: Text, answer: Text) -> Key:
    """What an answer is found by again: its content, whatever ids it had."""
    return plain(prompt), plain(answer)


class Recorded:
    """Scores from files of `rated` rows; whom they do not mention has none."""

    def __init__(self, paths: str) -> None:
        self.known: dict[Key, list[Rating]] = {}
        for row in formats.load(paths, "rated"):
            self.known.setdefault(key(row.prompt, row.completion), []).extend(row.ratings)

    def __call__(self, samples: Sequence[Sample]) -> list[list[Rating]]:
        return [self.known.get(key(sample.prompt.content, sample.text), []) for sample in samples]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is asked of people about answers that nobody has scored."""

    project: str = "default"
    aspects: tuple[str, ...] = ("overall",)
    scale: tuple[float, float] = (0.0, 5.0)
    raters: int = 3
    """how many score each answer"""
    wait: float = 600.0
    """seconds to wait for them"""


class Live:
    """Scores from the store. An answer with fewer than `plan.raters` is asked about, at once, and waited for.

    Args:
        url: the database; it is opened for each call, so that the rating application can use it all the time.
        simulated: raters that answer in people's place.
        say: hears once per call that people are waited for.

    Raises:
        TryAgainError: the time is over and scores are missing; those that came stay, the same command goes on.
    """

    def __init__(
        self, url: str, plan: Plan, simulated: Simulated | None = None, say: Callable[[str], None] | None = None
    ) -> None:
        self.url, self.plan, self.simulated = url, plan, simulated
        self.say = say or (lambda text: None)
        with Store(url) as store:
            self.known = _all_scores(store, plan.project)

    def __call__(self, samples: Sequence[Sample]) -> list[list[Rating]]:
        wanted = {key(sample.prompt.content, sample.text): sample for sample in samples}
        found = {name: self._used(self.known.get(name, [])) for name in wanted}
        missing = {name: sample for name, sample in wanted.items() if self._raters(found[name]) < self.plan.raters}
        if missing:
            questions = {name: self._question(sample) for name, sample in missing.items()}
            with Store(self.url) as store:
                store.ask(questions.values(), self.plan.project, self.plan.raters)
                heard = self._wait(store, list(questions.values()))
            for name, question in questions.items():
                known = self.known.setdefault(name, [])
                known += [rating for rating in heard[question.id] if rating not in known]
                found[name] = self._used(known)
        return [found[key(sample.prompt.content, sample.text)] for sample in samples]

    def _used(self, ratings: Sequence[Rating]) -> list[Rating]:
        return [rating for rating in ratings if rating.aspect in self.plan.aspects]

    def _raters(self, ratings: Sequence[Rating]) -> int:
        return len({rating.rater for rating in ratings})

    def _question(self, sample: Sample) -> Comparison:
        """The same content is the same question in every process, so a resumed run asks nothing twice."""
        plan = self.plan
        prompt = Prompt(f"prompt-{digest(text_json(sample.prompt.content))}", sample.prompt.content, sample.prompt.meta)
        said = Sample(f"said-{digest(prompt.id, sample.text)}", prompt, sample.text, sample.finish, sample.model)
        name = f"reward-{digest(plan.project, prompt.id, said.id, plan.raters, *plan.aspects, *plan.scale)}"
        return Comparison(name, "scores", prompt, (said,), plan.aspects, plan.scale)

    def _wait(self, store: Store, questions: Sequence[Comparison]) -> dict[str, list[Rating]]:
        plan, asked = self.plan, {question.id: question for question in questions}
        end, told = time.monotonic() + plan.wait, False
        while True:
            given: dict[str, list[Judgement]] = {name: [] for name in asked}
            for judgement in store.judgements_of(list(asked)):
                given[judgement.comparison].append(judgement)
            short = [name for name, judgements in given.items() if len(judgements) < plan.raters]
            if not short:
                return {name: _ratings(asked[name], judgements) for name, judgements in given.items()}
            if self.simulated is not None and not told:
                self.simulated.answer(store, [_open(asked[name], given[name], plan.raters) for name in short])
            elif time.monotonic() >= end:
                raise TryAgainError(
                    f"after {plan.wait:g} s {len(short)} of {len(asked)} answers lack scores by {plan.raters} raters",
                    where=f"{self.url}, project {plan.project}",
                    fix="let people rate (`tutelage rate`), then run the same command again; wait=SECONDS waits longer",
                )
            else:
                if not told:
                    self.say(f"waiting for people: {len(short)} answers to be scored by {plan.raters} raters each")
                time.sleep(min(_POLL, max(0.0, end - time.monotonic())))
            told = True


def scales_of(source: Recorded | Live, shrinkage: float) -> RaterScales:
    """What is known of the raters' severity before the first answer is asked about.

    Each score is told as the reward sees it: on 0..1, the mean over the aspects of one answer.
    """
    scales = RaterScales(shrinkage)
    for ratings in source.known.values():
        given: dict[str, list[float]] = {}
        for rating in ratings:
            if isinstance(source, Live) and rating.aspect not in source.plan.aspects:
                continue
            low, high = rating.scale
            given.setdefault(rating.rater, []).append((rating.score - low) / (high - low))
        scales.add((rater, sum(scores) / len(scores)) for rater, scores in given.items())
    return scales


def asking(say: Callable[[str], None]) -> Callable[[People], tuple[Ask, Scales | None]]:
    """Makes what `people:…` names: from files, or from the store with people or simulated raters behind it."""

    def made(wanted: People) -> tuple[Ask, Scales | None]:
        if is_recorded(wanted.source):
            source: Recorded | Live = Recorded(wanted.source)
        else:
            names = raters(wanted.raters, wanted.seed) if wanted.raters else ()
            if names and wanted.n > len(names):
                raise UsageError(f"n={wanted.n} wants more raters than the {len(names)} of '{wanted.raters}'")
            simulated = Simulated(names, named_taste(wanted.taste), wanted.seed) if names else None
            aspects = wanted.aspects or ("overall",)
            plan = Plan(project=wanted.project, aspects=aspects, raters=wanted.n, wait=wanted.wait)
            source = Live(wanted.source, plan, simulated, say)
        return source, scales_of(source, wanted.shrinkage) if wanted.zscore else None

    return made


def is_recorded(file: str) -> bool:
    """Whether a name is that of rows in files, rather than of a database."""
    return Path(file).is_dir() or file.endswith((".jsonl", ".json", ".jsonl.gz", ".json.gz", ".parquet"))


def _all_scores(store: Store, project: str) -> dict[Key, list[Rating]]:
    asked = {comparison.id: comparison for comparison in store.comparisons(project, ["scores"])}
    known: dict[Key, list[Rating]] = {}
    for judgement in store.judgements(project) if asked else []:
        if comparison := asked.get(judgement.comparison):
            said = comparison.candidates[0]
            known.setdefault(key(comparison.prompt.content, said.text), []).extend(_ratings(comparison, [judgement]))
    return known


def _ratings(question: Comparison, judgements: Sequence[Judgement]) -> list[Rating]:
    return [
        Rating(judgement.rater, aspect, judgement.scores[aspect], question.scale)
        for judgement in judgements
        for aspect in question.aspects
    ]


def _open(question: Comparison, given: Sequence[Judgement], wanted: int) -> OpenQuestion:
    return OpenQuestion(question, wanted - len(given), frozenset(judgement.rater for judgement in given))
