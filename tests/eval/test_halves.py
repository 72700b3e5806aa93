"""Choosing by one half of the prompts and reporting the other."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tutelage.eval.halves import halves


def written(path: Path, scores: list[float]) -> Path:
    rows = [{"id": f"p{number}", "gold_model": score} for number, score in enumerate(scores)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_each_prompt_is_in_one_half_and_always_in_the_same(tmp_path: Path) -> None:
    scores = [float(number) for number in range(100)]
    found = halves(written(tmp_path / "a.jsonl", scores))
    for number in range(100):
        other = halves(written(tmp_path / "b.jsonl", [s + 1000 * (n == number) for n, s in enumerate(scores)]))
        assert (other["chosen_by"] > found["chosen_by"]) != (other["reported"] > found["reported"])


def test_the_chosen_ones_reported_number_is_not_flattered(tmp_path: Path) -> None:
    """Thirty equally good models: the best looks better than ½ on the half it was chosen by, not on the other."""
    draw, chosen, reported = random.Random(0), list[float](), list[float]()
    for _ in range(30):
        found = [halves(written(tmp_path / "a.jsonl", [draw.random() for _ in range(60)])) for _ in range(8)]
        best = max(found, key=lambda one: one["chosen_by"])
        chosen.append(best["chosen_by"])
        reported.append(best["reported"])
    assert sum(chosen) / 30 > 0.54
    assert sum(reported) / 30 == pytest.approx(0.5, abs=0.025)


def test_without_answers_there_are_no_halves(tmp_path: Path) -> None:
    assert halves(tmp_path / "none.jsonl") == {} and halves(written(tmp_path / "a.jsonl", [])) == {}
