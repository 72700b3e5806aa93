"""People's judgements while it trains: answers become questions in the store, and the step waits until they are judged.

What was asked and what counted is in the database alone (`store.batches`): a run that was killed posts the same batch
again, finds it, and goes on with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import Any, TypeVar

from tutelage.errors import MissingInputError, ServiceError, TryAgainError, UsageError
from tutelage.labelers._asker import asker
from tutelage.labelers._posing import Key, Plan, Posed, check_project, guesses_of, items_of, key, known_of, pose
from tutelage.labelers._trainer import Trainer
from tutelage.labelers._voice import Say, Voice
from tutelage.labelers.simulated import Simulated
from tutelage.rewards.human import MODEL
from tutelage.statistics.severity import RaterScales
from tutelage.store.batches import Batch, Batches, Item, Settled
from tutelage.store.labels import digest
from tutelage.store.rows import text_json
from tutelage.store.store import OpenQuestion, Store
from tutelage.types import Comparison, Rating, Sample

T = TypeVar("T")


class Live:
    """Asks people in a project of the store about the answers of each training step.

    Args:
        url: the database; a server may hand its questions out at the same time.
        trainer: whose steps they are; None = nobody trains, and people are not asked.
        simulated: raters that answer in people's place.
        say, warn: hear how it stands, and what must be heard even where `say` is quiet.
        shrinkage: where scores are levelled: how many scores make a rater known; None = they are not.

    Raises:
        DataError: people are to be asked in a project that is not there, beside others that are.
        TryAgainError: of `wait`: the time is over and the plan says stop, or the batch was cancelled.
    """

    def __init__(
        self,
        url: str,
        plan: Plan,
        trainer: Trainer | None = None,
        simulated: Simulated | None = None,
        say: Say | None = None,
        warn: Say | None = None,
        *,
        shrinkage: float | None = None,
        poll: float = 0.5,
    ) -> None:
        self.url, self.plan, self.trainer, self.simulated = url, plan, trainer, simulated
        self.say = (trainer and trainer.say) or say or (lambda text: None)
        self.warn = (trainer and trainer.warn) or warn or self.say
        self.poll, self.shrinkage = poll, shrinkage
        self.live = simulated is None
        self.scales = RaterScales(shrinkage or 0.0)
        self._said: dict[Key, list[Rating]] = {}
        self._won: dict[Key, dict[str, float]] = {}
        self._closed: list[str] = []
        self._ahead = trainer.ahead if trainer is not None else set[str]()
        if trainer is not None:
            self._open(create=not trainer.rehearsal)  # what cannot be used is found before anything is sampled

    def wait(self, samples: Sequence[Sample], step: int, guesses: Sequence[float] = ()) -> list[bool]:
        """Post, wait, close; which of `samples` something is known of now."""
        if self.trainer is not None and self.trainer.rehearsal:
            return self._made_up(samples)
        if self.trainer is None and self.simulated is None:
            raise self._nobody(len(samples))
        name = self._name(samples, step)
        self._lasting(lambda: self._heard(name, samples, step, guesses))
        self._closed.append(name)
        self._ahead.discard(name)
        found = [self._is_known(sample) for sample in samples]
        if not all(found):
            self.warn(f"the deadline is over: nobody has judged {found.count(False)} of {len(found)} answers")
        return found

    def post(self, samples: Sequence[Sample], step: int) -> None:
        """Post a batch that is waited for later. It has twice the time: people have two batches before them."""
        if self.simulated is not None or self.trainer is None or self.trainer.rehearsal:
            return  # whoever answers at once is asked when the step comes
        name = self._name(samples, step)
        if name not in self._ahead:
            self._lasting(lambda: self._put(name, samples, step))
            self._ahead.add(name)

    def cancel(self, samples: Sequence[Sample], step: int) -> None:
        """The step of a batch that was posted will not come: its questions are handed out no more."""
        if self.simulated is not None or self.trainer is None or self.trainer.rehearsal:
            return
        name = self._name(samples, step)
        self._lasting(lambda: self._give_up(name))
        self._ahead.discard(name)

    def __call__(self, samples: Sequence[Sample]) -> list[list[Rating]]:
        unknown = [sample for sample in samples if key(sample) not in self._said]
        if unknown and self.simulated is not None:
            self._ask_simulated(unknown)
        elif unknown:
            raise self._nobody(len(unknown))
        return [self._said[key(sample)] for sample in samples]

    def won(self, samples: Sequence[Sample]) -> list[dict[int, float]]:
        keys = [key(sample) for sample in samples]
        if any(one not in self._won for one in keys):
            raise self._nobody(sum(one not in self._won for one in keys))
        return [
            {
                place: self._won[one][other[1]]
                for place, other in enumerate(keys)
                if other[0] == one[0] and other[1] in self._won[one]
            }
            for one in keys
        ]

    def settle(self) -> None:
        """The step has taken in what was said."""
        if self._closed:
            self._lasting(self._consume)
            self._closed = []

    def level(self, rater: str, score: float) -> float:
        """The score as an ordinary rater would have given it, by all that was heard before this batch."""
        return self.scales.level(rater, score)

    def _open(self, create: bool) -> None:
        try:
            with Store(self.url, create=create) as store:
                if self.live:
                    check_project(self.plan, store, self.url)
        except MissingInputError:  # of a dry run, which makes nothing
            if create:
                raise

    def _name(self, samples: Sequence[Sample], step: int) -> str:
        """The batch's: of the run, the step and the answers, so that the same step of the same run finds it again."""
        plan = self.plan
        said = [[one.seed, one.id, text_json(one.prompt.content), one.text] for one in samples]
        asked = [plan.project, list(plan.aspects), plan.raters, plan.pairs]
        return f"batch-{digest(self._run(), step, asked, said)}"

    def _run(self) -> str:
        """The name under which the run asks."""
        return asker(self.trainer.folder, self.warn) if self.trainer is not None else "no run"

    def _lasting(self, act: Callable[[], T]) -> T:
        """Do it, again and again while the database is away: all there is to know is in it, and may be done twice."""
        away = False
        while True:
            try:
                done = act()
            except ServiceError as error:
                if self.trainer is None:
                    raise
                if not away:
                    self.warn(f"{error.what}; waiting until it answers again, nothing is lost. Ctrl-C ends the run")
                away = True
                self.trainer.leave()
                time.sleep(self.poll)
                continue
            if away:
                self.say("the database answers again")
            return done

    def _heard(self, name: str, samples: Sequence[Sample], step: int, guesses: Sequence[float]) -> None:
        """Wait for a batch until it is closed, and read what was said."""
        with Store(self.url) as store:
            posed = pose(self.plan, store, samples)
            batches = Batches(store.database)
            batch = self._post(store, batches, name, posed, step, self.plan.wait)
            told = guesses_of(self.plan, posed, samples, guesses)
            self._wait(store, batches, batch, posed, told)
            self._read(batches.settled(name), posed)
            if self.shrinkage is not None:
                heard = (self._wanted(ratings) for ratings in batches.heard_before(name))
                self.scales = _scales(heard, self.shrinkage)

    def _put(self, name: str, samples: Sequence[Sample], step: int) -> None:
        with Store(self.url) as store:
            posed = pose(self.plan, store, samples)
            self._post(store, Batches(store.database), name, posed, step, 2 * self.plan.wait)

    def _give_up(self, name: str) -> None:
        with Store(self.url) as store:
            batches = Batches(store.database)
            if batches.there(name):
                batches.cancel(name, actor=self._run())

    def _consume(self) -> None:
        with Store(self.url) as store:
            for name in self._closed:
                Batches(store.database).consume(name)

    def _post(self, store: Store, batches: Batches, name: str, posed: Posed, step: int, seconds: float) -> Batch:
        plan = self.plan
        items: list[Item] = []
        wanted: list[Comparison] = []
        if not batches.there(name):
            items = items_of(self.plan, batches, posed)
            wanted = [question for question, item in zip(posed.questions, items, strict=True) if item.question]
        told: dict[str, Any] = {"project": plan.project, "run": self._run(), "step": step}
        told |= {"kind": "pair" if plan.pairs else "scores", "beside": self._ahead, "checkpoint": posed.checkpoint}
        with store.database.writing():  # as one: a run killed in between would leave questions for nobody
            store.ask(wanted, plan.project, plan.raters)
            return batches.post(name, **told, items=items, wanted=plan.raters, seconds=seconds, late=plan.late)

    def _wait(self, store: Store, batches: Batches, batch: Batch, posed: Posed, guesses: Sequence[float]) -> None:
        """Until the batch is closed; the trainer may be killed at any moment of it."""
        voice = Voice(self.url, batches, self.say, self.warn)
        try:
            while True:
                if self.simulated is not None:
                    asked = {item.question for item in batches.settled(batch.id)}
                    _answer(store, self.simulated, [one for one in posed.questions if one.id in asked], self.plan)
                if self.simulated is not None or _due(batch):
                    batch = batches.close(batch.id, groups=posed.groups, guesses=guesses)
                if batch.state == "cancelled":
                    raise TryAgainError(
                        f"the batch of step {batch.step} was cancelled while the run waited for it",
                        where=f"{self.url}, project {batch.project}",
                        fix="the same command again asks again; --steps ends the run where it is",
                    )
                if batch.state != "open":
                    voice.end(batch)
                    return
                if batch.late == "stop" and batch.seconds_left <= 0:
                    raise TryAgainError(
                        f"the deadline is over, and {batch.items - batch.settled} of {batch.items} answers lack "
                        f"judgements by {batch.wanted} raters",
                        where=f"{self.url}, project {batch.project}",
                        fix="let people rate (`tutelage rate serve`), then run the same command again: it waits again",
                    )
                if batch.unasked:  # a rater whose scores were known beforehand was excluded while it waits
                    wanted = {place: posed.questions[place] for place in batch.unasked}
                    with store.database.writing():
                        store.ask(wanted.values(), batch.project, batch.wanted)
                        batch = batches.ask_too(batch.id, {place: one.id for place, one in wanted.items()})
                voice.tell(batch)
                if self.trainer is not None:
                    self.trainer.leave()
                time.sleep(self.poll)
                batch = batches.get(batch.id)
        except (KeyboardInterrupt, SystemExit):
            self.warn(
                f"stopped while waiting for people: {batch.missing} judgements on {batch.items - batch.settled} of "
                f"{batch.items} answers are missing. The batch stays open and people can go on; the same command goes "
                f"on waiting for it. `tutelage rate batches --db {self.url}` shows or cancels it."
            )
            raise

    def _read(self, settled: Sequence[Settled], posed: Posed) -> None:
        """What counted, by answer; nothing else of the step is remembered."""
        self._said, self._won = {}, {}
        if self.plan.pairs:
            self._won = {one: {} for one in posed.answers}
            for question, item in zip(posed.questions, settled, strict=True):
                self._read_pair(question, item)
            return
        for one, place in posed.places.items():
            item = settled[place]
            ratings = self._wanted(item.ratings)
            if not ratings and item.fallback is not None:
                ratings = [Rating(MODEL, MODEL, item.fallback, (0.0, 1.0))]
            self._said[one] = ratings

    def _wanted(self, ratings: Iterable[Rating]) -> list[Rating]:
        """Those on the aspects that the plan names; where it names none, on whatever was asked when it was posted: the
        rubric may have changed since."""
        return [rating for rating in ratings if not self.plan.aspects or rating.aspect in self.plan.aspects]

    def _read_pair(self, question: Comparison, item: Settled) -> None:
        given = [1.0 if said.ranks[0] < said.ranks[1] else 0.5 if said.ranks[0] == said.ranks[1] else 0.0
                 for said in item.judgements]  # fmt: skip
        share = fmean(given) if given else item.fallback
        first, second = (key(said) for said in question.candidates)
        for one, other, won in ((first, second, share), (second, first, None if share is None else 1 - share)):
            if won is not None:
                self._won[one][other[1]] = won

    def _is_known(self, sample: Sample) -> bool:
        if not self.plan.pairs:
            return bool(self._said.get(key(sample)))
        others = [one for one in self._won if one[0] == key(sample)[0] and one != key(sample)]
        return len(self._won[key(sample)]) == len(others)

    def _ask_simulated(self, samples: Sequence[Sample]) -> None:
        """Outside of training steps (held-out answers): simulated raters cost nothing, so they are asked at once."""
        assert self.simulated is not None
        with Store(self.url) as store:
            posed = pose(self.plan, store, samples)
            store.ask(posed.questions, self.plan.project, self.plan.raters)
            ids = [question.id for question in posed.questions]
            _answer(store, self.simulated, posed.questions, self.plan)
            given = store.judgements_of(ids)
        for one, place in posed.places.items():
            question = posed.questions[place]
            self._said[one] = [
                Rating(judgement.rater, aspect, judgement.scores[aspect], question.scale)
                for judgement in given
                if judgement.comparison == question.id
                for aspect in question.aspects
            ]

    def _made_up(self, samples: Sequence[Sample]) -> list[bool]:
        """A dry run asks nobody: what is recorded counts, the rest is made up, and said to be."""
        self._said, self._won = {}, {}
        told = {key(sample): _lot(sample) for sample in samples}
        aspect = (*self.plan.aspects, "overall")[0]
        known: dict[Key, list[Rating]] = {}
        try:
            with Store(self.url, create=False) as store:
                posed = pose(self.plan, store, samples)
                keys = {place: one for one, place in posed.places.items()}
                for place, told_of in known_of(self.plan, Batches(store.database), posed) if keys else []:
                    if told_of.ratings:  # else it was asked only
                        known.setdefault(keys[place], []).extend(told_of.ratings)
        except MissingInputError:
            self.say(f"there is no {self.url} yet: the run makes it")
        for one, lot in told.items():
            self._said[one] = known.get(one, [Rating("(made up)", aspect, lot, (0.0, 1.0))])
            others = {other[1]: float(lot > told[other]) for other in told if other[0] == one[0] and other != one}
            self._won[one] = others
        made = len(told) - len(known)
        if made:
            self.warn(f"dry run: nobody is asked; made-up scores stand in for {made} of {len(told)} answers")
        return [True] * len(samples)

    def _nobody(self, count: int) -> UsageError:
        return UsageError(
            f"{count} answers would be put before people, who are asked only about the answers of training steps",
            where=f"people:{self.url}",
            fix="name what they have said already (people:RATINGS.jsonl), a reward model trained on it, or simulated "
            "raters (?raters=default)",
        )


