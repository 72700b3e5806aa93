"""Reads sampled answers (`tutelage sample` writes them) from JSON lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from tutelage.data.jsonl import Problems, Row, read
from tutelage.store.labels import digest
from tutelage.store.rows import text_json, text_of
from tutelage.types import Prompt, Sample, Text, plain

_FIX = (
    "rows of prompt, completion and, if you like, model, checkpoint, finish, seed, meta; `tutelage sample` writes them"
)


def read_answers(paths: Iterable[str | Path]) -> list[Sample]:
    """The answers of some files; equal prompts share their id, whatever the files call them.

    Unlike training data an answer may be empty: it is what the model said.

    Raises:
        MissingInputError, DataError: with file:line:column, up to 20 at once.
    """
    problems = Problems()
    found: list[Sample] = []
    for path in paths:
        for row in read(path, problems):
            sample = _sample(row, problems)
            if sample is not None:
                found.append(sample)
    problems.raise_if_any()
    return found


def _sample(row: Row, problems: Problems) -> Sample | None:
    prompt, completion = _content(row, "prompt", problems), _content(row, "completion", problems)
    meta = row.data.get("meta") or {}
    finish = row.data.get("finish", "stop")
    seed, checkpoint = row.data.get("seed", 0), row.data.get("checkpoint", "")
    if not isinstance(meta, Mapping):
        problems.add(row.place("meta"), "'meta' is not an object", _FIX)
    elif finish not in ("stop", "length"):
        problems.add(row.place("finish"), f"'finish' is {finish!r}, not 'stop' or 'length'", _FIX)
    elif not isinstance(seed, int):
        problems.add(row.place("seed"), f"'seed' is {seed!r}, not a whole number", _FIX)
    elif not isinstance(checkpoint, str):
        problems.add(row.place("checkpoint"), f"'checkpoint' is {checkpoint!r}, not text", _FIX)
    elif prompt is not None and completion is not None:
        model, text = str(row.data.get("model", "")), plain(completion)
        asked = Prompt(f"prompt-{digest(text_json(prompt))}", prompt, dict(cast(Mapping[str, Any], meta)))
        name = f"{row.data.get('id', 'answer')}~{digest(asked.id, text, model, seed)[:12]}"
        return Sample(name, asked, text, finish, model, seed, checkpoint)
    return None


def _content(row: Row, name: str, problems: Problems) -> Text | None:
    """The text or messages of a column; a completion may be the empty string."""
    value = row.data.get(name)
    if isinstance(value, str) and (value.strip() or name == "completion"):
        return value
    turns: list[Any] = value if isinstance(value, list) else []
    if turns and all(
        isinstance(turn, Mapping) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)
        for turn in turns
    ):
        return text_of(turns)
    wrong = "is neither text nor messages, or is empty" if name in row.data else "is missing"
    problems.add(row.place(name), f"the column '{name}' {wrong}", _FIX)
    return None
