"""What tests of the rating application share: questions full of secrets, answers, new browsers."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.testclient import TestClient

from tutelage.types import Comparison, Message, Prompt, QuestionKind, Sample
from tutelage.web._settings import Limits

HOST = "127.0.0.1:8000"
SECRET = b"s" * 32
OPEN = Limits(requests_per_minute=1e6, joins_per_minute=1e6)
"""For tests that ask faster than people do."""

Ask = Callable[..., list[Comparison]]
Enter = Callable[..., TestClient]


def questions(count: int, kind: QuestionKind = "pair", answers: int = 2, name: str = "q") -> list[Comparison]:
    """Questions whose ids, prompts' meta, samples, models and their weights all tell what no rater may learn."""
    made: list[Comparison] = []
    for number in range(count):
        asked = (
            Message("user", f"Why is the sky blue? {number}"),
            Message("assistant", "Rayleigh."),
            Message("user", "再说"),
        )
        prompt = Prompt(f"SECRET-{name}{number}", asked, {"SECRET-meta": "SECRET-value"})
        count_of = 1 if kind in ("scores", "edit") else answers
        said = tuple(
            Sample(
                f"SECRET-{name}{number}-{j}",
                prompt,
                f"**Answer** {j} to {name}{number}",
                model=f"SECRET-model{j}",
                seed=7,
                checkpoint=f"SECRET-weights{j}",
            )
            for j in range(count_of)
        )
        aspects = ("faithful", "fluent") if kind == "scores" else ()
        made.append(Comparison(f"SECRET-{name}-{kind}-{number}", kind, prompt, said, aspects, probability=0.5))
    return made


def new_id() -> str:
    return str(uuid.uuid4())


def answer(task: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A judgement of a task, whatever its kind: the candidate shown first wins."""
    given: dict[str, Any] = {
        "id": new_id(),
        "task": task["id"],
        "shown": task["shown"],
        "confirmed": False,
        "seconds": 2.5,
    }
    if task["kind"] in ("pair", "ranking", "best"):
        given["ranks"] = [task["shown"].index(index) + 1 for index in range(len(task["shown"]))]
    elif task["kind"] == "scores":
        given["scores"] = {aspect["name"]: aspect["scale"][1] for aspect in task["aspects"]}
    else:
        given["edit"] = "A better answer. 更好。"
    return given | more


def take(client: TestClient, count: int = 1) -> list[dict[str, Any]]:
    reply = client.post("/api/v1/tasks/next", json={"n": count})
    assert reply.status_code == 200, reply.text
    return reply.json()["tasks"]


def door(app: Starlette) -> TestClient:
    """A browser that has never been here."""
    return TestClient(app, base_url=f"http://{HOST}", follow_redirects=False, headers={"origin": f"http://{HOST}"})
