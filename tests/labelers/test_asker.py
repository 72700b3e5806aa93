"""Under which name a run asks people: the same for ever, and another for a copy of its folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tutelage.labelers._asker import FILE, asker


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def test_a_name_is_kept_over_restarts_and_when_the_folder_is_moved(run: Path) -> None:
    heard: list[str] = []
    name = asker(run, heard.append)
    assert asker(run, heard.append) == name
    moved = run.rename(run.with_name("moved"))
    assert asker(moved, heard.append) == name == asker(moved, heard.append)
    moved.rename(run)
    assert asker(run, heard.append) == name and heard == []


def test_a_copy_asks_under_a_name_of_its_own_and_says_so(run: Path) -> None:
    heard: list[str] = []
    name = asker(run, heard.append)
    copy = shutil.copytree(run, run.with_name("copy"))
    other = asker(copy, heard.append)
    assert other != name and asker(copy, heard.append) == other and asker(run, heard.append) == name
    assert len(heard) == 1 and f"{copy} is a copy of {run}" in heard[0] and "a name of its own" in heard[0]


def test_a_folder_that_is_put_back_where_it_was_is_the_same_run(run: Path) -> None:
    name = asker(run, print)
    kept = shutil.copytree(run, run.with_name("backup"))
    shutil.rmtree(run)
    (run.with_name("else")).mkdir()  # another folder may get the number of the one that went
    shutil.copytree(kept, run)
    heard: list[str] = []
    assert asker(run, heard.append) == name and heard == []


def test_the_bare_name_of_older_runs_is_taken_over(run: Path) -> None:
    (run / FILE).write_text("0123abcd", encoding="ascii")
    assert asker(run, print) == "0123abcd" and (run / FILE).read_text().startswith("{")
    copy = shutil.copytree(run, run.with_name("copy"))
    assert asker(copy, lambda text: None) != "0123abcd"
