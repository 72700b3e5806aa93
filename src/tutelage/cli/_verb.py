"""What a verb is: a name, a dataclass of settings and a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tutelage.cli._ui import UI
from tutelage.config import Resolved

Run = Callable[[Resolved[Any], UI], int]


@dataclass(frozen=True)
class Verb:
    """One command that can be run."""

    name: str
    """as typed: `sft`, `data check`"""
    config: type
    run: Run
    summary: str
    handles_dry_run: bool = False
    """`run` looks at `ui.dry_run`; otherwise `--dry-run` ends once the configuration is checked"""

    @property
    def positional(self) -> str | None:
        """The setting that the positional argument fills, or None when it is CONFIG.yaml."""
        return vars(self.config).get("positional")
