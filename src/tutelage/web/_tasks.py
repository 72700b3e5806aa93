"""A task as its rater sees it: safe texts, an order of its own, the rubric's words, and nothing about who wrote it."""

from __future__ import annotations

import hashlib
import hmac
from random import Random
from typing import Any

from tutelage.store.projects import Aspect, ProjectSettings, Rubric
from tutelage.store.work import Task
from tutelage.types import Message, Prompt
from tutelage.web.text import to_html

JSON = dict[str, Any]


def task_json(task: Task, rater: str, secret: bytes, settings: ProjectSettings, rubric: Rubric) -> JSON:
    """What `POST /api/v1/tasks/next` gives."""
    asked = task.comparison
    again = "\x00again" if task.purpose == "repeat" else ""
    order = shown(f"{asked.id}{again}", rater, len(asked.candidates), secret)
    texts = [asked.candidates[index].text for index in order]
    is_pair = asked.kind == "pair"
    return {
        "id": task.id,
        "kind": asked.kind,
        "prompt": [
            {"role": turn.role, "text": turn.content, "html": to_html(turn.content)} for turn in turns(asked.prompt)
        ],
        "candidates": [{"key": str(key), "text": text, "html": to_html(text)} for key, text in enumerate(texts)],
        "shown": order,
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


def shown(question: str, rater: str, count: int, secret: bytes) -> list[int]:
    """The order in which `rater` sees the candidates: theirs alone, the same each time, not to be guessed."""
    digest = hmac.new(secret, f"{question}\x00{rater}".encode(), hashlib.sha256).digest()
    order = list(range(count))
    Random(int.from_bytes(digest, "big")).shuffle(order)
    return order


def aspect_json(aspect: Aspect) -> JSON:
    """An aspect with its label and anchors in each language; a language that lacks falls back to the other."""
    return {
        "name": aspect.name,
        "label": _both(aspect.label, aspect.name),
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
