"""Journals and TensorBoard events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tutelage.train.metrics import Events, Journal, read


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "m.jsonl")
    journal.append({"a": float("nan"), "b": [float("inf"), 1], "c": {"d": float("-inf")}, "text": "中\nline"})
    journal.close()
    assert (tmp_path / "m.jsonl").read_bytes().count(b"\n") == 1
    assert list(read(tmp_path / "m.jsonl")) == [{"a": None, "b": [None, 1], "c": {"d": None}, "text": "中\nline"}]


def test_a_torn_last_line_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"step": 1}\n{"step": 2')
    assert list(read(tmp_path / "m.jsonl")) == [{"step": 1}]


def test_truncating_beyond_the_end_says_that_lines_are_lost(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "m.jsonl")
    journal.append({"step": 1})
    size = journal.size()
    journal.append({"step": 2})
    assert journal.truncate(size)
    assert json.loads((tmp_path / "m.jsonl").read_text()) == {"step": 1}
    assert not journal.truncate(size + 1)
    journal.close()
    journal.close()


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_the_events_and_forgets_what_a_killed_process_wrote(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = Events(tmp_path / "events", 0)
    for step in range(1, 6):
        first.append(step, {"loss/policy": float(step)})
    first.close()
    second = Events(tmp_path / "events", 3)
    for step in range(4, 7):
        second.append(step, {"loss/policy": step / 2})
    second.close()

    found: Any = EventAccumulator(str(tmp_path / "events"))
    found.Reload()
    assert [(event.step, event.value) for event in found.Scalars("loss/policy")] == [
        (1, 1.0), (2, 2.0), (3, 3.0), (4, 2.0), (5, 2.5), (6, 3.0),
    ]  # fmt: skip
