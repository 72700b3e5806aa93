"""Damaged at random, a file either gives what the standard parser reads or a DataError: no traceback, nothing lost."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tutelage.data import jsonl
from tutelage.data.json_text import flaws, locate
from tutelage.errors import DataError

LINE = (
    '{"id": 12, "prompt": [{"role": "user", "content": "a\\n\\u00e9 你 😀"}], '
    '"n": [-1.5e3, true, null, {}], "t": "x\\"y"}'
)
PIECES = [
    '"',
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "0",
    "-",
    "e",
    ".",
    "NaN",
    "\\u",
    "\\ud83d",
    "\0",
    "\t",
    "\ufeff",
    "你",
    " ",
]


def damaged(random_: random.Random) -> str:
    text = LINE
    for _ in range(random_.randint(1, 3)):
        at = random_.randrange(len(text))
        piece = random_.choice(["", *PIECES])
        text = text[:at] + piece + text[at + random_.randint(0, 2) :]
    return text


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_line_is_read_like_the_standard_parser_or_refused(seed: int, tmp_path: Path) -> None:
    random_, refused = random.Random(seed), 0
    for case in range(400):
        text = damaged(random_)
        file = tmp_path / f"{case % 7}.jsonl"
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            rows = list(jsonl.read(file))
        except DataError as error:
            refused += 1
            assert str(file) in str(error)
        else:
            assert [row.data for row in rows] == [json.loads(text)]
    assert refused > 100


def test_the_scanner_finds_fault_exactly_where_the_standard_parser_does() -> None:
    random_ = random.Random(9)
    for _ in range(1500):
        text = damaged(random_)
        try:
            json.loads(text, parse_constant=lambda name: (_ for _ in ()).throw(ValueError(name)))
        except ValueError:
            assert flaws(text), text


def test_every_value_is_located() -> None:
    assert flaws(LINE) == []
    for path, start in {
        ("id",): "12",
        ("prompt", 0, "content"): '"a',
        ("n", 0): "-1.5",
        ("n", 3): "{}",
        ("t",): '"x',
    }.items():
        assert LINE[locate(LINE, path) :].startswith(start)
    assert locate(LINE, ("n", 9)) == locate(LINE, ("n",)) and locate(LINE, ("none",)) == 0


def test_random_bytes_never_escape_as_another_error(tmp_path: Path) -> None:
    random_ = random.Random(1)
    for name in ("x.jsonl", "x.json", "x.jsonl.gz"):
        for _ in range(100):
            (tmp_path / name).write_bytes(random_.choice([b"", b"[", b'{"', b"\x1f\x8b\x08"]) + random_.randbytes(40))
            with pytest.raises(DataError):
                list(jsonl.read(tmp_path / name))
