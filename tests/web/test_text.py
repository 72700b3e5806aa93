"""Texts of models as HTML: nothing runs, loads, or hides, whatever they hold; ordinary Markdown stays what it is."""

from __future__ import annotations

import time
from html.parser import HTMLParser

import pytest

from hostile import CORPUS
from tutelage.web.text import HIDDEN, TAGS, to_html

ALLOWED = {"a": {"href", "title", "rel"}, "ol": {"start"}, "span": {"title", "class"}}


class Inspector(HTMLParser):
    """Notes every tag and attribute as a browser would see them."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            self.faults.append(f"<{tag}>")
        for name, value in attrs:
            told = value or ""
            if name not in ALLOWED.get(tag, set()):
                self.faults.append(f"<{tag} {name}>")
            if name == "href" and not told.lower().startswith(("http://", "https://", "mailto:")):
                self.faults.append(f"href={told}")
            if name == "class" and told not in ("image", "unseen"):
                self.faults.append(f"class={told}")
            if HIDDEN.search(told):
                self.faults.append(f"hidden in {name}")

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.faults.append("comment")

    def handle_decl(self, decl: str) -> None:
        self.faults.append("declaration")

    def handle_pi(self, data: str) -> None:
        self.faults.append("instruction")


def test_the_corpus_is_as_large_as_promised():
    assert len(set(CORPUS)) >= 200


@pytest.mark.parametrize("number", range(len(CORPUS)))
def test_hostile_text_is_shown_and_does_nothing(number: int):
    began = time.process_time()
    html = to_html(CORPUS[number])
    assert time.process_time() - began < 2.0, "no text makes the server think long"
    inspector = Inspector()
    inspector.feed(html)
    inspector.close()
    assert not inspector.faults, f"{inspector.faults}: {html[:300]}"
    assert not HIDDEN.search(inspector.text), "what cannot be seen was not made visible"


def test_raw_html_is_shown_as_text():
    assert to_html("<b>x</b>") == "<p>&lt;b&gt;x&lt;/b&gt;</p>\n"


def test_ordinary_markdown_is_rendered():
    html = to_html("# 标题\n\n**bold** *it* ~~no~~ `x<y`\n\n1. one\n2. two\n\n|a|b|\n|-|-|\n|1|2|\n\n> quote")
    for piece in (
        "<h1>标题</h1>",
        "<strong>bold</strong>",
        "<s>no</s>",
        "<code>x&lt;y</code>",
        "<ol>",
        "<td>2</td>",
        "<blockquote>",
    ):
        assert piece in html, piece


@pytest.mark.parametrize(("under", "levels"), [(0, "126"), (1, "236"), (2, "346")])
def test_headings_stand_under_that_of_the_page(under: int, levels: str):
    one, two, six = (f"h{level}" for level in levels)
    wanted = f"<{one}>a</{one}>\n<{two}>b</{two}>\n<{six}>c</{six}>\n"
    assert to_html("# a\n\nb\n---\n\n###### c", under) == wanted


def test_images_are_told_and_not_fetched():
    html = to_html("![a cat](https://evil.example/x.png)")
    assert "<img" not in html and "a cat" in html and 'class="image"' in html


def test_links_say_where_they_go_and_tell_nothing_of_this_page():
    html = to_html("[bank](https://evil.example 'my bank')")
    assert (
        'title="https://evil.example"' in html
        and 'rel="noopener noreferrer nofollow"' in html
        and "my bank" not in html
    )


def test_unseen_characters_are_boxes_with_their_code_and_cannot_be_forged():
    assert '<span class="unseen" title="U+202E">U+202E</span>' in to_html("a\u202eb")
    assert "unseen" not in to_html("\ue000202E\ue000") and "<span" not in to_html("<span class='unseen'>x</span>")


def test_emoji_that_are_joined_stay_whole():
    assert to_html("👩‍👩‍👧 ❤️") == "<p>👩‍👩‍👧 ❤️</p>\n"


def test_line_ends_of_every_system_are_the_same():
    assert to_html("a\r\n\r\nb\rc") == to_html("a\n\nb\nc")
