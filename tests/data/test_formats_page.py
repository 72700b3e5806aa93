"""Every example row of docs/formats.md is what its heading says; the template printed there is the one in use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tutelage.data._layouts import NEEDS
from tutelage.data.convert import RULES
from tutelage.data.formats import KINDS, detect_kind, load
from tutelage.data.template import DEFAULT_TEMPLATE
from tutelage.store.answers import read_answers

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_the_examples_of_a_kind_load_as_that_kind(kind: str, tmp_path: Path) -> None:
    section = PAGE.split(f"\n## {kind}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^```json\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[0].splitlines()
    for number, row in enumerate(rows):
        file = tmp_path / f"{number}.jsonl"
        file.write_text(row + "\n", encoding="utf-8")
        assert detect_kind(file) == kind
        assert load(file, kind)  # type: ignore[call-overload]


def test_the_rows_of_answers_are_what_rate_ask_reads(tmp_path: Path) -> None:
    section = PAGE.split("\n## Answers to be judged\n")[1].split("\n## ")[0]
    (block,) = re.findall(r"^```json\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    (tmp_path / "answers.jsonl").write_text(block, encoding="utf-8")
    bare, full = read_answers([tmp_path / "answers.jsonl"])
    assert (bare.text, bare.model, bare.finish, bare.seed) == ("A bridge opened.", "", "stop", 0)
    assert (full.text, full.model, full.finish) == ("A bridge.", "runs/sft/model@3f2a90c1d4e7", "stop")
    assert full.checkpoint == "3f2a90c1d4e75b6608c4f1a29d7be530" and not bare.checkpoint
    assert full.id.startswith("p1/0~") and full.prompt.meta == {"lang": "en"} and full.prompt.id != bare.prompt.id
    columns = set(re.findall(r"^`(\w+)` and `(\w+)` are|`(\w+)` \(", section, re.MULTILINE))
    named = {name for names in columns for name in names if name}
    assert named == {"prompt", "completion", "model", "checkpoint", "finish", "seed", "id", "meta"}


def test_the_page_prints_the_template_and_every_conversion() -> None:
    printed = re.findall(r"^```jinja\n(.*?)\n```", PAGE, re.MULTILINE | re.DOTALL)[0]
    assert printed == DEFAULT_TEMPLATE.replace("\n", "\\n")
    table = re.findall(r"^\| (\w[\w ]*) \| (\w+) \|", PAGE, re.MULTILINE)
    asked = {(kind, "prompt") for kind in KINDS if (kind, "prompt") in RULES}
    assert {pair for pair in table if pair[0] in KINDS} | asked == set(RULES)
    assert set(NEEDS) == set(KINDS)
