"""Finds and reads what a report shows: run folders, evaluations, summaries; any part may be missing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tutelage.errors import DataError, MissingInputError

Row = dict[str, Any]
_SKIP = {"checkpoints", "events", "model", "parts"}
_STAGES = ("pretrain", "sft", "reward", "dpo", "ppo")
"""Runs stand on the page in the order in which they are made; other commands after these."""
_MOST_ROWS = 200_000
_MOST_CHARACTERS = 20_000


@dataclass(frozen=True)
class RunFolder:
    """One training run.

    Example:
        >>> run.name, len(run.rows), run.alarms
        ('ppo', 60, ['step 12: …'])
    """

    name: str
    """Its path below the folder that was named."""
    path: Path
    command: str
    rows: tuple[Row, ...]
    """`metrics.jsonl`, steps only."""
    alarms: tuple[str, ...]
    samples: tuple[Row, ...]
    config: str
    lineage: str


@dataclass(frozen=True)
class EvalFolder:
    """One evaluation."""

    name: str
    path: Path
    content: Row
    """`eval.json`"""
    answers: tuple[Row, ...]
    """`answers.jsonl`"""
    questions: tuple[Row, ...]
    """`judgements.jsonl`"""


@dataclass
class Found:
    """Everything below the folders that were named."""

    roots: list[Path] = field(default_factory=list)
    runs: list[RunFolder] = field(default_factory=list)
    evals: list[EvalFolder] = field(default_factory=list)
    summary: Row = field(default_factory=dict)
    summary_source: str = ""
    questions: list[tuple[str, tuple[Row, ...]]] = field(default_factory=list)
    """(source, questions with their judgements) that belong to no evaluation."""
    people: list[tuple[str, Row]] = field(default_factory=list)
    """(source, what a person's judgements were worth), from `people.json` of a demo"""
    unreadable: list[tuple[str, int]] = field(default_factory=list)
    """(file, lines left out)"""


def discover(folders: Sequence[Path]) -> Found:
    """Read every run, evaluation and summary in `folders` and up to three levels below.

    Raises:
        MissingInputError: a folder is not there.
        DataError: nothing in any of them can be shown, or a JSON file is broken.
    """
    found = Found(list(folders))
    for root in folders:
        if not root.is_dir():
            raise MissingInputError(
                "there is no such run folder", where=str(root), fix="give the --out folder of a run"
            )
        for path in _below(root, 3):
            _read_folder(root, path, found)
    if not (found.runs or found.evals or found.summary):
        raise DataError(
            "nothing to report: no metrics.jsonl, eval.json or summary.json",
            where=", ".join(map(str, folders)),
            fix="give the --out folder of a training run, of `tutelage eval` or of `tutelage demo`",
        )
    found.runs.sort(key=lambda run: (_STAGES.index(run.command) if run.command in _STAGES else len(_STAGES), run.name))
    return found


def _read_folder(root: Path, path: Path, found: Found) -> None:
    name = path.relative_to(root).as_posix()
    name = root.resolve().name if name == "." else name
    evaluated = (path / "eval.json").is_file()  # holds its summary itself
    if (path / "summary.json").is_file() and not evaluated and not found.summary:
        found.summary, found.summary_source = _json(path / "summary.json"), _label(root, path / "summary.json")
    if (path / "people.json").is_file():
        found.people.append((_label(root, path / "people.json"), _json(path / "people.json")))
    if (path / "metrics.jsonl").is_file():
        found.runs.append(_run(root, path, name, found))
    questions = tuple(_lines(root, path / "judgements.jsonl", found))
    if evaluated:
        answers = tuple(_lines(root, path / "answers.jsonl", found))
        found.evals.append(EvalFolder(name, path, _json(path / "eval.json"), answers, questions))
    if questions:
        found.questions.append((_label(root, path / "judgements.jsonl"), questions))
    for database in sorted(path.glob("*.db")):
        _read_store(root, database, bool(questions), found)


def _run(root: Path, path: Path, name: str, found: Found) -> RunFolder:
    rows = list(_lines(root, path / "metrics.jsonl", found))
    steps = tuple(row for row in rows if isinstance(row.get("step"), int) and "event" not in row)
    config = _text(path / "config.yaml")
    first = config.partition("\n")[0]
    return RunFolder(
        name=name,
        path=path,
        command=first.removeprefix("# tutelage ").strip() if first.startswith("# tutelage ") else "",
        rows=steps,
        alarms=tuple(_alarm(row) for row in rows if "event" in row),
        samples=tuple(_lines(root, path / "samples.jsonl", found)),
        config=config,
        lineage=_text(path / "lineage.json"),
    )


def _read_store(root: Path, path: Path, told_already: bool, found: Found) -> None:
    """The judgements of a rating database, unless a `judgements.jsonl` beside it tells them."""
    from tutelage.eval.winrate import told
    from tutelage.store.store import Store

    if told_already:
        return
    with Store(path, create=False) as store:
        for project in store.projects():
            rows = told(store.comparisons(project), store.judgements(project))
            found.questions.append((f"{_label(root, path)} › {project}", tuple(rows)))


def _alarm(row: Row) -> str:
    words = str(row.get("message") or row.get("text") or row.get("event"))
    advice = str(row.get("advice") or "")
    step = f"step {row.get('step')}: "
    return (words if words.startswith("step ") or "step" not in row else step + words) + (
        f" — {advice}" if advice else ""
    )


def _below(folder: Path, depth: int) -> Iterator[Path]:
    yield folder
    if depth == 0:
        return
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.is_symlink() and child.name not in _SKIP and not child.name.startswith("."):
            yield from _below(child, depth - 1)


def _lines(root: Path, path: Path, found: Found) -> Iterator[Row]:
    """Objects of a JSONL file; a torn or broken line is left out and counted (the run may still be writing)."""
    if not path.is_file():
        return
    bad = 0
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in islice(file, _MOST_ROWS):
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if isinstance(row, dict):
                yield row
            else:
                bad += 1
    if bad:
        found.unreadable.append((_label(root, path), bad))


def _json(path: Path) -> Row:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            f"not a JSON file: {error}", where=str(path), fix="run the command that wrote it again"
        ) from error
    if not isinstance(value, dict):
        raise DataError("not a JSON object", where=str(path), fix="run the command that wrote it again")
    return value


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")[:_MOST_CHARACTERS] if path.is_file() else ""


def _label(root: Path, path: Path) -> str:
    """How a file is named on the page: relative to the folder that was named, never an absolute path."""
    return f"{root.resolve().name}/{path.relative_to(root).as_posix()}"
