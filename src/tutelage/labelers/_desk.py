"""What the rating server borrows: questions made of imported answers, and judgements as rows to train on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from tutelage.errors import DataError
from tutelage.labelers._consensus import Weighting, consensus
from tutelage.labelers._pairing import Pairing, questions
from tutelage.store import export, transfer
from tutelage.store.labels import digest
from tutelage.store.rows import text_json
from tutelage.store.store import Store
from tutelage.types import Comparison, Judgement, QuestionKind, Sample

KINDS = ("preference", "unpaired", "ranking", "rated", "demonstration", "raw")
"""kinds of export, the most used first"""


def questions_of(
    samples: Iterable[Sample],
    project: str,
    kind: QuestionKind,
    *,
    per_prompt: int = 2,
    size: int = 4,
    aspects: Sequence[str] = (),
    scale: tuple[float, float] = (0.0, 5.0),
) -> list[Comparison]:
    """Questions of one kind about sampled answers, drawn at random by a fixed seed: the same file, the same questions.

    Args:
        per_prompt: pairs, or answers to score or edit, of each prompt; 0 = all.
        size: answers in a ranking or a best-of.
    """
    if kind == "best":
        ranked = Pairing(kinds=("ranking",), ranking_size=max(3, size))
        return [_as(asked, "best") for asked in questions(samples, project, ranked).comparisons]
    if kind == "edit":
        single = Pairing(kinds=("scores",), scored=per_prompt, aspects=("edit",))
        return [_as(asked, "edit") for asked in questions(samples, project, single).comparisons]
    pairing = Pairing(
        kinds=(kind,),
        pairs=per_prompt,
        ranking_size=max(3, size),
        scored=per_prompt,
        aspects=tuple(aspects) or ("overall",),
        scale=scale,
    )
    return questions(samples, project, pairing).comparisons


def _as(asked: Comparison, kind: QuestionKind) -> Comparison:
    """The same question of another kind, under an id of its own."""
    name = f"{kind}-{digest(asked.id)}"
    return Comparison(name, kind, asked.prompt, asked.candidates, probability=asked.probability)


def rows_of(
    store: Store,
    project: str,
    kind: str,
    weights: Weighting = "reliability",
    at: float | None = None,
    without: Collection[str] = (),
) -> Iterator[dict[str, Any]]:
    """Rows of an export, as `tutelage rate export` writes them; `at` (seconds since 1970) = as it was then.

    Args:
        without: raters that are left out (of everything but `raw`, which is the whole history).
    """
    if kind not in KINDS:
        raise DataError(f"{kind[:40]!r} is no kind of export", fix=f"choices: {', '.join(KINDS)}")
    if kind == "raw":
        yield from transfer.dump(store, project)
        return
    found = consensus(store, project, weights, at=at, without=without)
    if kind == "demonstration":
        yield from _edited(found.comparisons, found.judgements)
        return
    believed = found.weights
    if kind == "ranking":
        yield from export.rankings(found.comparisons, found.judgements, believed).rows
    elif kind == "rated":
        yield from export.ratings(found.comparisons, found.judgements, believed).rows
    elif kind == "unpaired":
        model = found.model
        yield from export.unpaired(found.votes, model.first, found.comparisons, found.judgements, believed).rows
    else:
        weighted = weights != "none"
        yield from export.preferences(found.votes, found.model.first, found.model.ties, weighted=weighted).rows


def _edited(comparisons: Iterable[Comparison], judgements: Iterable[Judgement]) -> Iterator[dict[str, Any]]:
    asked = {comparison.id: comparison for comparison in comparisons if comparison.kind == "edit"}
    for judgement in judgements:
        comparison = asked.get(judgement.comparison)
        if comparison is not None:
            meta = {"judgement": judgement.id, "rater": judgement.rater, "answer": comparison.candidates[0].id}
            yield {"prompt": text_json(comparison.prompt.content), "completion": judgement.edit, "meta": meta}
