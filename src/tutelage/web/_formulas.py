r"""Formulas in Markdown are left as they were written: no underscore, asterisk or backslash in them is a sign of it.

In a line $…$, $$…$$, \(…\) or \[…\]; as lines of their own $$…$$ or \[…\]. As in Pandoc, $ opens before something that
is no space and closes after something that is none and before no digit: "$5 and $6" holds no formula.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline

LONGEST = 4000
"""letters of a formula: nobody writes longer ones, and a text of openings alone costs no more than its length"""
_TRIES = 8
"""closing signs that are looked at for one that opens"""
_CLOSING = {"$$": "$$", "\\(": "\\)", "\\[": "\\]"}
_SIGN = re.compile(r"[\\_^*{}=<>|+~&]")
"""Without one of these, a bracket after a backslash is a bracket that somebody did not want to be a link's."""
_BLANK = re.compile(r"\n[ \t]*\n")


def leave_formulas(parser: MarkdownIt) -> None:
    """Add the rules to a parser; what renders `formula` tokens gets their lines in `content`."""
    parser.inline.ruler.before("escape", "formula", _in_line)
    parser.block.ruler.before("fence", "formula", _of_its_own, {"alt": ["paragraph", "blockquote", "list"]})


def _in_line(state: StateInline, silent: bool) -> bool:
    end = _end(state.src, state.pos, state.posMax)
    if end is None:
        return False
    if not silent:
        state.push("text", "", 0).content = state.src[state.pos : end]
    state.pos = end
    return True


def _end(text: str, at: int, most: int) -> int | None:
    """Where a formula that begins at `at` ends; None: there is none."""
    most = min(most, at + LONGEST)
    if closing := _CLOSING.get(text[at : at + 2]):
        close = text.find(closing, at + 2, most)
        inside = text[at + 2 : close] if close >= 0 else ""
        whole = inside.strip() and "`" not in inside and (closing == "$$" or _SIGN.search(inside))
        return close + 2 if whole else None
    if text[at] != "$" or at + 1 >= most or text[at + 1].isspace():
        return None
    close = at + 1
    for _ in range(_TRIES):
        close = text.find("$", close + 1, most)
        if close < 0 or "`" in text[at:close]:
            return None
        if not text[close - 1].isspace() and text[close - 1] != "\\" and not text[close + 1 : close + 2].isdecimal():
            return close + 1
    return None


def _of_its_own(state: StateBlock, start: int, last: int, silent: bool) -> bool:
    at = state.bMarks[start] + state.tShift[start]
    closing = _CLOSING.get(state.src[at : at + 2]) if not state.is_code_block(start) else None
    if closing is None or state.src[at : at + 2] == "\\(":
        return False
    close = state.src.find(closing, at + 2, at + LONGEST)
    inside = state.src[at + 2 : close] if close >= 0 else ""
    if not inside.strip() or _BLANK.search(inside) or (closing == "\\]" and not _SIGN.search(inside)):
        return False
    line = start
    while line < last and state.eMarks[line] < close:
        line += 1
        if line < last and state.sCount[line] < state.blkIndent:
            return False  # outside of the list or the quotation in which it begins
    if line >= last or state.src[close + 2 : state.eMarks[line]].strip():
        return False
    if not silent:
        token = state.push("formula", "", 0)
        token.content = state.getLines(start, line + 1, state.blkIndent, False)
        token.map = [start, line + 1]
    state.line = line + 1
    return True


def lines_of(content: str) -> Sequence[str]:
    """The lines of a formula without the white space around them, which says nothing."""
    return [line.strip() for line in content.strip().splitlines()]
