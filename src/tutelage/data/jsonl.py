"""Reads and writes JSON lines (`.jsonl`, `.json` arrays, either with `.gz`), strictly: every problem with its place.

Accepted as they are: a byte order mark at the very start, CRLF, blank lines. Everything else that is not one JSON
object per line in UTF-8 is an error with file:line:column, the reason and the mend; up to 20 of them at once.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NoReturn

from tutelage.data.json_text import MAX_DEPTH, Flaw, flaws, locate
from tutelage.data.writing import Writer
from tutelage.errors import DataError, DeniedError, MissingInputError

SHOWN = 20
MAX_LINE = 64 * 2**20
_BOM = b"\xef\xbb\xbf"
_FOREIGN = {
    b"\x1f\x8b": ("gzip", "rename it to end in .gz"),
    b"PK\x03\x04": ("a zip archive", "unpack it first"),
    b"PAR1": ("Parquet", "rename it to end in .parquet"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unpack it first: zstd -d"),
    b"ARROW1": ("an Arrow file", "give the `datasets` folder that it lies in"),
    b"SQLite format 3": ("an SQLite database", "export it first: tutelage rate export"),
    b"\xff\xfe": ("UTF-16", "convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW"),
    b"\xfe\xff": ("UTF-16", "convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW"),
}
_SUSPECT = re.compile(r"\\u(?:0000|[dD][89a-fA-F])|(?<!\d)-?\d{19,}")
"""What the fast parser takes without a word, but may be wrong."""


@dataclass(frozen=True)
class Row:
    """One object of a file and where it stands.

    Example:
        >>> row = next(read(Path("pairs.jsonl")))
        >>> row.where, row.place("chosen")
        ('pairs.jsonl:1', 'pairs.jsonl:1:34')
    """

    data: dict[str, Any]
    where: str
    """`file:line`, or `file:row N` where there are no lines"""
    text: str = field(default="", repr=False, compare=False)
    """the line itself, to find columns in; empty where there are no lines"""

    def place(self, *path: str | int) -> str:
        """`file:line:column` of the value at `path`, or of what holds it."""
        if not self.text:
            return self.where + "".join(f" {part}" for part in path)
        return f"{self.where}:{locate(self.text, path) + 1}"


class Problems:
    """Collects what is wrong with files, to say it all in one error."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, str, str]] = []
        self.count = 0
        self.reasons: dict[str, tuple[int, str]] = {}
        """reason → how often, and where first"""

    def add(self, where: str, what: str, fix: str) -> None:
        """Note one problem; the first 20 are kept in full, the rest counted."""
        self.count += 1
        times, first = self.reasons.get(what, (0, where))
        self.reasons[what] = (times + 1, first)
        if len(self.shown) < SHOWN:
            self.shown.append((where, what, fix))

    def raise_if_any(self) -> None:
        """
        Raises:
            DataError: with every problem's place, reason and mend.
        """
        if not self.count:
            return
        where, what, fix = self.shown[0]
        if self.count == 1:
            raise DataError(what, where=where, fix=fix)
        lines = [f"  {where}: {what}; fix: {fix}" for where, what, fix in self.shown]
        rest = f" (the first {SHOWN} are shown)" if self.count > SHOWN else ""
        raise DataError("\n".join([f"{self.count} problems{rest}:", *lines]))


def read(path: Path | str, problems: Problems | None = None) -> Iterator[Row]:
    """The rows of a file, one by one; the file is not held in memory (a `.json` array is).

    Args:
        problems: where to note bad lines, which are then left out; without it they end in a DataError.

    Raises:
        MissingInputError, DeniedError: the file cannot be opened.
        DataError: bad lines, no rows, not UTF-8 text, a damaged .gz.
    """
    own = Problems() if problems is None else problems
    before, count = own.count, 0
    for row in _rows(Path(path), own):
        count += 1
        if problems is not None or not own.count:
            yield row
    if not count and own.count == before:
        raise DataError("the file holds no rows", where=str(path), fix="write one JSON object per line")
    if problems is None:
        own.raise_if_any()


