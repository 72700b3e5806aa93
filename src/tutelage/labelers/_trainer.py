"""The run that asks people, as `_live` is told of it (every run has one; only a live reward opens a database)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tutelage.labelers._voice import Say


@dataclass(frozen=True)
class Trainer:
    """The run that asks."""

    folder: Path
    """the run's, which keeps the name under which it asks"""
    leave: Callable[[], None] = lambda: None
    """called while it waits; raises when the run is asked to stop"""
    say: Say | None = None
    """hears how the waiting goes; None = as the reward was made to say things"""
    warn: Say | None = None
    """hears what must be heard"""
    rehearsal: bool = False
    """a dry run: nobody is asked"""
    ahead: set[str] = field(default_factory=set[str])
    """batches that were posted and are not waited for yet, of all the rewards of the run that ask people"""
