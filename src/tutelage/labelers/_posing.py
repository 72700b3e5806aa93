"""Answers as questions to people: the same content is the same question, whenever and wherever it is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from tutelage.errors import DataError, UsageError
from tutelage.store.batches import Batches, Item, Known, Late
from tutelage.store.labels import digest
from tutelage.store.people import People
from tutelage.store.projects import Projects
from tutelage.store.rows import text_json
from tutelage.store.store import Store
from tutelage.types import Comparison, Judgement, Prompt, Sample

Key = tuple[str, str]
"""prompt (digest of its content) and answer: what an answer is found by again, whatever ids it had"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is asked of people."""

    project: str = "default"
    aspects: tuple[str, ...] = ()
    """() = those of the project's rubric, or `overall`"""
    scale: tuple[float, float] = (0.0, 5.0)
    raters: int = 3
    """how many judge each answer"""
    wait: float = 600.0
    """seconds from posting a batch to its deadline"""
    late: Late = "wait"
    """what becomes of a batch at its deadline"""
    pairs: bool = False
    """ask which of two answers is better, instead of scores"""


@dataclass(frozen=True)
class Posed:
    """The answers of a step as questions."""

    places: dict[Key, int]
    """answer → its place among the distinct ones"""
    questions: list[Comparison]
    groups: list[list[int]]
    """items that belong to one prompt"""
    answers: list[Key]
    checkpoint: str
    """digest of the weights that wrote them all"""


def key(sample: Sample) -> Key:
    """What an answer is found by again."""
    return digest(text_json(sample.prompt.content)), sample.text


def check_project(plan: Plan, store: Store, db: str) -> None:
    """Refuse to ask where nobody looks: a mistyped project would wait for people for ever.

    Raises:
        DataError: there are other projects, and neither has this one a question or settings nor is a rater invited.
    """
    there = Projects(store.database).names()
    invited = People(store.database, b"").invitations(plan.project)
    if there and plan.project not in there and not any(one.role == "rater" for one in invited):
        names = " or ".join([*there[:20], *(["…"] if len(there) > 20 else [])])
        raise DataError(
            f"there is no project '{plan.project}' in the database, and nobody is invited to it",
            where=db,
            fix=f"--project {names}; a new one: tutelage rate invite --db {db} --project {plan.project}",
        )


def pose(plan: Plan, store: Store, samples: Sequence[Sample]) -> Posed:
    """Distinct answers (or pairs of them) as questions: the same content is the same question in every process."""
    said = {key(sample): sample for sample in samples}
    checkpoint = next((sample.checkpoint for sample in samples), "")
    by_prompt: dict[str, list[Key]] = {}
    for one in said:
        by_prompt.setdefault(one[0], []).append(one)
    if plan.pairs:
        if alone := [name for name, count in Counter(key(sample)[0] for sample in samples).items() if count < 2]:
            raise UsageError(
                f"ask=pairs compares the answers to one prompt, and {len(alone)} prompts have one answer only",
                fix="--answers 2 or more, or leave ask=pairs out: people then score each answer",
            )
        asked, groups = list[Comparison](), list[list[int]]()
        for keys in by_prompt.values():
            pairs = [(said[one], said[two]) for one, two in combinations(sorted(keys), 2)]
            groups.append(list(range(len(asked), len(asked) + len(pairs))))
            asked += [_question(plan, *pair) for pair in pairs]
        return Posed({}, asked, [group for group in groups if group], list(said), checkpoint)
    places = {one: place for place, one in enumerate(said)}
    aspects = _aspects(plan, store)
    asked = [_question(plan, sample, aspects=aspects) for sample in said.values()]
    return Posed(places, asked, [[places[one] for one in keys] for keys in by_prompt.values()], list(said), checkpoint)


def _aspects(plan: Plan, store: Store) -> tuple[tuple[str, ...], tuple[float, float]]:
    """What is scored, on which scale: as named, else as the project's rubric says, else `overall` from 0 to 5."""
    rubric = Projects(store.database).rubric(plan.project)
    known = {aspect.name: aspect.scale for aspect in rubric.aspects}
    names = plan.aspects or tuple(known) or ("overall",)
    scales = {known.get(name, plan.scale) for name in names}
    if len(scales) > 1:
        raise UsageError(
            f"the aspects {', '.join(names)} of project {plan.project} have different scales",
            fix=f"name those of one scale: people:DB#{names[0]}",
        )
    return names, scales.pop()


def _question(
    plan: Plan, *told: Sample, aspects: tuple[tuple[str, ...], tuple[float, float]] = ((), (0.0, 5.0))
) -> Comparison:
    names, scale = aspects
    first = told[0].prompt
    prompt = Prompt(f"prompt-{digest(text_json(first.content))}", first.content, first.meta)
    said = tuple(
        Sample(f"said-{digest(prompt.id, one.text)}", prompt, one.text, one.finish, one.model, 0, one.checkpoint)
        for one in told
    )
    ids = [one.id for one in said]
    if plan.pairs:
        return Comparison(f"reward-{digest(plan.project, 'pair', plan.raters, *ids)}", "pair", prompt, said)
    name = f"reward-{digest(plan.project, prompt.id, *ids, plan.raters, *names, *scale)}"
    return Comparison(name, "scores", prompt, said, names, scale)


def items_of(plan: Plan, batches: Batches, posed: Posed) -> list[Item]:
    """What is to be asked: an answer that enough raters have scored already is not, in whatever question it was."""
    if plan.pairs:
        return [Item(question.id) for question in posed.questions]
    own: dict[int, list[Judgement]] = {}
    others: dict[int, list[Judgement]] = {}
    for place, known in known_of(plan, batches, posed):
        same = known.question == posed.questions[place].id
        (own if same else others).setdefault(place, []).extend(known.judgements)
    items: list[Item] = []
    for place, question in enumerate(posed.questions):
        elsewhere, all_of_it = others.get(place, []), [*others.get(place, []), *own.get(place, [])]
        enough = len({judgement.rater for judgement in all_of_it}) >= plan.raters
        known = tuple(judgement.id for judgement in (all_of_it if enough else elsewhere))
        items.append(Item(None if enough else question.id, known))
    return items


def known_of(plan: Plan, batches: Batches, posed: Posed) -> list[tuple[int, Known]]:
    """What people said of the same answers on the same aspects, with the answers' places."""
    asked = {(one.prompt.id, one.candidates[0].text): place for place, one in enumerate(posed.questions)}
    found: list[tuple[int, Known]] = []
    for known in batches.known(plan.project, sorted({one.prompt.id for one in posed.questions})):
        place = asked.get((known.prompt, known.text))
        if place is not None:
            aspects = frozenset(posed.questions[place].aspects)
            if known.aspects == aspects or (plan.aspects and aspects < known.aspects):
                found.append((place, known))
    return found


def guesses_of(plan: Plan, posed: Posed, samples: Sequence[Sample], guesses: Sequence[float]) -> list[float]:
    """For each item what a model says of it: the score, or 1, ½, 0 for a pair."""
    if not guesses:
        return []
    told = {key(sample): guess for sample, guess in zip(samples, guesses, strict=True)}
    if not plan.pairs:
        return [told[one] for one in posed.places]
    pairs = [[told[key(said)] for said in one.candidates] for one in posed.questions]
    return [0.5 if first == second else float(first > second) for first, second in pairs]
