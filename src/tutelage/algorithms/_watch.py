"""How a run watches a score that it is not trained on, and what it does when that score and the reward part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["warn", "stop", "rollback"]


@dataclass(frozen=True)
class WatchRule:
    """When to look, how long to wait, and what then (the rule itself: `train/guard.py`).

    Example:
        >>> WatchRule(every=10, patience=2, action="rollback")
    """

    every: int = 0
    """steps between looks; 0 = at every evaluation"""
    patience: int = 2
    """how many looks in a row must be bad"""
    action: Action = "warn"
    """`warn`: an alarm; `stop`: the run ends too; `rollback`: and it leaves the best model by the watched score"""
