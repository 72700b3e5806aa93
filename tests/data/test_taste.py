"""A taste of the user's own: found beside the command, and told what it should return."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tutelage.data.taste import named_taste
from tutelage.errors import UsageError


def test_a_module_in_the_current_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taste_beside.py").write_text("def score(meta, text):\n    return {'overall': 0.5}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert named_taste("taste_beside:score")({}, "text") == {"overall": 0.5}


@pytest.mark.parametrize("returned", ["3.0", "None", "{'fluent': 1.0}", "{'overall': 'good'}"])
def test_a_taste_that_returns_something_else_is_told_what_to_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, returned: str
) -> None:
    (tmp_path / "taste_wrong.py").write_text(f"def score(meta, text):\n    return {returned}\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    sys.modules.pop("taste_wrong", None)
    with pytest.raises(UsageError, match="the taste 'taste_wrong:score' returned") as caught:
        named_taste("taste_wrong:score")({}, "text")
    assert "overall" in str(caught.value)


def test_a_module_with_a_syntax_error_is_not_a_bug_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taste_broken.py").write_text("def score(:\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(UsageError, match="cannot import 'taste_broken:score'"):
        named_taste("taste_broken:score")