def _due(batch: Batch) -> bool:
    over = batch.seconds_left <= 0 and batch.late in ("train", "model")
    return batch.state == "open" and (batch.settled == batch.items or over)


def _answer(store: Store, simulated: Simulated, asked: Sequence[Comparison], plan: Plan) -> None:
    """Simulated raters answer what these questions still lack."""
    wanted, out = plan.raters, store.left_out(plan.project)
    given: dict[str, set[str]] = {question.id: set() for question in asked}
    for judgement in store.judgements_of(list(given)):
        given[judgement.comparison].add(judgement.rater)
    count = {name: len(raters - out) for name, raters in given.items()}
    short = [question for question in asked if count[question.id] < wanted]
    waiting = [OpenQuestion(one, wanted - count[one.id], frozenset(given[one.id])) for one in short]
    simulated.answer(store, waiting)


def _scales(heard: Iterable[Sequence[Rating]], shrinkage: float) -> RaterScales:
    """Each judgement once, as the reward sees it: on 0..1, the mean over its aspects."""
    scales = RaterScales(shrinkage)
    for ratings in heard:
        if ratings:
            scores = [(one.score - one.scale[0]) / (one.scale[1] - one.scale[0]) for one in ratings]
            scales.add([(ratings[0].rater, fmean(scores))])
    return scales


def _lot(sample: Sample) -> float:
    """A score from 0 to 1 that means nothing, the same each time."""
    return int(digest("made up", sample.prompt.id, sample.text)[:6], 16) / 0xFFFFFF
