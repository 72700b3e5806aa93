"""From answers to questions, as the admin's forms ask for them: what an import and a sampling have in common."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from starlette.datastructures import UploadFile

from tutelage.data import formats
from tutelage.errors import DataError
from tutelage.store.projects import Aspect, Projects
from tutelage.store.store import Store
from tutelage.types import Comparison, QuestionKind, Sample
from tutelage.web._admin_forms import Fields, kind_of, number, one

LIMITS: Mapping[str, tuple[int, int]] = {"overlap": (1, 100), "per_prompt": (0, 100), "size": (2, 9)}
"""field → least, most"""
USUAL = {"per_prompt": 2, "size": 4}
"""field → what is meant where nothing is said; an overlap is the project's"""
_ENDINGS = (".jsonl.gz", ".jsonl", ".json.gz", ".json", ".txt")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which questions are to be made of answers."""

    kind: QuestionKind
    overlap: int
    """people who judge each"""
    per_prompt: int
    """0 = as many as possible"""
    size: int
    """answers in a ranking or a best-of"""


def read_wanted(fields: Fields, usual: QuestionKind, words: Mapping[str, Any]) -> tuple[Wanted | None, str]:
    """What a form asks for, or what is wrong with it."""
    chosen: dict[str, int] = {}
    for name, (least, most) in LIMITS.items():
        value, wrong = number(one(fields, name), least, most, True, words["form"])
        if wrong:
            return None, f"{words['questions'].get(name, words['settings'].get(name, name))}: {wrong}"
        chosen[name] = int(value)
    return Wanted(kind=kind_of(one(fields, "kind"), usual), **chosen), ""


def ask_about(
    store: Store, make: Callable[..., Any], samples: Sequence[Sample], project: str, wanted: Wanted
) -> tuple[int, int]:
    """Put questions about answers before the raters; how many can be made, and how many of them are new.

    Args:
        make: as `Settings.questions`.
    """
    told = {"per_prompt": wanted.per_prompt, "size": wanted.size}
    aspects = Projects(store.database).rubric(project).aspects
    scales = _by_scale(aspects) if wanted.kind == "scores" else {(0.0, 5.0): []}
    comparisons: list[Comparison] = []
    for scale, names in scales.items():
        comparisons += make(samples, project, wanted.kind, **told, aspects=names, scale=scale)
    Random(project).shuffle(comparisons)  # an order drawn once: who stops half way has a fair sample
    return len(comparisons), store.ask(comparisons, project, wanted.overlap) if comparisons else 0


def _by_scale(aspects: Sequence[Aspect]) -> dict[tuple[float, float], list[str]]:
    """Scale → the aspects on it: a question has one scale, so there is one question for each."""
    found: dict[tuple[float, float], list[str]] = {}
    for aspect in aspects:
        found.setdefault(aspect.scale, []).append(aspect.name)
    return found or {(0.0, 5.0): []}


@contextmanager
def uploaded(upload: UploadFile) -> Iterator[Path]:
    """The upload as a file of our own, under a name of ours with the ending of theirs."""
    told = (upload.filename or "").lower()
    ending = next((ending for ending in _ENDINGS if told.endswith(ending)), ".jsonl")
    with tempfile.TemporaryDirectory(prefix="tutelage-import-") as folder:
        path = Path(folder) / f"rows{'.jsonl' if ending == '.txt' else ending}"
        with path.open("wb") as file:
            shutil.copyfileobj(upload.file, file)
        yield path


def holds_prompts(path: Path) -> bool:
    """Whether the rows are prompts that nobody has answered."""
    try:
        return formats.detect_kind(path) == "prompt"
    except DataError:
        return False
