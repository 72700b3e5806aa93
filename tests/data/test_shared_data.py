"""All real data beside the checkout loads as what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.data.formats import detect_kind, load

KIND_OF_FOLDER = {
    "preference": {"preference"},
    "demo_ai_labelled": {"preference", "unpaired"},
    "pretrain": {"text"},
    "prompts": {"prompt"},
    "sft": {"demonstration"},
    "ratings": {"rated", "ranking"},
}
NO_ROWS_TO_TRAIN_ON = {"en_summeval_references.jsonl"}
EMPTY_ANSWERS = {"en_pandalm_3raters.jsonl": 33}


@pytest.mark.parametrize("folder", KIND_OF_FOLDER)
def test_every_file_of_the_folder_loads_whole(folder: str, shared: Path) -> None:
    for file in sorted((shared / "data" / folder).glob("*.jsonl")):
        if file.name in NO_ROWS_TO_TRAIN_ON:
            continue
        kind = detect_kind(file)
        assert kind in KIND_OF_FOLDER[folder]
        rows = load(file, kind, on_bad="skip")
        with file.open(encoding="utf-8") as lines:
            count = sum(1 for _ in lines)
        skipped = sum(rows.report.skipped.values())
        assert skipped == EMPTY_ANSWERS.get(file.name, 0)
        assert len(rows) >= count - skipped
