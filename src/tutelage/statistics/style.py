"""How an answer looks, apart from what it says: length, lists, headers, bold; by how much two answers differ in it.

Style control of a leaderboard (Li, Angelopoulos & Chiang 2024, "Does style matter?", LMSYS): what people choose for its
looks is fitted beside the strengths, so that these are what remains. Differences are relative, (a − b)/(a + b), and so
between −1 and 1 in every language.
"""

from __future__ import annotations

import re

STYLES = ("length", "lists", "headers", "bold")
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_LISTS = re.compile(r"^\s*(?:[-*+•]|\d+[.)、])\s*\S", re.MULTILINE)
_HEADERS = re.compile(r"^#{1,6}\s+\S", re.MULTILINE)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")


def style(text: str) -> tuple[float, ...]:
    """Characters without white space, list items, headers and bold words, in the order of STYLES; code is not read."""
    prose = _FENCE.sub("", text)
    counts = (len(pattern.findall(prose)) for pattern in (_LISTS, _HEADERS, _BOLD))
    return (float(len("".join(text.split()))), *map(float, counts))


def style_difference(first: str, second: str) -> tuple[float, ...]:
    """(first − second) / (first + second) of each style; 0 where neither has any.

    Example:
        >>> style_difference("aaa", "a")
        (0.5, 0.0, 0.0, 0.0)
    """
    pairs = zip(style(first), style(second), strict=True)
    return tuple((one - other) / (one + other) if one + other else 0.0 for one, other in pairs)
