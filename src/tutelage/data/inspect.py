"""Shows what will be trained on: the rendered text with its learned part marked, and the token ids."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from tutelage.data.template import Encoded, Renderer
from tutelage.types import Demonstration, Preference, Prompt, Ranking, Rated, Text, TextRow, Unpaired

_GREEN, _PLAIN = "\x1b[32m", "\x1b[0m"
_OPEN, _CLOSE = "⟦", "⟧"


def sequences(renderer: Renderer, row: Any) -> list[tuple[str, Encoded]]:
    """What a row becomes for training: (name, tokens and mask) of each of its sequences."""
    if isinstance(row, TextRow):
        tokens = renderer.document(row.text)
        return [("text", Encoded(tokens, [False] + [True] * (len(tokens) - 1)))]
    if isinstance(row, Prompt):
        tokens = renderer.prompt(row.content)
        return [("prompt", Encoded(tokens, [False] * len(tokens)))]
    return [(name, renderer.answer(row.prompt, answer)) for name, answer in answers(row)]


def answers(row: Any) -> list[tuple[str, Text]]:
    """The answers of a row, each with its name."""
    if isinstance(row, Preference):
        return [("chosen", row.chosen), ("rejected", row.rejected)]
    if isinstance(row, Ranking):
        return [(f"rank {rank}", answer) for rank, answer in zip(row.ranks, row.completions, strict=True)]
    if isinstance(row, Unpaired):
        return [("good" if row.label else "bad", row.completion)]
    if isinstance(row, Demonstration | Rated):
        return [("completion", row.completion)]
    return []


def show(renderer: Renderer, encoded: Encoded, *, colour: bool = False, ids: bool = True) -> list[str]:
    """Lines: counts, the text with learned tokens in ⟦ ⟧ (or green), and `id:piece` with learned ones in ⟦ ⟧."""
    marks = (_GREEN, _PLAIN) if colour else (_OPEN, _CLOSE)
    lines = [f"{len(encoded)} tokens, {encoded.learned} learned", "".join(_marked(renderer, encoded, marks))]
    if ids:
        pieces = (
            f"{marks[0]}{piece}{marks[1]}" if learned else piece
            for piece, learned in zip(_pieces(renderer, encoded), encoded.mask, strict=True)
        )
        lines.append(" ".join(pieces))
    return lines


def _marked(renderer: Renderer, encoded: Encoded, marks: tuple[str, str]) -> Iterator[str]:
    at = 0
    for learned, run in groupby(encoded.mask):
        count = len(list(run))
        text = str(renderer.tokenizer.decode(encoded.tokens[at : at + count]))
        yield f"{marks[0]}{text}{marks[1]}" if learned else text
        at += count


def _pieces(renderer: Renderer, encoded: Encoded) -> Iterator[str]:
    for token in encoded.tokens:
        piece = repr(str(renderer.tokenizer.decode([token])))[1:-1]
        if "\ufffd" in piece:  # a part of a character's bytes
            piece = str(renderer.tokenizer.convert_ids_to_tokens(token))
        yield f"{token}:{piece}"