def write(path: Path | str, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows as JSON lines (gzip if `path` ends in .gz); the file appears whole or not at all.

    Returns:
        How many rows.

    Raises:
        DataError: a value that JSON cannot hold (NaN, a lone surrogate).
        CannotCreateError, DeniedError, DiskError: the file cannot be written.
    """
    with Writer(path) as file:
        for row in rows:
            file.add(row)
    return file.rows


def _rows(path: Path, problems: Problems) -> Iterator[Row]:
    with _opened(path) as file:
        try:
            first = file.readline(MAX_LINE + 1)
            _refuse_foreign(first, path)
            first = first.removeprefix(_BOM)
            if first.lstrip()[:1] == b"[" and path.name.removesuffix(".gz").endswith(".json"):
                yield from _array(first + file.read(), path, problems)
                return
            yield from _lines(first, file, path, problems)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(
                f"the .gz file is damaged or cut off: {error}", where=str(path), fix="copy it again"
            ) from error
        except IsADirectoryError as error:
            raise DataError("a folder, not a file", where=str(path)) from error


def _lines(line: bytes, file: IO[bytes], path: Path, problems: Problems) -> Iterator[Row]:
    number = 1
    while line:
        if len(line) > MAX_LINE:
            problems.add(f"{path}:{number}:1", f"a line of more than {MAX_LINE >> 20} MiB", "split the row")
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE)
        elif stripped := line.strip():
            text = _decode(line, f"{path}:{number}", problems)
            row = None if text is None or not stripped else _parse(text, f"{path}:{number}", problems)
            if row is not None:
                yield row
        line = file.readline(MAX_LINE + 1)
        number += 1


def _array(raw: bytes, path: Path, problems: Problems) -> Iterator[Row]:
    """The objects of a file that is one JSON array; `where` is the line that an object begins on."""
    text = _decode(raw, f"{path}:1", problems)
    if text is None:
        return
    at, first = _skip(text, text.index("[") + 1), True
    while at < len(text) and (text[at] != "]" or text[at + 1 :].strip()):
        before = at
        if not first and text[at] == ",":
            at = _skip(text, at + 1)
        place, column = f"{path}:{1 + text.count(chr(10), 0, at)}", at - text.rfind("\n", 0, at)
        if (not first and before == at) or text[at : at + 1] in ("]", ""):
            problems.add(f"{place}:{column}", "a comma too many or too few", "put one comma between two objects")
            return
        end = _value_end(text, at)
        row = _parse(text[at:end], place, problems, column)
        if row is not None:
            yield Row(row.data, place)
        elif end == len(text):
            return
        at, first = _skip(text, end), False
    if at >= len(text):
        problems.add(f"{path}:{1 + text.count(chr(10))}", "the array never ends", "close it with ]")


def _value_end(text: str, at: int) -> int:
    """The offset behind the JSON value at `at`; the end of the text if it is broken."""
    try:
        return json.JSONDecoder().raw_decode(text, at)[1]
    except (ValueError, RecursionError):
        return len(text)


def _skip(text: str, at: int) -> int:
    while text[at : at + 1].isspace():
        at += 1
    return at


def _parse(text: str, where: str, problems: Problems, column: int = 1) -> Row | None:
    """One line: the fast parser first; the slow one tells what is wrong."""
    try:
        if _SUSPECT.search(text) or text.count("[") + text.count("{") > MAX_DEPTH:
            fine = not flaws(text)
            value = json.loads(text) if fine else None
        else:
            value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        return Row(value, where, text)
    for flaw in flaws(text) or [Flaw(0, "the row cannot be read as JSON", "write one JSON object per line")]:
        before = text[: flaw.offset]
        if "\n" in before:  # an object over several lines, in an array
            name, _, line = where.rpartition(":")
            spot = f"{name}:{int(line) + before.count(chr(10))}:{flaw.offset - before.rfind(chr(10))}"
        else:
            spot = f"{where}:{flaw.offset + column}"
        problems.add(spot, flaw.what, flaw.fix)
    return None


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("duplicate key")
    return made


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(text)
    return value


def _decode(line: bytes, where: str, problems: Problems) -> str | None:
    try:
        return line.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        column = len(line[: error.start].decode()) + 1
        source = "GB18030" if _is_gb18030(line) else "LATIN1"
        problems.add(
            f"{where}:{column}",
            f"the byte 0x{line[error.start]:02x} is not UTF-8 text",
            f"convert the file, for example: iconv -f {source} -t UTF-8 FILE > NEW",
        )
        return None


def _is_gb18030(line: bytes) -> bool:
    try:
        return any("\u4e00" <= char <= "\u9fff" for char in line.decode("gb18030"))
    except UnicodeDecodeError:
        return False


def _refuse_foreign(first: bytes, path: Path) -> None:
    if not first:
        raise DataError("the file is empty", where=f"{path}:1:1", fix="write one JSON object per line")
    for magic, (name, fix) in _FOREIGN.items():
        if first.startswith(magic):
            raise DataError(f"the file is {name}, not JSON lines", where=f"{path}:1:1", fix=fix)
    if b"\0" in first[:4]:
        fix = "convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW"
        raise DataError("the file is UTF-16 or binary, not UTF-8 text", where=f"{path}:1:1", fix=fix)


@contextlib.contextmanager
def _opened(path: Path) -> Generator[IO[bytes]]:
    try:
        raw = path.open("rb")
    except FileNotFoundError as error:
        raise MissingInputError("no such file", where=str(path), fix="check the path") from error
    except IsADirectoryError as error:
        raise DataError("a folder, not a file", where=str(path), fix="name a file in it") from error
    except PermissionError as error:
        raise DeniedError("no permission to read", where=str(path), fix=f"chmod +r {path}") from error
    with raw:
        if path.suffix != ".gz":
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as packed:
            yield packed  # type: ignore[misc]
