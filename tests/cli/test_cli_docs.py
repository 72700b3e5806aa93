"""docs/cli.md says what the commands say of themselves."""

from __future__ import annotations

from pathlib import Path

from tutelage.cli import _docs, _verbs

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "cli.md"


def test_the_page_is_what_the_commands_say():
    wanted = _docs.text()
    assert PAGE.read_text(encoding="utf-8") == wanted, "run: python -m tutelage.cli._docs docs/cli.md"
    assert all(f"## tutelage {name}" in wanted for name in _verbs.names())
