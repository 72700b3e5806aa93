"""What an admin may do with models, on a page or by a program: see them, order answers, cancel, take up again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from starlette.applications import Starlette

from tutelage.store.answers import read_answers
from tutelage.store.audit import record
from tutelage.store.prompts import Which, adopt, answers_to, by_content, content_of, counts, prompts_in
from tutelage.store.store import Store
from tutelage.types import Comparison, Prompt, QuestionKind, Sample
from tutelage.web._admin_page import Desk
from tutelage.web._asking import Wanted, ask_about
from tutelage.web._models import Model, models_below
from tutelage.web._orders import WAITING, Job, Order, RefusedError, TakenError, TooFastError, signal_name
from tutelage.web._sampling import Jobs
from tutelage.web._security import Buckets
from tutelage.web._settings import Settings

MOST = 100_000
"""answers of one order"""
LEAST: Mapping[QuestionKind, int] = {"pair": 2, "ranking": 3, "best": 3}
"""answers to a prompt that a question of this kind takes; others take one"""
Source = Which | Literal["given"]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What an admin asks for, its numbers within their limits."""

    model: str
    source: Source
    answers: int
    max_new_tokens: int
    temperature: float
    seed: int
    asked: Wanted


class SamplingDesk:
    """One admin at one project.

    Raises:
        RefusedError: (each method that does something) it cannot be done; the sentence says why.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk, self.project, self.actor = desk, desk.project(), desk.session.rater
        self.jobs: Jobs | None = desk.request.app.state.sampling

    @property
    def sampler_folder(self) -> str:
        """The folder of models, as it was named; empty where there is none."""
        return str(self.jobs.sampler.models) if self.jobs else ""

    def models(self) -> list[Model]:
        """All below the folder, those that cannot answer too."""
        return models_below(self.jobs.sampler.models) if self.jobs else []

    def counts(self) -> dict[Which, int]:
        """Prompts to choose from."""
        return counts(self.desk.store.database, self.project)

    def job(self) -> Job | None:
        """The newest of this project."""
        return self.jobs.of(self.project) if self.jobs else None

    def order(self, wish: Wish, given: Sequence[Prompt] = ()) -> Job:
        """Order answers.

        Args:
            given: the prompts where `wish.source` says so; they are kept in the project.
        """
        jobs = self._jobs()
        if (job := jobs.of(self.project)) and job.state in WAITING:
            raise TakenError("busy")
        self._check_model(wish.model)
        least = LEAST.get(wish.asked.kind, 1) - (wish.source == "all" and wish.asked.kind in LEAST)  # one may be there
        if wish.answers < least:
            raise RefusedError("few_answers", kind=wish.asked.kind, least=least)
        self._count_start()
        prompts = self._prompts(wish.source, given)
        asked = {name: value for name, value in asdict(wish).items() if name not in ("source", "asked")}
        order = Order(**asked, **asdict(wish.asked), prompts=len(prompts))
        if order.wanted > MOST:
            raise RefusedError("too_many", wanted=f"{order.wanted:,}", most=f"{MOST:,}")
        made = jobs.start(self.project, order, prompts, self.actor)
        if made is None:
            raise TakenError("busy")
        self._note("sample answers", asdict(order))
        return made

    def go_on(self) -> Job:
        """Take up what ended too early."""
        jobs = self._jobs()
        job = jobs.of(self.project)
        if job is not None:
            self._check_model(job.order.model)
        self._count_start()
        made = jobs.go_on(self.project, self.actor)
        if made is None:
            raise TakenError("over")
        self._note("sample answers", asdict(made.order) | {"from": jobs.answered(self.project)})
        return made

    def cancel(self) -> Job:
        """End what is under way; its answers are kept."""
        jobs = self._jobs()
        if not jobs.cancel(self.project):
            raise TakenError("over")
        self._note("cancel sampling", {"answers": jobs.answered(self.project)})
        job = jobs.of(self.project)
        assert job is not None, "what was cancelled is known"
        return job

    def discard(self) -> None:
        """Forget what is over, and throw away what it left."""
        jobs = self._jobs()
        answers = jobs.answered(self.project)
        if not jobs.discard(self.project):
            raise TakenError("over")
        self._note("discard sampling", {"answers": answers})

    def told(self) -> dict[str, Any] | None:
        """The newest job in numbers, and `said` in the admin's language; None: nothing was ordered, or it is gone."""
        job = self.job()
        if job is None or self.jobs is None:
            return None
        done = job.order.wanted if job.state == "done" else self.jobs.answered(self.project)
        rate = (done - job.kept) / max(time.time() - job.started, 1e-3) if job.state == "running" else 0.0
        left = (job.order.wanted - done) / rate if rate > 0 and done < job.order.wanted else None
        return {
            "state": job.state,
            "done": min(done, job.order.wanted),
            "wanted": job.order.wanted,
            "questions": job.questions,
            "seconds_left": None if left is None else round(left),
            "order": asdict(job.order),
            "said": self._said(job, done, left),
        }

    def _said(self, job: Job, done: int, left: float | None) -> dict[str, str]:
        words = self.desk.words["sampling"]
        name: str = job.state
        if name == "running" and done in (0, job.order.wanted):
            name = "asking" if done else "loading"
        gaps = {"done": f"{done:,}", "wanted": f"{job.order.wanted:,}", "questions": f"{job.questions:,}"}
        line = words["lines"][name].format(**gaps)
        rest = ""
        if left is not None:
            rest = words["left"]["seconds"] if left < 60 else words["left"]["minutes"].format(n=round(left / 60))
        what = words["wrong"].get(job.what, job.what)
        if job.signal:
            what = words["killed"].format(signal=signal_name(job.signal))
        elif job.state == "failed" and not what:
            what = words["silent"]
        return {"state": words["states"][job.state], "line": line, "left": rest, "what": what, "fix": job.fix}

    def _jobs(self) -> Jobs:
        if self.jobs is None:
            raise RefusedError("off")
        return self.jobs

    def _check_model(self, name: str) -> None:
        found = next((model for model in self.models() if model.name == name), None)
        if found is None:
            raise RefusedError("no_model")
        if found.problem:
            raise RefusedError(found.problem)

    def _prompts(self, source: Source, given: Sequence[Prompt]) -> Sequence[Prompt]:
        database = self.desk.store.database
        if source == "given":
            kept, new = adopt(database, self.project, given)
            if new:
                self._note("import prompts", {"prompts": new})
            return kept
        found = prompts_in(database, self.project, source)
        if not found:
            raise RefusedError("no_unanswered" if self.counts()["all"] else "no_prompts")
        return found

    def _count_start(self) -> None:
        starts: Buckets = self.desk.request.app.state.starts
        if not starts.take(self.desk.session.rater):
            raise TooFastError("too_fast")

    def _note(self, action: str, after: Mapping[str, Any]) -> None:
        record(self.desk.store.database, self.actor, action, self.project, after=dict(after))


