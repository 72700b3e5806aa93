"""What tests of whole commands share: a folder with a model and data, and the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tutelage.cli.main import main


class Said:
    """How a command ended, and all that it said."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def expect(self, code: int, *parts: str) -> Said:
        """This exit code, all of these words, and nothing that only a programmer reads."""
        both = self.out + self.err
        assert self.code == code, both
        for part in parts:
            assert part in both, f"{part!r} is not in: {both}"
        assert "Traceback" not in both and "bug of ours" not in both
        return self

    def silent_on(self, *parts: str) -> Said:
        """None of these words: an alarm that cries wolf is read once."""
        for part in parts:
            assert part not in self.out + self.err, self.out + self.err
        return self


class Place:
    """A folder of its own, and commands that run in this process."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys

    def rows(self, rows: Sequence[Any], name: str = "rows.jsonl") -> str:
        """Write `rows` to a file; answers its path."""
        (self.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(self.folder / name)

    def __call__(self, *words: object) -> Said:
        self.capsys.readouterr()
        code = main([str(word) for word in words])
        caught = self.capsys.readouterr()
        return Said(code, caught.out, caught.err)

    def train(self, command: str, model: Path, rows: Sequence[Any], *words: object) -> Said:
        """A training command on these rows, quiet as a job at night."""
        given = ("--model", model, "--data", self.rows(rows), "--out", self.folder / "run")
        return self(command, *given, "--batch-size", 4, "--quiet", *words)

    def copy(self, model: Path, name: str = "copy") -> Path:
        """A model folder that may be spoilt."""
        folder = self.folder / name
        shutil.copytree(model, folder)
        return folder


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty folder and the command line, on a screen so wide that no table breaks a sentence."""
    monkeypatch.setenv("COLUMNS", "1000")
    return Place(tmp_path, capsys)
