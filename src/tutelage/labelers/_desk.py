"""What the rating server borrows: questions made of imported answers, and judgements as rows to train on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from tutelage.labelers._export import Export, Wanted, Weighting
from tutelage.labelers._pairing import Pairing, questions
from tutelage.store import transfer
from tutelage.store.labels import digest
from tutelage.store.store import Store
from tutelage.store.stream import cut_of
from tutelage.types import Comparison, QuestionKind, Sample


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
    """Rows of an export, as `tutelage rate export` writes them, one by one as they are read.

    Args:
        at: as it was then (seconds since 1970).
        without: raters that are left out (of everything but `raw`, which is the whole history).
    """
    cut = cut_of(store.database, at)
    if kind == "raw":
        yield from transfer.dump(store, project, cut)
        return
    made = Export(store, project, Wanted(kind, weights, pool=kind != "per-rater"), cut, without)
    yield from (row for part, row in made.rows() if part == "rows")
