"""Other people's columns → ours: Alpaca, ShareGPT, prompt_messages, two responses with votes, KTO tags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tutelage.data._fields import Cells
from tutelage.data.jsonl import Row

NEEDS = {
    "text": ("text",),
    "prompt": ("prompt",),
    "demonstration": ("prompt", "completion"),
    "preference": ("chosen", "rejected"),
    "unpaired": ("prompt", "completion", "label"),
    "ranking": ("prompt", "completions", "ranks"),
    "rated": ("prompt", "completion", "ratings"),
}
"""The columns that each kind needs, under our names (`messages` may stand for prompt + completion)."""

_MEANT = {
    "text": ("content", "document", "body", "article", "story"),
    "prompt": ("question", "query", "input", "instruction", "source", "problem", "context", "post"),
    "completion": ("response", "answer", "output", "target", "summary", "reply", "solution", "label_text"),
    "chosen": ("preferred", "accepted", "better", "winner", "positive", "chosen_response", "response_chosen"),
    "rejected": ("dispreferred", "worse", "loser", "negative", "rejected_response", "response_rejected"),
    "label": ("kto_tag", "good", "desirable", "thumbs_up"),
    "completions": ("answers", "responses", "candidates", "outputs"),
    "ranks": ("ranking", "rank", "order"),
    "ratings": ("scores", "rating", "score"),
}


def open_row(row: Row, renamed: Mapping[str, str]) -> Cells:
    """The row's columns under our names; `renamed` is our name → the file's name."""
    data = row.data
    cells = Cells(row, dict(data), {})
    for ours, theirs in renamed.items():
        if theirs in data:
            cells.values.pop(theirs, None)
            cells.values[ours] = data[theirs]
            cells.origin[ours] = theirs
    if "conversations" in data and "messages" not in cells.values:
        _move(cells, "messages", "conversations")
        if isinstance(data.get("system"), str) and data["system"] and isinstance(cells.values["messages"], list):
            cells.values["messages"] = [{"role": "system", "content": data["system"]}, *cells.values["messages"]]
            cells.used.add("system")
    elif isinstance(data.get("instruction"), str) and not {"prompt", "messages"} & set(cells.values):
        _alpaca(cells)
    if isinstance(data.get("prompt_messages"), list):
        _move(cells, "prompt", "prompt_messages")
        cells.used.add("prompt")
    if "kto_tag" in data and "label" not in data:
        _move(cells, "label", "kto_tag")
    if {"response_a", "response_b", "votes"} <= set(data) and "completions" not in data:
        _votes(cells)
    if "messages" in cells and "prompt" not in cells.values and {"chosen", "completions"} & set(cells.values):
        _move(cells, "prompt", "messages")
    return cells


def detect(cells: Cells) -> str | None:
    """Which kind of data a row is."""
    has = {name for name in cells.values if name in cells}
    if "completions" in has and has & {"ranks", "votes"}:
        return "ranking"
    if {"chosen", "rejected"} <= has:
        return "preference"
    if "completion" in has and has & {"ratings", "scores"}:
        return "rated"
    answered = {"prompt", "completion"} <= has or ("messages" in has and "prompt" not in has)
    if answered and isinstance(cells.values.get("label"), bool):
        return "unpaired"
    if answered:
        return "demonstration"
    if "prompt" in has:
        return "prompt"
    return "text" if "text" in has else None


def missing(cells: Cells, kind: str) -> list[str]:
    """The columns that `kind` needs and the row has not."""
    stands_in = set[str]()
    if "messages" in cells:
        stands_in |= {"prompt", "completion"}
    if "votes" in cells:
        stands_in |= {"ranks"}
    if "scores" in cells:
        stands_in |= {"ratings"}
    return [name for name in NEEDS[kind] if name not in cells.values and name not in stands_in]


def guess(columns: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    """Which of the file's columns may be meant: our name → theirs (`…` where nothing fits)."""
    lower = {column.lower(): column for column in columns}
    return {name: next((lower[word] for word in _MEANT.get(name, ()) if word in lower), "…") for name in wanted}


def _move(cells: Cells, ours: str, theirs: str) -> None:
    actual = cells.origin.get(theirs, theirs)
    cells.values[ours] = cells.values.pop(theirs)
    cells.origin[ours] = actual


def _alpaca(cells: Cells) -> None:
    """instruction (+ input, system, history) → a prompt of messages; output → completion."""
    data: dict[str, Any] = cells.row.data
    turns = list[dict[str, str]]()
    if data.get("system"):
        turns.append({"role": "system", "content": data["system"]})
    for pair in data.get("history") or []:
        if isinstance(pair, list) and len(pair) == 2:
            turns += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    extra = data.get("input")
    question = data["instruction"] + (f"\n\n{extra}" if isinstance(extra, str) and extra.strip() else "")
    cells.values["prompt"] = [*turns, {"role": "user", "content": question}]
    cells.origin["prompt"] = "instruction"
    cells.used |= {"input", "system", "history"} & set(data)
    if "output" in data and "completion" not in cells.values:
        _move(cells, "completion", "output")


def _votes(cells: Cells) -> None:
    """response_a, response_b and each rater's a / b / tie → completions and votes."""
    data = cells.row.data
    cells.values["completions"] = [data["response_a"], data["response_b"]]
    cells.origin["completions"] = "response_a"
    cells.used |= {"response_a", "response_b"}
