"""What a verb is: a name, a dataclass of settings and a function; and the settings that all verbs share."""

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


@dataclass(frozen=True, kw_only=True)
class Common:
    """The flags that every command has."""

    config: str = ""
    """YAML file with any of the options"""
    set: tuple[str, ...] = ()
    """KEY=VALUE with a dotted key; may be repeated"""
    print_config: bool = False
    """print the resolved configuration with the origin of each value, and stop"""
    dry_run: bool = False
    """check everything and stop before the first step"""
    quiet: bool = False
    """no progress and no tables; warnings and errors stay"""
    json: bool = False
    """print results as JSON lines on stdout"""
    debug: bool = False
    """show tracebacks"""
