"""A JSON text under the magnifying glass: every flaw with its offset and mend, and where a value stands.

Only texts that the fast reader (`jsonl`) has refused, or whose values turned out wrong, come here.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]

MAX_DEPTH = 64
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
_WORD = re.compile(r"-?[A-Za-z_]+")
_SPACE = re.compile(r"[ \t\n\r]*")
_INT64 = 2**63
_WORDS = {
    "None": "write null (Python writes None)",
    "True": "write true (Python writes True)",
    "False": "write false (Python writes False)",
    "NaN": "write null or remove the row; JSON has no NaN",
    "Infinity": "write a finite number; JSON has no Infinity",
    "-Infinity": "write a finite number; JSON has no Infinity",
    "undefined": "write null",
}

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Flaw:
    """What is wrong at character `offset` (from 0) of the text."""

    offset: int
    what: str
    fix: str


class _Broken(Exception):
    """The text cannot be read on from here."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw.what)
        self.flaw = flaw


def flaws(text: str) -> list[Flaw]:
    """Everything wrong with `text` as one JSON object, in order; empty if nothing is."""
    scanner = _Scanner(text)
    try:
        scanner.document()
    except _Broken as broken:
        scanner.found.append(broken.flaw)
    return sorted(scanner.found, key=lambda flaw: flaw.offset)


def locate(text: str, path: Sequence[str | int]) -> int:
    """The offset of the value at `path` (keys and indices), or of its nearest ancestor that is there."""
    scanner = _Scanner(text)
    with contextlib.suppress(_Broken):
        scanner.document()
    wanted: Path = tuple(path)
    while wanted not in scanner.places and wanted:
        wanted = wanted[:-1]
    return scanner.places.get(wanted, 0)


