"""The words of the pages: every sentence in both languages, with the same gaps to fill; all that templates ask for."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tutelage.web._pages import FOLDER, words


def sentences(tree: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            yield from sentences(value, name)
        elif isinstance(value, list):
            yield from ((f"{name}.{at}", text) for at, text in enumerate(value))
        else:
            yield name, value


def load(language: str) -> dict[str, str]:
    return dict(sentences(json.loads((FOLDER / "words" / f"{language}.json").read_text(encoding="utf-8"))))


def test_both_languages_say_the_same_things():
    english, chinese = load("en"), load("zh")
    plurals = {name for name in english if name.endswith("_one")}  # Chinese has none
    assert english.keys() - plurals == chinese.keys() - plurals
    assert all(value.strip() for value in (*english.values(), *chinese.values()))


def test_both_languages_fill_the_same_gaps():
    def gaps(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    english, chinese = load("en"), load("zh")
    assert {name for name in english if name in chinese and gaps(english[name]) != gaps(chinese[name])} == set()


def test_chinese_is_chinese():
    alike = {"site.other_language", "admin.agreement.alpha", *(f"admin.agreement.measures.{at}" for at in (1, 2, 3))}
    latin = [name for name, text in load("zh").items() if not re.search("[\u4e00-\u9fff]", text) and name not in alike]
    assert not [name for name in latin if name.startswith(("site.", "door.", "error.", "admin."))], latin


@pytest.mark.parametrize("file", sorted((FOLDER / "templates").rglob("*.j2")), ids=lambda file: file.name)
def test_templates_ask_only_for_words_that_exist(file: Path):
    told = words("en")
    for path in re.findall(r"\bwords\.([a-z_]+(?:\.[a-z_]+)+)", file.read_text(encoding="utf-8")):
        assert reach(told, path), f"{file.name}: words.{path}"
    for path in re.findall(r"\bw\.([a-z_]+(?:\.[a-z_]+)+)", file.read_text(encoding="utf-8")):
        assert reach(told["admin"], path), f"{file.name}: w.{path}"


def reach(tree: Any, path: str) -> bool:
    for key in path.split("."):
        if key in ("format", "get") and not (isinstance(tree, dict) and key in tree):
            return True
        if not isinstance(tree, dict) or key not in tree:
            return False
        tree = tree[key]
    return True
