"""Which pairs to ask people about next: every other file here is a way to choose."""

from __future__ import annotations

from tutelage.statistics.selection._base import Candidate, Chosen, Selector, select

__all__ = ["Candidate", "Chosen", "Selector", "select"]
