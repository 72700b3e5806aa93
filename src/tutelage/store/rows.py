"""Between the nouns of `types` and rows of the tables, and what must hold before a row is written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from tutelage.errors import DataError
from tutelage.types import Comparison, Finish, Judgement, Message, Prompt, QuestionKind, Sample, Text

JSON = Any
Row = Mapping[Any, Any]
"""column → value, as the database gives it"""


LATER: Mapping[str, Any] = {
    "edit": "", "flags": [], "confirmed": False, "extra": False, "models": [], "checkpoints": [], "probability": 1.0,
    "purpose": "", "place": 1e9,
}  # fmt: skip
"""What rows stand for that were written before these columns were there."""


@dataclass(frozen=True)
class Question:
    """What is needed to check an answer without loading the texts."""

    id: str
    kind: QuestionKind
    candidates: int
    aspects: tuple[str, ...]
    scale: tuple[float, float]


def text_json(content: Text) -> JSON:
    """A string as it is, messages as `[{"role", "content"}]`."""
    if isinstance(content, str):
        return content
    return [{"role": message.role, "content": message.content} for message in content]


def text_of(value: JSON) -> Text:
    """The inverse of `text_json`."""
    if isinstance(value, str):
        return value
    return tuple(Message(turn["role"], turn["content"]) for turn in value)


def prompt_row(project: str, prompt: Prompt) -> dict[str, Any]:
    """A row of `prompts`."""
    return {"project": project, "id": prompt.id, "content": text_json(prompt.content), "meta": dict(prompt.meta)}


def sample_row(project: str, sample: Sample) -> dict[str, Any]:
    """A row of `samples`."""
    return {
        "project": project,
        "id": sample.id,
        "prompt": sample.prompt.id,
        "text": sample.text,
        "finish": sample.finish,
        "model": sample.model,
        "seed": sample.seed,
        "checkpoint": sample.checkpoint,
    }


def question_row(project: str, comparison: Comparison, overlap: int, created: float) -> dict[str, Any]:
    """A row of `questions`; `created` in seconds since 1970."""
    return {
        "id": comparison.id,
        "project": project,
        "kind": comparison.kind,
        "prompt": comparison.prompt.id,
        "candidates": [sample.id for sample in comparison.candidates],
        "aspects": list(comparison.aspects),
        "scale": list(comparison.scale),
        "probability": comparison.probability,
        "overlap": overlap,
        "created": created,
    }


def judgement_row(judgement: Judgement, rubric: str, created: float, withdrawn: bool = False) -> dict[str, Any]:
    """A row of `judgements`; `created` in seconds since 1970."""
    return {
        "id": judgement.id,
        "question": judgement.comparison,
        "rater": judgement.rater,
        "ranks": list(judgement.ranks),
        "scores": dict(judgement.scores),
        "shown": list(judgement.shown),
        "both_bad": judgement.both_bad,
        "strength": judgement.strength,
        "comment": judgement.comment,
        "seconds": judgement.seconds,
        "rubric": rubric,
        "withdrawn": withdrawn,
        "created": created,
        "edit": judgement.edit,
        "flags": list(judgement.flags),
        "confirmed": judgement.confirmed,
    }


def prompt_of(row: Row) -> Prompt:
    """The prompt in a row."""
    return Prompt(row["id"], text_of(row["content"]), row["meta"])


def sample_of(row: Row, prompt: Prompt) -> Sample:
    """The sample in a row; its prompt is in another table. Files of before say nothing of checkpoints."""
    finish, checkpoint = cast(Finish, row["finish"]), row.get("checkpoint", "")
    return Sample(row["id"], prompt, row["text"], finish, row["model"], row["seed"], checkpoint)


def question_of(row: Row) -> Question:
    """What a row of `questions` asks for."""
    low, high = row["scale"]
    kind = cast(QuestionKind, row["kind"])
    return Question(row["id"], kind, len(row["candidates"]), tuple(row["aspects"]), (low, high))


def judgement_of(row: Row) -> Judgement:
    """The judgement in a row, whether or not it was withdrawn."""
    return Judgement(
        id=row["id"],
        comparison=row["question"],
        rater=row["rater"],
        ranks=tuple(row["ranks"]),
        scores=dict(row["scores"]),
        shown=tuple(row["shown"]),
        both_bad=row["both_bad"],
        strength=row["strength"],
        comment=row["comment"],
        seconds=row["seconds"],
        edit=row.get("edit", ""),
        flags=tuple(row.get("flags", ())),
        confirmed=row.get("confirmed", False),
    )


def check_comparison(comparison: Comparison) -> None:
    """Raise DataError unless a person could answer it."""
    where, count = f"question {comparison.id!r}", len(comparison.candidates)
    wanted = {"pair": count == 2, "ranking": count >= 2, "best": count >= 2, "scores": count == 1, "edit": count == 1}
    if not comparison.id or comparison.kind not in wanted:
        raise DataError(
            f"a question needs an id, and a kind of {', '.join(wanted)}; found {comparison.kind!r}", where=where
        )
    if not wanted[comparison.kind]:
        raise DataError(f"{count} candidates do not make a question of kind {comparison.kind!r}", where=where)
    if any(sample.prompt.id != comparison.prompt.id for sample in comparison.candidates):
        raise DataError("its candidates answer different prompts", where=where)
    if comparison.kind == "scores" and not comparison.aspects:
        raise DataError("a question for scores names at least one aspect", where=where)
    if not 0 < comparison.probability <= 1:
        raise DataError(f"selection probability {comparison.probability} is not in (0, 1]", where=where)


def check_judgement(judgement: Judgement, question: Question) -> None:
    """Raise DataError unless `judgement` answers `question`: a rank per candidate, or a score per aspect."""
    where = f"judgement {judgement.id!r} of {judgement.rater!r} on {question.id!r}"
    if not judgement.id or not judgement.rater:
        raise DataError("a judgement needs an id and a rater", where=where)
    if judgement.shown and sorted(judgement.shown) != list(range(question.candidates)):
        raise DataError(
            f"shown {list(judgement.shown)} is not an order of {question.candidates} candidates", where=where
        )
    if question.kind == "scores":
        _check_scores(judgement.scores, question, where)
    elif question.kind == "edit":
        if not judgement.edit.strip():
            raise DataError("the edited answer is empty", where=where)
    elif len(judgement.ranks) != question.candidates or min(judgement.ranks) != 1:
        raise DataError(
            f"ranks {list(judgement.ranks)} do not rank {question.candidates} candidates",
            where=where,
            fix="one rank for each candidate, 1 = best, equal = tie",
        )


def _check_scores(scores: Mapping[str, float], question: Question, where: str) -> None:
    missing = [aspect for aspect in question.aspects if aspect not in scores]
    unknown = [aspect for aspect in scores if aspect not in question.aspects]
    if missing or unknown:
        raise DataError(f"aspects missing: {missing}, not asked: {unknown}", where=where)
    low, high = question.scale
    for aspect, score in scores.items():
        if not (math.isfinite(score) and low <= score <= high):
            raise DataError(f"score {score} of {aspect!r} is not on the scale {low:g} to {high:g}", where=where)


def chunks(values: Sequence[str], size: int = 5000) -> list[Sequence[str]]:
    """Pieces that fit into one `IN (…)` of SQLite (32 766 variables at most)."""
    return [values[start : start + size] for start in range(0, len(values), size)]
