"""The speed runner: two of our own settings do the same work, rounds are counted, and what differs is no result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "benchmarks"))

from _speed_floor import needed  # noqa: E402
from _speed_jobs import JOBS, MODELS, lengths  # noqa: E402
from _speed_judge import _faults  # noqa: E402
from _speed_peers import peers  # noqa: E402


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One short run of the command: ours against ours, a tiny model."""
    out = tmp_path_factory.mktemp("speed")
    words = ["--jobs", "sft", "sample", "--models", "tiny", "--rounds", "1", "--steps", "1", "--threads", "1"]
    command = [sys.executable, str(REPO / "benchmarks" / "speed.py"), *words, "--peers", "nobody", "--tag", "smoke"]
    done = subprocess.run(
        [*command, "--out", str(out), "--results", str(out)],
        env=os.environ | {"PYTHONPATH": str(REPO / "src")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((out / "speed-smoke.json").read_text(encoding="utf-8"))


def test_our_two_settings_do_the_same_work(measured: dict[str, Any]) -> None:
    assert [(row["job"], row["ours"], row["setting"]) for row in measured["rows"]] == [
        ("sft", "best", "as it comes"),
        ("sample", "best", "as it comes"),
    ]
    assert [row["same_work"] for row in measured["rows"]] == ["yes", "yes"]


def test_a_row_says_what_it_was_measured_on_and_how_near_the_floor_it_came(measured: dict[str, Any]) -> None:
    assert measured["machine"]["peaks"].keys() == {"float32", "bfloat16", "read"}
    for row in measured["rows"]:
        assert set(row["ratio"]) == {"min", "median", "max"}
        for side in ("tutelage", "theirs"):
            assert 0 < row[side]["of_floor"]["median"] < 1
            assert row[side]["peak_gib"] > 0
            assert row[side]["cpu_s"]["median"] > 0


def test_other_losses_or_other_answers_are_not_the_same_work() -> None:
    start = {"weights": "a", "ordered": True, "loss": [5.0, 4.9]}
    assert _faults(JOBS["sft"], start, start | {"loss": [5.01, 4.91]}) == []
    assert _faults(JOBS["sft"], start, start | {"loss": [5.0, 5.3]}) == ["loss 4.9 and 5.3"]
    assert _faults(JOBS["sft"], start, start | {"weights": "b"}) == ["the weights at the start differ"]
    drawn = {"weights": "a", "length": 30.0, "length_se": 1.0, "logprob": -5.0, "logprob_se": 0.05}
    assert _faults(JOBS["sample"], drawn, drawn | {"length": 32.0}) == []
    assert len(_faults(JOBS["sample"], drawn, drawn | {"length": 40.0, "logprob": -4.0})) == 2


def test_the_floor_counts_a_shared_prompt_once() -> None:
    model = MODELS["small"]
    assert model.matmul_parameters == 14_942_208
    apart = needed(JOBS["dpo-precomputed"], model, [(0, 60, 60)], None)["flops"]
    shared = needed(JOBS["dpo-precomputed"], model, [(100, 60, 60)], None)["flops"]
    prompt = 6 * model.matmul_parameters * 100
    assert prompt < shared - apart < 1.2 * prompt


def test_rows_have_the_lengths_that_were_asked_for() -> None:
    documents = [size for (size,) in lengths(JOBS["sft"], 400)]
    assert 32 <= min(documents) < 40
    assert 450 < max(documents) <= 511
    assert all(32 <= prompt <= 128 and 32 <= one <= 127 for prompt, one, _ in lengths(JOBS["dpo"], 50))


@pytest.mark.parametrize("job", list(JOBS))
def test_every_job_has_a_peer_as_it_comes_and_one_at_its_best(job: str) -> None:
    settings = [side.setting for side in peers(job)]
    assert "best" in settings
    assert settings[0].startswith("as ")
