"""Reads Parquet files and folders saved by Hugging Face `datasets`, row by row (pyarrow, imported when needed)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tutelage.data.jsonl import Row
from tutelage.data.writing import AS_JSON, WHOLE
from tutelage.errors import DataError, DeniedError, MissingInputError, UsageError

_ROWS_AT_ONCE = 1024


def read(path: Path) -> Iterator[Row]:
    """The rows of a Parquet file; `where` is `file:row N`, from 1.

    Raises:
        MissingInputError, DeniedError, DataError: not there, not readable, damaged or empty.
    """
    _, arrow, parquet = _pyarrow()
    try:
        with parquet.ParquetFile(path) as file:
            packed = json.loads((file.schema_arrow.metadata or {}).get(AS_JSON, b"[]"))
            rows = _rows(path, file.iter_batches(batch_size=_ROWS_AT_ONCE))
            yield from rows if not packed else (_unpacked(row, packed) for row in rows)
    except FileNotFoundError as error:
        raise MissingInputError("no such file", where=str(path)) from error
    except PermissionError as error:
        raise DeniedError("no permission to read", where=str(path), fix=f"chmod +r {path}") from error
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"not a readable Parquet file: {error}", where=str(path), fix="copy it again") from error


def is_saved_dataset(folder: Path) -> bool:
    """Whether `datasets.save_to_disk` made this folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def read_saved_dataset(folder: Path) -> Iterator[Row]:
    """The rows of a folder that `datasets.save_to_disk` made.

    Raises:
        UsageError: it holds several splits.
        DataError: damaged.
    """
    if (folder / "dataset_dict.json").is_file():
        splits = sorted(child.name for child in folder.iterdir() if (child / "state.json").is_file())
        raise UsageError(
            f"the folder holds the splits {', '.join(splits)}",
            where=str(folder),
            fix=f"name one of them: {folder / (splits[0] if splits else 'train')}",
        )
    ipc, arrow, _ = _pyarrow()
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        for part in state["_data_files"]:
            with arrow.memory_map(str(folder / part["filename"])) as source, ipc.open_stream(source) as stream:
                yield from _rows(folder / part["filename"], stream)
    except (arrow.ArrowException, OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise DataError(f"not a readable `datasets` folder: {error}", where=str(folder), fix="save it again") from error


def _rows(path: Path, batches: Any) -> Iterator[Row]:
    number = 0
    for batch in batches:
        for data in batch.to_pylist():
            number += 1
            yield Row({key: _without_nulls(value) for key, value in data.items()}, f"{path}:row {number}")
    if not number:
        raise DataError("the file holds no rows", where=str(path))


def _unpacked(row: Row, packed: list[str]) -> Row:
    """The row with its columns of JSON text read (`data.writing` makes them)."""
    try:
        if packed == ["*"]:
            return Row(json.loads(row.data[WHOLE]), row.where)
        return Row(row.data | {name: json.loads(row.data[name]) for name in packed if name in row.data}, row.where)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"a column of JSON text is damaged: {error}", where=row.where) from error


def _without_nulls(value: Any) -> Any:
    """Parquet gives every message the keys of all messages, null where there were none: take those away again."""
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


def _pyarrow() -> tuple[Any, Any, Any]:
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError("reading Parquet needs pyarrow", fix="pip install pyarrow") from error
    return pyarrow.ipc, pyarrow, pyarrow.parquet
