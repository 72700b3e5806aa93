"""The whole truth of a project as JSON lines and back: questions as asked, and every judgement ever made on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tutelage.store.rows import judgement_of, prompt_of, sample_of, text_json
from tutelage.store.store import Store
from tutelage.types import Comparison


def dump(store: Store, project: str) -> Iterator[dict[str, Any]]:
    """One row per question: its texts, and the history of its judgements, oldest first."""
    history: dict[str, list[dict[str, Any]]] = {}
    for row in store.history(project):
        history.setdefault(row["question"], []).append({key: value for key, value in row.items() if key != "number"})
    overlaps = store.overlaps(project)
    for comparison in store.comparisons(project):
        prompt = comparison.prompt
        yield {
            "question": comparison.id,
            "kind": comparison.kind,
            "prompt": {"id": prompt.id, "content": text_json(prompt.content), "meta": dict(prompt.meta)},
            "candidates": [
                {"id": said.id, "text": said.text, "finish": said.finish, "model": said.model, "seed": said.seed}
                for said in comparison.candidates
            ],
            "aspects": list(comparison.aspects),
            "scale": list(comparison.scale),
            "probability": comparison.probability,
            "overlap": overlaps[comparison.id],
            "judgements": history.get(comparison.id, []),
        }


def load(store: Store, rows: Iterable[Mapping[str, Any]], project: str) -> tuple[int, int]:
    """Put `dump` rows into a project; what is there already stays. (new questions, new judgement rows)."""
    asked: dict[int, list[Comparison]] = {}
    history: list[dict[str, Any]] = []
    for row in rows:
        prompt = prompt_of(row["prompt"])
        asked.setdefault(row["overlap"], []).append(
            Comparison(
                id=row["question"],
                kind=row["kind"],
                prompt=prompt,
                candidates=tuple(sample_of(said, prompt) for said in row["candidates"]),
                aspects=tuple(row["aspects"]),
                scale=(row["scale"][0], row["scale"][1]),
                probability=row["probability"],
            )
        )
        history.extend(row["judgements"])
    questions = sum(store.ask(comparisons, project, overlap) for overlap, comparisons in asked.items())
    history.sort(key=lambda row: row["created"])
    for row in history:
        judgement_of(row)  # a missing field is found before anything is written
    return questions, store.add_history(history)
