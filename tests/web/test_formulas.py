r"""Formulas in what is rated: $x_1 * y_1$ is shown as it was written, and everything around it is Markdown still."""

from __future__ import annotations

import html
import re
import time

import pytest

from tutelage.web.text import to_html


def shown(text: str) -> str:
    """What a reader sees, line by line."""
    lines = to_html(text).replace("<br>", "\n")
    return html.unescape(re.sub(r"<[^>]+>", "", lines)).strip()


@pytest.mark.parametrize("formula", [
    r"$a_1 + b_1 = c_1$",
    r"$x * y * z$",
    r"$\mathbf{x}_i^* \cdot \mathbf{y}_j^*$",
    r"$\{a, b\} \\ \_$",
    r"$$\sum_{i=1}^{n} x_i * y_i$$",
    r"\(a_1 * b_1 * c_1\)",
    r"\[a_1 \* b_1\]",
    r"$f(x) = [1](2)$",
    r"$a<b>c</b>$",
    r"$x ~~ y ~~ z$",
    r"$p(\text{答案}_1 \mid x_1)$",
    r"$100\%$",
])  # fmt: skip
def test_a_formula_in_a_line_stays_as_it_was_written(formula: str):
    assert shown(f"Let {formula} be.") == f"Let {formula} be."
    assert shown(f"**So** {formula}, _then_ {formula}") == f"So {formula}, then {formula}"


@pytest.mark.parametrize("formula", [
    "$$\na_1\n+ b_1\n- c_1\n= d_1\n$$",
    "\\[\n\\begin{aligned}\na_1 &= b_1 \\\\\n# c &= d\n\\end{aligned}\n\\]",
    "$$ x_1 * y_1\n1. z $$",
    "$$a_1 * b_1$$",
    "$$\nx\n---\n$$",
])  # fmt: skip
def test_a_formula_in_lines_of_its_own_is_neither_a_list_nor_a_heading(formula: str):
    made = to_html(f"Before:\n{formula}\nafter *it*.")
    assert not re.search("<(ul|ol|li|h1|h2|em)>", made.partition("after")[0]) and "<em>it</em>" in made
    assert shown(f"Before:\n\n{formula}\n\nafter").splitlines() == ["Before:", *formula.splitlines(), "after"]


def test_formulas_stand_in_lists_quotations_and_tables():
    lists = "- one $a_1 * b_1$\n- two\n  $$\n  x_1\n  + y_1\n  $$"
    made = to_html(f"{lists}\n\n> $$\n> p_1 * q_1\n> $$\n\n|a|\n|-|\n|$x_1*y_1*z$|")
    assert "<em>" not in made and made.count("<li>") == 2 and "<td>$x_1*y_1*z$</td>" in made
    assert "$$<br>x_1<br>+ y_1<br>$$" in made and "<blockquote>\n<p>$$<br>p_1 * q_1<br>$$</p>" in made


@pytest.mark.parametrize(("text", "wanted"), [
    ("It costs $5, *not* $6.", "<p>It costs $5, <em>not</em> $6.</p>"),
    ("$20,000 *and* $30,000", "<p>$20,000 <em>and</em> $30,000</p>"),
    ("US$ *a* US$", "<p>US$ <em>a</em> US$</p>"),
    (r"\$a *b* c\$", "<p>$a <em>b</em> c$</p>"),
    ("`$a_1$` *b* `x$`", "<p><code>$a_1$</code> <em>b</em> <code>x$</code></p>"),
    ("$5 and `x$` *b*", "<p>$5 and <code>x$</code> <em>b</em></p>"),
    ("$$ *a*", "<p>$$ <em>a</em></p>"),
    ("$$$$ *a*", "<p>$$$$ <em>a</em></p>"),
    (r"\[link\] *a*", "<p>[link] <em>a</em></p>"),
    (r"see \[1\], \(x\) *a*", "<p>see [1], (x) <em>a</em></p>"),
    ("$$\nx *a*\n\nb $$", "<p>$$\nx <em>a</em></p>\n<p>b $$</p>"),
    ("    $$ *a* $$", "<pre><code>$$ *a* $$\n</code></pre>"),
    ("```\n$$\n*a*\n$$\n```", "<pre><code>$$\n*a*\n$$\n</code></pre>"),
])  # fmt: skip
def test_what_is_no_formula_is_markdown(text: str, wanted: str):
    assert to_html(text).strip() == wanted


def test_a_formula_hides_nothing_and_runs_nothing():
    made = to_html("$<script>alert(1)</script> \u202e_x_$ $$\n<img src=x onerror=y>\n$$")
    assert "<script" not in made and "<img" not in made and 'title="U+202E"' in made


@pytest.mark.parametrize(
    "piece", ["$", "$a ", "$$", "$$x\n", r"\(", r"\[", "\\[x\n", "> $$\n", "- $$x\n", "$`", "$$a`"]
)
def test_a_text_of_openings_alone_does_not_make_the_server_think_long(piece: str):
    began = time.process_time()
    to_html(piece * (190_000 // len(piece)))
    assert time.process_time() - began < 5.0