class _Scanner:
    """Reads one JSON text by recursive descent, noting every value's place."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.found: list[Flaw] = []
        self.places: dict[Path, int] = {}

    def document(self) -> None:
        start = self.space(0)
        if self.text.startswith("\ufeff", start):
            self.stop(
                start, "a byte order mark stands inside the file", "remove it: sed -i 's/\\xEF\\xBB\\xBF//g' FILE"
            )
        if self.peek(start) not in '{["-0123456789tfn':
            fix = 'write one {"column": value, …} per line; if the file is something else, convert it first'
            self.stop(start, f"{self.text[start]!r} does not start a JSON object", fix)
        end = self.space(self.value(start, ()))
        if self.text[start] != "{":
            kind = {"[": "an array", '"': "a string"}.get(self.text[start], "a bare value")
            self.note(start, f"the line is {kind}, not an object", 'write one {"column": value, …} per line')
        if end < len(self.text):
            if self.text[end] in "{[":
                self.stop(end, "a second value stands on the same line", "put every row on a line of its own")
            self.stop(end, f"{self.text[end : end + 12]!r} after the end of the object", "remove it")

    def value(self, at: int, path: Path) -> int:
        """Read the value at `at`; the offset behind it."""
        self.places[path] = at
        if len(path) > MAX_DEPTH:
            self.stop(at, f"nested more than {MAX_DEPTH} levels deep", "flatten the row")
        char = self.peek(at)
        if char == "{":
            return self.members(at, path)
        if char == "[":
            return self.items(at, path)
        if char == '"':
            return self.string(at)[1]
        if char in "-0123456789" and (match := _NUMBER.match(self.text, at)):
            return self.number(match)
        return self.word(at)

    def members(self, at: int, path: Path) -> int:
        seen = set[str]()
        at = self.space(at + 1)
        while self.peek(at) != "}":
            if self.text[at] != '"':
                self.bad_key(at)
            start = at
            key, at = self.string(at)
            if key in seen:
                self.note(start, f"the key {key!r} is given twice", "remove one of the two")
            seen.add(key)
            at = self.space(at)
            if self.peek(at) != ":":
                self.stop(at, f"a colon is missing after the key {key!r}", 'write "key": value')
            at = self.separator(self.value(self.space(at + 1), (*path, key)), "}")
        return at + 1

    def items(self, at: int, path: Path) -> int:
        count = 0
        at = self.space(at + 1)
        while self.peek(at) != "]":
            at = self.separator(self.value(at, (*path, count)), "]")
            count += 1
        return at + 1

    def separator(self, at: int, closing: str) -> int:
        """Behind the comma after a value, or at the closing bracket."""
        at = self.space(at)
        char = self.peek(at)
        if char == closing:
            return at
        if char != ",":
            self.stop(at, f"a comma or {closing!r} is missing", f"put a comma between values, {closing!r} at the end")
        after = self.space(at + 1)
        if self.peek(after) == closing:
            self.stop(at, f"a comma stands before {closing!r}", "remove the comma")
        return after

    def string(self, at: int) -> tuple[str, int]:
        try:
            value, end = scanstring(self.text, at + 1, True)
        except json.JSONDecodeError as error:
            raise _Broken(self.bad_string(error)) from None
        raw = self.text[at:end]
        if "\0" in value:
            self.note(at + max(0, raw.find("\\u0000")), "a NUL character in the text", "remove \\u0000")
        if any("\ud800" <= char <= "\udfff" for char in value):
            match = re.search(r"\\u[dD][89a-fA-F]", raw)
            self.note(
                at + (match.start() if match else 0),
                "half of a surrogate pair, which is no character",
                "write the character itself, or both halves (\\ud83d\\ude00)",
            )
        return value, end

    def number(self, match: re.Match[str]) -> int:
        at, end = match.span()
        if self.text[end : end + 1] in tuple("0123456789.eE+-"):
            self.stop(at, "not a number as JSON writes it", "write it like -12, 0.5 or 1e-3 (no leading 0 or +)")
        whole = match[1] is None and match[2] is None
        if whole and len(match[0]) > 18 and not (len(match[0]) < 25 and -_INT64 <= int(match[0]) < _INT64):
            self.note(at, "an integer beyond 64 bits", "write it as a string")
        if not whole and not math.isfinite(float(match[0])):
            self.note(at, "a number too large for a 64-bit float", "write a smaller one")
        return end

    def word(self, at: int) -> int:
        match = _WORD.match(self.text, at)
        name = match[0] if match else self.text[at]
        end = at + len(name)
        if name in ("true", "false", "null"):
            return end
        if name in ("NaN", "Infinity", "-Infinity"):
            self.note(at, f"{name} is not a JSON value", _WORDS[name])
            return end
        fix = _WORDS.get(
            name, "strings need double quotes" if name[0].isalpha() or name == "'" else "write a JSON value"
        )
        if name in ",]}":
            fix = "a value is missing here"
        if self.text.startswith(("//", "/*", "#"), at):
            fix = "remove the comment; JSON has none"
        raise _Broken(Flaw(at, f"{name!r} is not a JSON value", fix))

    def bad_key(self, at: int) -> None:
        char = self.text[at]
        fix = "keys need double quotes" if char == "'" or char.isidentifier() else 'write "key": value'
        self.stop(at, f"a key cannot start with {char!r}", fix)

    def bad_string(self, error: json.JSONDecodeError) -> Flaw:
        if error.msg.startswith("Unterminated"):
            return Flaw(error.pos - 1 if self.text[error.pos] != '"' else error.pos, *_UNTERMINATED)
        if error.msg.startswith("Invalid control"):
            code = ord(self.text[error.pos])
            return Flaw(error.pos, f"a raw control character U+{code:04X} in a string", "escape it (\\n, \\t, \\u00XX)")
        return Flaw(error.pos, "a backslash sequence that JSON does not know", "double the backslash: \\\\")

    def peek(self, at: int) -> str:
        if at >= len(self.text):
            self.stop(len(self.text), "the row ends in the middle", "complete it; the file may be cut off")
        return self.text[at]

    def space(self, at: int) -> int:
        match = _SPACE.match(self.text, at)
        return match.end() if match else at

    def note(self, at: int, what: str, fix: str) -> None:
        self.found.append(Flaw(at, what, fix))

    def stop(self, at: int, what: str, fix: str) -> None:
        raise _Broken(Flaw(at, what, fix))


_UNTERMINATED = (
    "a string that starts here never ends",
    "close it with a double quote; the file may be cut off, or a line break inside it must be written \\n",
)