def provide(app: Starlette, store: Store, settings: Settings) -> None:
    """Give an application its jobs; where the server has no models, none."""
    app.state.starts = Buckets(settings.limits.samplings_per_minute)
    sampler = settings.sampler
    app.state.sampling = Jobs(sampler, lambda job, file: _take_in(store, settings, job, file)) if sampler else None


def _take_in(store: Store, settings: Settings, job: Job, file: Path) -> int:
    """Make questions of a job's answers; how many were new.

    The prompts are the project's own, by what they say. Answers that were there already are asked about beside the new
    ones, never among themselves: so two models meet that answered one after the other.
    """
    own, read = by_content(prompts_in(store.database, job.project)), read_answers([file])
    samples = [replace(sample, prompt=own.get(content_of(sample.prompt), sample.prompt)) for sample in read]
    own_ids, order = {sample.id for sample in samples}, job.order
    asked_of = {sample.prompt.id: sample.prompt for sample in samples}
    there = [one for one in answers_to(store.database, job.project, asked_of.values()) if one.id not in own_ids]

    def make(pool: Sequence[Sample], *given: Any, **named: Any) -> list[Comparison]:
        assert settings.questions is not None, "who samples asks"
        made: list[Comparison] = settings.questions(pool, *given, **named)
        return [asked for asked in made if any(sample.id in own_ids for sample in asked.candidates)]

    wanted = Wanted(kind=order.kind, overlap=order.overlap, per_prompt=order.per_prompt, size=order.size)
    made, new = ask_about(store, make, [*there, *samples], job.project, wanted)
    if not made:
        raise RefusedError("no_questions")
    after = {"answers": len(samples), "questions": new, "kind": order.kind, "overlap": order.overlap}
    record(store.database, job.actor, "import answers", job.project, after=after | {"model": order.model})
    return new
