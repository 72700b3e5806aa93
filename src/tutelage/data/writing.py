"""Writes rows one by one to JSON lines (`.jsonl`, also `.gz`) or Parquet; a file appears whole or not at all.

In Parquet, texts are strings or lists of `{role, content}` (whichever the first row has), as `datasets` and TRL read
them; what has no fixed type (`meta`) is JSON text in a column of its own, and `data.parquet` reads it back.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
from collections.abc import Generator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from tutelage.errors import CannotCreateError, DataError, DeniedError, DiskError, TutelageError, UsageError

AS_JSON = b"tutelage.json"
"""key in the schema's metadata: names of the columns that hold JSON text, in JSON; `*` = one column, the whole row"""
WHOLE = "row"
"""the column of a file whose rows have nothing in common"""
_AT_ONCE = 1024


class Writer:
    """A file that is being written.

    Example:
        >>> with Writer("pairs.parquet") as file:
        ...     file.add({"prompt": "2 + 2 = ", "chosen": "4", "rejected": "5"})
        >>> file.rows
        1

    Raises:
        DataError: a value that JSON cannot hold (NaN, a lone surrogate), or texts of both sorts for Parquet.
        CannotCreateError, DeniedError, DiskError: the file cannot be written.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.rows = 0
        self._temporary = self.path.with_name(f".tmp-{os.getpid()}-{self.path.name}")
        self._open = contextlib.ExitStack()
        self._out: _Lines | _Parquet

    def __enter__(self) -> Self:
        with self._explained():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.is_dir():
                raise IsADirectoryError(0, "it is a folder")
            self._file = self._open.enter_context(self._temporary.open("wb"))
            if self.path.suffix == ".parquet":
                self._out = _Parquet(self._file, self.path)
            else:
                self._out = _Lines(self._open.enter_context(_packed(self._file, self.path)))
        return self

    def add(self, row: Mapping[str, Any]) -> None:
        """Write one row."""
        self.rows += 1
        with self._explained():
            self._out.add(row, f"row {self.rows} of {self.path}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                with self._explained():
                    self._finish()
        finally:
            self._out.drop()
            with contextlib.suppress(OSError):
                self._open.close()
            with contextlib.suppress(OSError):
                self._temporary.unlink()

    def _finish(self) -> None:
        self._out.close()
        descriptor = os.dup(self._file.fileno())
        try:
            self._open.close()
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._temporary.replace(self.path)

    @contextlib.contextmanager
    def _explained(self) -> Generator[None]:
        where = str(self.path)
        try:
            yield
        except TutelageError:
            raise
        except PermissionError as error:
            raise DeniedError("no permission to write", where=where, fix="choose another --out") from error
        except (FileExistsError, NotADirectoryError, IsADirectoryError, FileNotFoundError) as error:
            raise CannotCreateError(f"the file cannot be created: {error.strerror}", where=where) from error
        except OSError as error:
            raise DiskError(f"writing failed: {error.strerror}", where=where, fix="free some space") from error


class _Lines:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def add(self, row: Mapping[str, Any], where: str) -> None:
        self._file.write((_json(row, where) + "\n").encode())

    def close(self) -> None:
        """Nothing is held back."""

    def drop(self) -> None:
        """Nothing is held."""


class _Parquet:
    """Rows in groups of 1,024; the schema is that of the first row."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise UsageError("writing Parquet needs pyarrow", fix="pip install pyarrow") from error
        self._arrow: Any = pyarrow
        self._parquet: Any = pyarrow.parquet
        self._file, self._path = file, path
        self._writer: Any = None
        self._schema: Any = None
        self._json: list[str] = []
        self._held: list[dict[str, Any]] = []

    def add(self, row: Mapping[str, Any], where: str) -> None:
        if self._schema is None:
            self._schema = self._begin(row)
        if self._json == ["*"]:
            self._held.append({WHOLE: _json(row, where)})
        else:
            packed = {name: _json(row[name], where) for name in self._json if name in row}
            self._held.append({**row, **packed})
        if len(self._held) == _AT_ONCE:
            self._write()

    def close(self) -> None:
        if self._schema is None:
            self._schema = self._arrow.schema([])
        self._write()
        self._writer.close()

    def drop(self) -> None:
        """Let go of the file, whole or not."""
        if self._writer is not None and self._writer.is_open:
            with contextlib.suppress(OSError, self._arrow.ArrowException):
                self._writer.close()

    def _begin(self, row: Mapping[str, Any]) -> Any:
        arrow = self._arrow
        if "record" in row:
            self._json = ["*"]
            return arrow.schema([(WHOLE, arrow.string())], metadata={AS_JSON: b'["*"]'})
        types = _types(arrow, row.get("prompt", ""))
        self._json = [name for name in row if name not in types]
        fields = [(name, types.get(name, arrow.string())) for name in row]
        return arrow.schema(fields, metadata={AS_JSON: json.dumps(self._json).encode()})

    def _write(self) -> None:
        if self._writer is None:
            self._writer = self._parquet.ParquetWriter(self._file, self._schema)
        try:
            self._writer.write_table(self._arrow.Table.from_pylist(self._held, schema=self._schema))
        except (self._arrow.ArrowInvalid, self._arrow.ArrowTypeError) as error:
            raise DataError(
                f"a column of Parquet holds strings or messages, not both: {error}",
                where=str(self._path),
                fix="write .jsonl, or give chats and plain texts projects of their own",
            ) from error
        self._held = []


def _types(arrow: Any, prompt: Any) -> dict[str, Any]:
    turn = arrow.struct([("role", arrow.string()), ("content", arrow.string())])
    text = arrow.string() if isinstance(prompt, str) else arrow.list_(turn)
    number, name, flag = arrow.float64(), arrow.string(), arrow.bool_()
    rating = arrow.struct([("rater", name), ("aspect", name), ("score", number), ("scale", arrow.list_(number))])
    return {
        **dict.fromkeys(("prompt", "chosen", "rejected", "completion"), text),
        **dict.fromkeys(("weight", "margin"), number),
        **dict.fromkeys(("group", "rater"), name),
        **dict.fromkeys(("label", "tie", "both_bad"), flag),
        "completions": arrow.list_(text),
        "ranks": arrow.list_(arrow.int64()),
        "ratings": arrow.list_(rating),
    }


def _json(value: Any, where: str) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
        return text
    except (ValueError, TypeError) as error:
        raise DataError(f"a value that JSON in UTF-8 cannot hold: {error}", where=where) from error


@contextlib.contextmanager
def _packed(file: IO[bytes], path: Path) -> Generator[IO[bytes]]:
    if path.suffix != ".gz":
        yield file
        return
    with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed:
        yield packed  # type: ignore[misc]
