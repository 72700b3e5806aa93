"""Every kind of broken file: each has its place, its reason and its mend, and ends in exit code 65."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from tutelage.data.formats import load
from tutelage.errors import DataError

OK = b'{"prompt": "p", "chosen": "good", "rejected": "bad"}\n'


def pair(**changes: object) -> bytes:
    row: dict[str, object] = {"prompt": "p", "chosen": "good", "rejected": "bad"}
    return json.dumps({k: v for k, v in (row | changes).items() if v != "-"}, ensure_ascii=False).encode() + b"\n"


def user(text: object) -> dict[str, object]:
    return {"role": "user", "content": text}


def answer(text: object) -> dict[str, object]:
    return {"role": "assistant", "content": text}


Spot = tuple[int, str] | None
"""The line and the text that the reported column must point at."""

# name → (the bytes of pairs.jsonl, what the place points at, words of the reason)
BYTES: dict[str, tuple[bytes, Spot, str]] = {
    "an empty file": (b"", None, "empty"),
    "only blank lines": (b"\n\r\n \n", None, "no rows"),
    "UTF-16 with a mark": (OK.decode().encode("utf-16"), None, "UTF-16"),
    "UTF-16 without a mark": (OK.decode().encode("utf-16-le"), None, "UTF-16"),
    "gzip under another name": (gzip.compress(OK), None, "gzip"),
    "a zip archive": (b"PK\x03\x04rest", None, "zip"),
    "Parquet under another name": (b"PAR1rest", None, "Parquet"),
    "a database": (b"SQLite format 3\0", None, "SQLite"),
    "Latin-1": ('{"prompt": "caf\u00e9"}\n'.encode("latin-1"), (1, "é"), "0xe9 is not UTF-8"),
    "GB18030": ('{"prompt": "你好吗"}\n'.encode("gb18030"), (1, "你"), "not UTF-8"),
    "a mark inside the file": (OK + b"\xef\xbb\xbf" + OK, (2, "\ufeff{"), "byte order mark"),
    "a cut-off string": (OK + b'{"prompt": "half a se', (2, '"half'), "never ends"),
    "a cut-off object": (OK + b'{"prompt": "p", "chosen": ', (2, ""), "ends in the middle"),
    "single quotes": (b"{'prompt': 'p'}\n", (1, "'prompt'"), "key cannot start"),
    "keys without quotes": (b'{prompt: "p"}\n', (1, "prompt:"), "key cannot start"),
    "Python's None": (b'{"prompt": None}\n', (1, "None"), "'None' is not a JSON value"),
    "NaN": (b'{"margin": NaN}\n', (1, "NaN"), "NaN"),
    "minus infinity": (b'{"margin": -Infinity}\n', (1, "-Infinity"), "Infinity"),
    "a float beyond 64 bits": (b'{"margin": 1e999}\n', (1, "1e999"), "too large"),
    "an integer beyond 64 bits": (b'{"id": 123456789012345678901234567890}\n', (1, "1234"), "beyond 64 bits"),
    "a leading zero": (b'{"margin": 01}\n', (1, "01"), "not a number"),
    "a plus sign": (b'{"margin": +1}\n', (1, "+1"), "not a JSON value"),
    "a comma at the end": (b'{"prompt": "p",}\n', (1, ",}"), "comma"),
    "no comma": (b'{"prompt": "p" "chosen": "g"}\n', (1, '"chosen"'), "comma"),
    "no colon": (b'{"prompt" "p"}\n', (1, '"p"'), "colon"),
    "no value": (b'{"prompt": , "chosen": "g"}\n', (1, ", "), "not a JSON value"),
    "two objects on a line": (OK.strip() + b" " + OK, (1, "{"), "second value"),
    "old Mac line ends": (OK.strip() + b"\r" + OK.strip() + b"\r", (1, "{"), "second value"),
    "words after the object": (OK.strip() + b" # good\n", (1, "# good"), "after the end"),
    "a comment line": (b"// pairs\n" + OK, (1, "// pairs"), "does not start a JSON object"),
    "a table with commas": (b"prompt,chosen\na,b\n", (1, "prompt,"), "does not start a JSON object"),
    "a web page": (b"<!DOCTYPE html>\n", (1, "<!D"), "does not start a JSON object"),
    "an array per line": (b'["p", "good", "bad"]\n', (1, "["), "an array"),
    "a string per line": (b'"p"\n', (1, '"p"'), "a string"),
    "a number per line": (b"5\n", (1, "5"), "bare value"),
    "the same key twice": (b'{"prompt": "p", "prompt": "q"}\n', (1, '"prompt": "q"'), "given twice"),
    "the same key twice, inside": (b'{"meta": {"a": 1, "a": 2}}\n', (1, '"a": 2'), "given twice"),
    "an escaped NUL": (b'{"prompt": "a\\u0000b"}\n', (1, "\\u0000b"), "NUL"),
    "a raw control character": (b'{"prompt": "a\tb"}\n', (1, "\tb"), "control character"),
    "an unknown escape": (b'{"prompt": "C:\\path"}\n', (1, "\\path"), "backslash"),
    "half a surrogate pair": (b'{"prompt": "\\ud83d!"}\n', (1, "\\ud83d!"), "surrogate"),
    "deep nesting": (b'{"prompt": ' + b"[" * 3000 + b"]" * 3000 + b"}\n", (1, "["), "nested"),
}

# the same, for rows that are JSON but no preference
ROWS: dict[str, tuple[bytes, Spot, str]] = {
    "a missing column": (pair(rejected="-"), (1, "{"), "needs chosen . rejected"),
    "other columns": (b'{"question": "q", "preferred": "a"}\n', (1, "{"), "found the columns preferred, question"),
    "a missing column later": (OK + pair(chosen="-"), (2, "{"), "'chosen' is missing"),
    "null": (pair(chosen=None), (1, "null"), "is null"),
    "a number for a text": (pair(chosen=5), (1, "5"), "a number, not a string"),
    "an empty answer": (pair(rejected=""), (1, '""'), "'rejected' is empty"),
    "white space for an answer": (pair(chosen=" \n"), (1, '" \\n"'), "'chosen' is empty"),
    "an empty prompt": (pair(prompt=""), (1, '""'), "'prompt' is empty"),
    "chosen is rejected": (pair(rejected="good "), (1, '"good "'), "are the same"),
    "a tie": (pair(tie=True), (1, "true"), "tie"),
    "a negative margin": (pair(margin=-1), (1, "-1"), "'margin' is -1"),
    "a weight in words": (pair(weight="much"), (1, '"much"'), "'weight' is a string"),
    "an unknown role": (pair(prompt=[{"role": "humman", "content": "x"}]), (1, '"humman"'), "the role 'humman'"),
    "an empty turn": (pair(prompt=[user(" ")]), (1, '" "'), "a user message is empty"),
    "no turns": (pair(prompt=[]), (1, "[]"), "empty list"),
    "a turn that is a string": (pair(prompt=["hello"]), (1, '"hello"'), "a message is a string"),
    "a turn without content": (pair(prompt=[{"role": "user", "text": "x"}]), (1, '{"role"'), "keys role, text"),
    "a turn of null": (pair(prompt=[user(None)]), (1, "null"), "holds null"),
    "a picture": (pair(prompt=[user([{"type": "image", "url": "x"}])]), (1, '{"type"'), "not text"),
    "a late system turn": (
        pair(prompt=[user("a"), {"role": "system", "content": "b"}]), (1, '{"role": "system"'), "system message",
    ),
    "a prompt that ends answered": (
        pair(prompt=[user("a"), answer("b")]), (1, '{"role": "assistant"'), "ends with an assistant turn",
    ),
    "a prompt missing in chosen": (
        pair(chosen=[user("other"), answer("good")], rejected=[user("p"), answer("bad")]),
        (1, '[{"role": "user", "content": "other"'), "do not begin with it",
    ),
    "no prompt at all": (pair(prompt="-", chosen="abc", rejected="xyz"), (1, '"abc"'), "share no beginning"),
    "half messages": (pair(prompt="-", chosen=[user("a"), answer("b")]), (1, '"bad"'), "one of chosen and rejected"),
}  # fmt: skip


@pytest.mark.parametrize("name", [*BYTES, *ROWS])
def test_a_malformed_pair_file_is_refused_with_place_reason_and_mend(name: str, tmp_path: Path) -> None:
    content, spot, reason = (BYTES | ROWS)[name]
    file = tmp_path / "pairs.jsonl"
    file.write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        load(file, "preference")
    said = str(caught.value)
    assert caught.value.exit_code == 65 and str(file) in said
    if spot is None:
        return
    line, points_at = spot
    assert "fix: " in said
    found = re.search(r"pairs\.jsonl:(\d+):(\d+)", said)
    assert found is not None and int(found[1]) == line
    text = content.split(b"\n")[line - 1].decode(
        "gb18030" if "你" in points_at else "latin-1" if "é" in points_at else "utf-8"
    )
    column = int(found[2]) - 1
    assert column <= len(text) and text[column:].startswith(points_at)
    assert points_at or column == len(text)


OTHER_KINDS = {
    "label in words": ("unpaired", {"prompt": "p", "completion": "c", "label": "good"}, "not true or false"),
    "label 1": ("unpaired", {"prompt": "p", "completion": "c", "label": 1}, "not true or false"),
    "fewer ranks": ("ranking", {"prompt": "p", "completions": ["a", "b"], "ranks": [1]}, "not a list of at least 2"),
    "rank 0": ("ranking", {"prompt": "p", "completions": ["a", "b"], "ranks": [0, 1]}, "the rank 0"),
    "one answer": ("ranking", {"prompt": "p", "completions": ["a"], "ranks": [1]}, "at least 2"),
    "twin answers": ("ranking", {"prompt": "p", "completions": ["a", "a"], "ranks": [1, 2]}, "the same"),
    "a vote for c": ("ranking", {"prompt": "p", "response_a": "a", "response_b": "b", "votes": ["c"]}, "none of a, b"),
    "off the scale": ("rated", {"prompt": "p", "completion": "c", "ratings": [{"score": 9}]}, "outside its scale 0–5"),
    "a score in words": ("rated", {"prompt": "p", "completion": "c", "ratings": [{"score": "9"}]}, "not a number"),
    "no ratings": ("rated", {"prompt": "p", "completion": "c", "ratings": []}, "at least 1"),
    "no answer": ("demonstration", {"messages": [user("a")]}, "no assistant turn"),
    "answer first": ("demonstration", {"messages": [answer("a")]}, "starts with an assistant turn"),
    "question last": ("demonstration", {"messages": [user("a"), answer("b"), user("c")]}, "does not end with"),
    "mixed styles": ("demonstration", {"prompt": "a", "completion": [answer("b")]}, "string but 'completion'"),
    "an id of true": ("prompt", {"id": True, "prompt": "a"}, "'id' is true/false"),
    "text of null": ("text", {"text": None}, "'text' is null"),
}


@pytest.mark.parametrize("name", OTHER_KINDS)
def test_a_bad_row_of_another_kind_is_refused_with_place_reason_and_mend(name: str, tmp_path: Path) -> None:
    kind, row, reason = OTHER_KINDS[name]
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=reason) as caught:
        load(file, kind)  # type: ignore[call-overload]
    assert caught.value.where is not None and "rows.jsonl:1:" in caught.value.where and caught.value.fix


def test_twenty_problems_are_listed_at_once_and_all_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_bytes(OK + pair(chosen="") * 15 + b"{nothing}\n" * 15 + OK)
    with pytest.raises(DataError) as caught:
        load(file, "preference")
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("30 problems (the first 20 are shown)")
    assert len(lines) == 21 and "pairs.jsonl:2:27" in lines[1] and "pairs.jsonl:17:2" in lines[16]


def test_skipping_counts_every_bad_row_by_reason(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_bytes(OK + pair(chosen="") * 3 + b"{nothing}\n" + OK)
    rows = load(file, "preference", on_bad="skip")
    assert len(rows) == 2 and sum(rows.report.skipped.values()) == 4
    assert any("left out 3: 'chosen' is empty (first at" in line for line in rows.report.lines())


def test_nothing_left_after_skipping_is_an_error_that_says_why(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_bytes(pair(chosen=""))
    with pytest.raises(DataError, match="no rows are left") as caught:
        load(file, "preference", on_bad="skip")
    assert "'chosen' is empty" in str(caught.value)


def test_what_other_tools_write_harmlessly_is_read(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    smile = b'{"prompt": "p", "chosen": "\\ud83d\\ude00", "rejected": "b"}'
    file.write_bytes(b"\xef\xbb\xbf" + OK.replace(b"\n", b"\r\n") + b"\n  \n" + smile)
    rows = load(file, "preference")
    assert [row.where.rpartition(":")[2] for row in rows] == ["1", "4"] and rows[1].chosen == "😀"


def test_a_damaged_gzip_file_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(OK * 50)
    for name, content in {"cut": packed[:-9], "not": OK, "flipped": packed[:-6] + b"\0\0" + packed[-4:]}.items():
        file = tmp_path / f"{name}.jsonl.gz"
        file.write_bytes(content)
        with pytest.raises(DataError, match="damaged or cut off"):
            load(file, "preference")


def test_a_json_array_reports_the_line_of_the_flaw(tmp_path: Path) -> None:
    file = tmp_path / "pairs.json"
    file.write_text('[\n {"text": "a"},\n {"text": "b",\n  "n": NaN},\n {"text": "c"}\n]\n')
    with pytest.raises(DataError, match="NaN") as caught:
        load(file, "text")
    assert str(caught.value.where).endswith("pairs.json:4:8")
    for broken in ('[{"text": "a"} {"text": "b"}]', '[{"text": "a"},]', '[{"text": "a"}', '[{"text": "a"}] x'):
        file.write_text(broken)
        with pytest.raises(DataError):
            load(file, "text")


def test_a_line_beyond_the_limit_is_refused_and_the_next_ones_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tutelage.data.jsonl.MAX_LINE", 1 << 20)
    file = tmp_path / "pairs.jsonl"
    file.write_bytes(pair(chosen="x" * (3 << 20)) + b"{bad}\n")
    with pytest.raises(DataError, match="more than 1 MiB") as caught:
        load(file, "preference")
    assert "pairs.jsonl:2:2" in str(caught.value)
