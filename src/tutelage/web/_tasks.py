"""A task as its rater sees it: safe texts, an order of its own, the rubric's words, and nothing about who wrote it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

from tutelage.errors import DataError
from tutelage.store.projects import Aspect, ProjectSettings, Rubric
from tutelage.store.work import Task
from tutelage.types import Judgement, Message, Prompt
from tutelage.web._pages import LANGUAGES, words
from tutelage.web.text import to_html

JSON = dict[str, Any]


def task_json(task: Task, rater: str, secret: bytes, settings: ProjectSettings, rubric: Rubric) -> JSON:
    """What `POST /api/v1/tasks/next` gives."""
    asked = task.comparison
    order = order_of(asked.id, task.purpose, rater, len(asked.candidates), secret)
    texts = [asked.candidates[index].text for index in order]
    is_pair = asked.kind == "pair"
    return {
        "id": task.id,
        "kind": asked.kind,
        "prompt": [
            {"role": turn.role, "text": turn.content, "html": to_html(turn.content, under=1)}
            for turn in turns(asked.prompt)
        ],
        "candidates": [
            {"key": str(key), "text": text, "html": to_html(text, under=2)} for key, text in enumerate(texts)
        ],
        "shown": list(range(len(order))),  # the order in the database often tells who wrote what: it stays there
        "aspects": [aspect_json(rubric.aspect(name, asked.scale)) for name in asked.aspects],
        "options": {
            "tie": settings.tie,
            "both_bad": settings.both_bad and is_pair,
            "strength": settings.strength if is_pair else 0,
            "comment": settings.comment,
            "flags": list(settings.flags),
        },
        "rubric": task.rubric,
        "lease_seconds": int(task.lease_seconds),
        "repeated": False,  # for repeats too: who knows that they are checked answers otherwise
    }


def order_of(question: str, purpose: str, rater: str, count: int, secret: bytes) -> list[int]:
    """order[place on the screen] = candidate; a question that is asked again has an order of its own."""
    again = "\x00again" if purpose == "repeat" else ""
    return shown(f"{question}{again}", rater, count, secret)


def told_of(judgement: Judgement, order: Sequence[int]) -> Judgement:
    """An answer about places on the screen as one about the candidates.

    Pages that were open when the server was changed say both in the database's order, which is kept as it is.

    Raises:
        DataError: these are not the places that the task was given with.
    """
    places = list(range(len(order)))
    if list(judgement.shown) not in (places, list(order)):
        raise DataError(f"'shown' is not {places}, as the task says", fix="send the task's `shown` as it is")
    if list(judgement.shown) != places:
        return judgement
    ranks = judgement.ranks
    if len(ranks) == len(order):
        ranks = tuple(ranks[order.index(candidate)] for candidate in places)
    return replace(judgement, shown=tuple(order), ranks=ranks)


def shown(question: str, rater: str, count: int, secret: bytes) -> list[int]:
    """The order in which `rater` sees the candidates: theirs alone, the same each time, not to be guessed."""
    digest = hmac.new(secret, f"{question}\x00{rater}".encode(), hashlib.sha256).digest()
    order = list(range(count))
    Random(int.from_bytes(digest, "big")).shuffle(order)
    return order


def aspect_json(aspect: Aspect) -> JSON:
    """An aspect with its label and anchors in each language; a language that lacks falls back to the other.

    An aspect that nobody worded is called as the pages call the common ones (`aspects` of the words), else by its name.
    """
    known = {language: words(language)["aspects"].get(aspect.name, "") for language in LANGUAGES}
    return {
        "name": aspect.name,
        "label": _both(aspect.label or known, aspect.name),
        "scale": [aspect.scale[0], aspect.scale[1]],
        "step": aspect.step,
        "anchors": {point: _both(wording, "") for point, wording in aspect.anchors.items()},
    }


def turns(prompt: Prompt) -> tuple[Message, ...]:
    """A conversation; a plain prompt is one turn of the user."""
    return (Message("user", prompt.content),) if isinstance(prompt.content, str) else prompt.content


def _both(wording: Any, otherwise: str) -> JSON:
    english, chinese = wording.get("en", ""), wording.get("zh", "")
    return {"en": english or chinese or otherwise, "zh": chinese or english or otherwise}
