"""Text of models and people as HTML that cannot do anything: Markdown without HTML, then an allow-list.

No raw HTML, no images, links only to http, https and mailto with their host shown to be elsewhere's, and characters
that cannot be seen or that turn the line around made visible, so that what is judged is what was written. Formulas
stand as they were written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import escape

from tutelage.web._formulas import leave_formulas, lines_of

LETTERS = 200_000
"""More than this is shown as it is, without Markdown: no text may make the server think long."""
ROWS = 400
"""Lines with a bar; more of them is no table for people to read, and costs the browser dear."""

TAGS = {
    "p", "br", "hr", "em", "strong", "s", "del", "code", "pre", "blockquote", "ul", "ol", "li", "a", "span",
    "h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, "span": {"title"}}
SCHEMES = {"http", "https", "mailto"}
HIDDEN = re.compile(
    "[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e"
    "\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
    "|(?<![\u2600-\u27bf\ufe0f\U0001f000-\U0001faff])\u200d|\u200d(?![\u2600-\u27bf\U0001f000-\U0001faff])"
)
"""Controls, zero width, bidi overrides and isolates, fillers, tags; joiners and selectors but for those of emoji."""
_MARK = "\ue000"
"""Stands before and after a code point while Markdown and the sanitiser work; it is private use, and never let in."""


def to_html(text: str, under: int = 0) -> str:
    """Markdown as safe HTML (a fragment); the result is the same whatever the page around it.

    Args:
        under: level of the heading that it stands under: its own headings begin one below.
    """
    marked = _mark(text)
    bars = sum("|" in line for line in text.splitlines())
    if len(text) > LETTERS or text.count("|") > 20 * ROWS or bars > ROWS:
        made = f"<p>{_boxes(str(escape(marked)))}</p>".replace("\n", "<br>")
    else:
        made = _MARKDOWN.render(marked, {"under": under})
    return nh3.clean(  # last: whatever was made before, only this leaves
        made,
        tags=TAGS,
        attributes=ATTRIBUTES,
        url_schemes=SCHEMES,
        link_rel="noopener noreferrer nofollow",
        allowed_classes={"span": {"image", "unseen"}},
        generic_attribute_prefixes=set(),
        strip_comments=True,
    )


def _mark(text: str) -> str:
    plain = text.replace(_MARK, "\ufffd").replace("\r\n", "\n").replace("\r", "\n")
    return HIDDEN.sub(lambda found: f"{_MARK}{ord(found.group()):04X}{_MARK}", plain)


def _boxes(html: str) -> str:
    """Marks between tags as small boxes with the code point."""
    return re.sub(rf"{_MARK}([0-9A-F]+){_MARK}", r'<span class="unseen" title="U+\1">U+\1</span>', html)


def _told(value: str) -> str:
    """Marks inside an attribute as words."""
    return re.sub(rf"{_MARK}([0-9A-F]+){_MARK}", r"[U+\1]", value)


def _render_text(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    return _boxes(str(escape(tokens[index].content)))


def _render_code(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    return f"<code>{_boxes(str(escape(tokens[index].content)))}</code>"


def _render_block(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    return f"<pre><code>{_boxes(str(escape(tokens[index].content)))}</code></pre>\n"


def _render_image(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """An image is told, not fetched: fetching would say who rates, and when."""
    source = _told(str(tokens[index].attrs.get("src", "")))
    return (
        f'<span class="image" title="{escape(source)}">🖼 {_boxes(str(escape(tokens[index].content or "image")))}</span>'
    )


def _render_link(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """A link shows where it goes when it is pointed at, not a title that somebody made up."""
    target = _told(str(tokens[index].attrs.get("href", "")))
    whole = re.match(r"https?://|mailto:", target, re.IGNORECASE)  # others lead into this site, or nobody knows where
    address = f' href="{escape(target)}"' if whole else ""
    return f'<a{address} title="{escape(target)}">'


def _render_heading(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    level = min(6, int(token.tag[1]) + env["under"])
    return f"<h{level}>" if token.nesting > 0 else f"</h{level}>\n"


def _render_formula(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    return f"<p>{'<br>'.join(_boxes(str(escape(line))) for line in lines_of(tokens[index].content))}</p>\n"


def _parser() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False, "maxNesting": 20}).enable(["table", "strikethrough"])
    rules = {
        "text": _render_text,
        "code_inline": _render_code,
        "code_block": _render_block,
        "fence": _render_block,
        "image": _render_image,
        "link_open": _render_link,
        "heading_open": _render_heading,
        "heading_close": _render_heading,
        "formula": _render_formula,
    }
    leave_formulas(made)
    for name, rule in rules.items():
        made.add_render_rule(name, rule)
    return made


_MARKDOWN = _parser()
