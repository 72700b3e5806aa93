"""The rating screen's built files: made from the sources beside them, and with all their words."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from tutelage.web._pages import FOLDER, words

SOURCES = FOLDER / "ui"


def sources() -> list[Path]:
    return sorted((SOURCES / "src").iterdir(), key=lambda file: file.name)


def test_the_built_files_are_up_to_date():
    digest = hashlib.sha256()
    for file in [*sources(), SOURCES / "package-lock.json"]:
        digest.update(file.read_bytes())
    for name in ("rating.js", "rating.css"):
        first = (FOLDER / "static" / name).read_text(encoding="utf-8").split("\n", 1)[0]
        assert digest.hexdigest()[:16] in first, f"{name} is stale: npm ci && npm run build in web/ui"


def test_the_screen_asks_only_for_words_that_exist():
    told = words("en")["rate"]
    text = "\n".join(file.read_text(encoding="utf-8") for file in sources() if file.suffix in (".ts", ".tsx"))
    asked = set(re.findall(r'\b(?:say|gap)\("([a-z_]+)"', text))
    assert len(asked) > 50 and asked <= told.keys()


def test_the_built_files_ask_nobody_else_and_are_small():
    script = (FOLDER / "static" / "rating.js").read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[\w.]+", script)) <= {"http://www.w3.org"}  # the name of SVG
    assert "eval(" not in script and len(script) < 100_000
