"""What is odd about a data set, beyond single bad rows: lengths, duplicates, contradictions, leaks, length bias."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.data._labels import hollow, swapped
from tutelage.data.inspect import answers
from tutelage.types import Preference, Prompt, Text, TextRow, Unpaired, plain

_LENGTH_BIAS = 0.65
_PERCENTILES = (50, 95, 100)


@dataclass(frozen=True)
class Lengths:
    """How long one part of the rows is."""

    part: str
    unit: str
    """`characters` or `tokens`"""
    median: int
    p95: int
    longest: int


@dataclass(frozen=True)
class Findings:
    """What `check` found."""

    rows: int
    lengths: tuple[Lengths, ...]
    warnings: tuple[str, ...]
    facts: Mapping[str, float]


def check(
    rows: Sequence[Any],
    *,
    against: Sequence[Any] = (),
    count: Callable[[str], int] | None = None,
    special: Sequence[str] = (),
) -> Findings:
    """Look at all rows together.

    Args:
        against: rows of another file (the test split) that must share no prompt or text with these.
        count: text → tokens; characters are counted without it.
        special: special tokens of the tokenizer; as plain text in a row they would be read as control tokens.
    """
    warnings = [*swapped(rows), *hollow(rows), *_duplicates(rows), *_contradictions(rows), *_leaks(rows, against)]
    warnings += _control_tokens(rows, special)
    facts = _facts(rows)
    longer = facts.get("chosen is longer", 0.5)
    if not 1 - _LENGTH_BIAS <= longer <= _LENGTH_BIAS:
        warnings.append(f"length alone predicts {max(longer, 1 - longer):.0%} of the preferences: expect length bias")
    return Findings(len(rows), _lengths(rows, count), tuple(warnings), facts)


def asked(row: Any) -> str:
    """The text of a row's prompt (or of its document), white space and Unicode forms evened out for comparing."""
    if isinstance(row, TextRow):
        content: Text = row.text
    else:
        content = row.content if isinstance(row, Prompt) else row.prompt
    return _even(content)


def _even(content: Text) -> str:
    return " ".join(unicodedata.normalize("NFKC", plain(content)).split())


def _lengths(rows: Sequence[Any], count: Callable[[str], int] | None) -> tuple[Lengths, ...]:
    measure, unit = (count, "tokens") if count else (len, "characters")
    parts: dict[str, list[int]] = {}
    for row in rows:
        if isinstance(row, TextRow):
            parts.setdefault("text", []).append(measure(row.text))
            continue
        content = row.content if isinstance(row, Prompt) else row.prompt
        parts.setdefault("prompt", []).append(measure(plain(content)))
        for name, answer in answers(row):
            parts.setdefault(name, []).append(measure(plain(answer)))
    return tuple(Lengths(part, unit, *_percentiles(values)) for part, values in parts.items())


def _percentiles(values: list[int]) -> list[int]:
    ordered = sorted(values)
    return [ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] for percent in _PERCENTILES]


def _duplicates(rows: Sequence[Any]) -> list[str]:
    seen: dict[tuple[str, ...], str] = {}
    repeats = list[tuple[str, str]]()
    for row in rows:
        key = (asked(row), *(f"{name}\0{_even(answer)}" for name, answer in answers(row)))
        where = row.id if isinstance(row, Prompt) else row.where
        if key in seen:
            repeats.append((where, seen[key]))
        seen.setdefault(key, where)
    if not repeats:
        return []
    return [f"{len(repeats)} rows say the same as an earlier one, such as {repeats[0][0]} and {repeats[0][1]}"]


def _contradictions(rows: Sequence[Any]) -> list[str]:
    pairs = {(asked(r), _even(r.chosen), _even(r.rejected)): r.where for r in rows if isinstance(r, Preference)}
    both = [where for (prompt, better, worse), where in pairs.items() if (prompt, worse, better) in pairs]
    labels: dict[tuple[str, str], set[bool]] = {}
    for row in rows:
        if isinstance(row, Unpaired):
            labels.setdefault((asked(row), _even(row.completion)), set()).add(row.label)
    mixed = sum(len(found) == 2 for found in labels.values())
    said = [f"{len(both)} pairs are there in both orders, such as {both[0]}"] if both else []
    return said + ([f"{mixed} answers are labelled both good and bad"] if mixed else [])


def leaked(rows: Iterable[Any], held_out: Iterable[Any]) -> list[Any]:
    """Those of `held_out` whose prompt (or text) `rows` hold too."""
    known = {asked(row) for row in rows}
    return [row for row in held_out if asked(row) in known]


def _leaks(rows: Sequence[Any], against: Sequence[Any]) -> list[str]:
    found = leaked(rows, against)
    if not found:
        return []
    where = found[0].id if isinstance(found[0], Prompt) else found[0].where
    what = "texts" if isinstance(found[0], TextRow) else "prompts"
    return [
        f"{len(found)} of {len(against)} {what} of the other file are here too, such as {where}: results would leak"
    ]


def _control_tokens(rows: Sequence[Any], special: Sequence[str]) -> list[str]:
    found = Counter[str]()
    first: dict[str, str] = {}
    for row in rows:
        contents: list[str] = [row.text] if isinstance(row, TextRow) else [plain(answer) for _, answer in answers(row)]
        if not isinstance(row, TextRow):
            contents.append(plain(row.content if isinstance(row, Prompt) else row.prompt))
        for token in special:
            if any(token in content for content in contents):
                found[token] += 1
                first.setdefault(token, row.id if isinstance(row, Prompt) else row.where)
    return [
        f"{count} rows contain {token!r} as text, which the tokenizer reads as a control token (first {first[token]})"
        for token, count in found.items()
    ]


def _facts(rows: Sequence[Any]) -> dict[str, float]:
    prompts = {asked(row) for row in rows}
    facts: dict[str, float] = {"rows": len(rows), "distinct prompts": len(prompts)}
    pairs = [row for row in rows if isinstance(row, Preference)]
    if pairs:
        lengths = [(len(plain(row.chosen)), len(plain(row.rejected))) for row in pairs]
        facts["chosen is longer"] = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in lengths) / len(pairs)
    labels = [row.label for row in rows if isinstance(row, Unpaired)]
    if labels:
        facts["labelled good"] = sum(labels) / len(labels)
    return facts
