"""Parquet files and `datasets` folders give the same rows as JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tutelage.data.formats import detect_kind, load
from tutelage.errors import DataError, UsageError
from tutelage.types import Message

ROWS: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "a", "name": "x"}, {"role": "assistant", "content": "你"}], "n": 1},
    {"messages": [{"role": "user", "content": "b"}, {"role": "assistant", "content": "d"}], "n": None},
]


def test_a_parquet_file_is_read_with_row_numbers(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "chat.parquet")
    assert detect_kind(tmp_path / "chat.parquet") == "demonstration"
    rows = load(tmp_path / "chat.parquet", "demonstration")
    assert rows[0].completion == (Message("assistant", "你"),)
    assert rows[1].where.endswith("chat.parquet:row 2")


def test_a_bad_parquet_row_is_named_by_its_number(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([{"text": "a"}, {"text": None}]), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="null") as caught:
        load(tmp_path / "t.parquet", "text")
    assert "t.parquet:row 2" in str(caught.value.where)


def test_damaged_and_empty_parquet_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(DataError, match="not a readable Parquet"):
        load(tmp_path / "x.parquet", "text")
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "e.parquet")
    with pytest.raises(DataError, match="no rows"):
        load(tmp_path / "e.parquet", "text")


def test_a_saved_dataset_is_read_and_its_splits_must_be_named(tmp_path: Path) -> None:
    split = tmp_path / "set" / "train"
    split.mkdir(parents=True)
    table = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(split / "data-0.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    (split / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-0.arrow"}]}))
    (split / "dataset_info.json").write_text("{}")
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    assert len(load(split, "demonstration")) == 2
    with pytest.raises(UsageError, match="the splits train"):
        load(tmp_path / "set", "demonstration")
    (split / "data-0.arrow").write_bytes(b"nothing")
    with pytest.raises(DataError, match="not a readable"):
        load(split, "demonstration")


def test_a_folder_of_files_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["two"]}), tmp_path / "b.parquet")
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n')
    (tmp_path / "README.md").write_text("not data")
    assert [row.text for row in load(tmp_path, "text")] == ["one", "two"]
