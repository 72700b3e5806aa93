"""Writes docs/cli.md and the kept help pages from the verbs themselves: `python -m tutelage.cli._docs [FILE]`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from tutelage.cli import _help, _train_help, _verbs
from tutelage.cli._endings import EXIT_CODES

_HEAD = """\
# The command line

Made by `python -m tutelage.cli._docs docs/cli.md` from the commands themselves; a test keeps it true.

Settings come from the defaults of the command, then the YAML file, then `--set` and the flags; the later one wins, and
lists are replaced whole. An unknown key is an error that names its file, line and column. `--print-config` shows each
value with its origin, and what it prints can be read again as CONFIG.yaml. `-` and `_` are the same in keys and flags.
"""


def text() -> str:
    """The whole page, as Markdown."""
    return "\n".join(_sections()) + "\n"


def _sections() -> Iterator[str]:
    yield _HEAD
    yield "## Exit codes\n"
    yield "| code | meaning |\n|---|---|"
    yield from (f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    for name in _verbs.names():
        table = _verbs.subverbs(name)
        for sub in table or [None]:
            verb = _verbs.load(name, sub)
            yield f"\n## tutelage {verb.name}\n\n```text\n{_help.page(verb, width=100)}\n```"


if __name__ == "__main__":
    _train_help.KEPT.write_text(_train_help.written(), encoding="utf-8")
    Path(sys.argv[1] if len(sys.argv) > 1 else "docs/cli.md").write_text(text(), encoding="utf-8")
