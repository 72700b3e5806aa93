"""Exports as TRL takes them: its own trainers load each file unchanged and train a step on a tiny model.

TRL lives in an environment of its own; `TUTELAGE_TRL_PYTHON` names its python.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tutelage.cli.main import main
from tutelage.store.store import Store
from tutelage.types import Comparison, Judgement, Message, Prompt, Sample

PEER = Path(__file__).parent.parent / "trl_one_step.py"
KINDS = {"preference": ("dpo", "reward"), "unpaired": ("kto",), "demonstration": ("sft",), "per-rater": ("dpo",)}
COUNT = 8


@pytest.fixture
def trl() -> str:
    python = os.environ.get("TUTELAGE_TRL_PYTHON", "")
    if not python:
        pytest.skip("no TRL: set TUTELAGE_TRL_PYTHON to the python of an environment that has it")
    return python


@pytest.mark.slow
@pytest.mark.parametrize("texts", ["messages", "strings"])
def test_trl_trains_a_step_on_every_kind_of_export(texts: str, trl: str, tmp_path: Path, tiny_chat_model: Path) -> None:
    db, jobs, wanted = tmp_path / "r.db", list[dict[str, str]](), list[int]()
    judged(db, texts)
    for kind, trainers in KINDS.items():
        for columns in ("trl", "all"):
            for ending in ("jsonl", "parquet"):
                file = tmp_path / f"{kind}.{columns}.{ending}"
                words = ["rate", "export", "--db", str(db), "--kind", kind, "--columns", columns, "--out", str(file)]
                assert main(words) == 0
                jobs += [{"trainer": trainer, "file": str(file)} for trainer in trainers]
                wanted += [rows_in(file)] * len(trainers)
    told = one_step_each(trl, jobs, tiny_chat_model, tmp_path)
    assert [one["rows"] for one in told] == wanted and min(wanted) >= COUNT
    assert all(math.isfinite(one["loss"]) and one["loss"] > 0 for one in told), told
    by_dpo = [one["loss"] for job, one in zip(jobs, told, strict=True) if job["trainer"] == "dpo"]
    assert by_dpo == pytest.approx([math.log(2)] * len(by_dpo)), "a policy that is its own reference"


def judged(db: Path, texts: str) -> None:
    """Pairs that two raters judge, and an edit of an answer to each prompt."""
    with Store(db) as store:
        asked: list[Comparison] = []
        for number in range(COUNT):
            content = f"Why {number}? 为什么？"
            turns = (Message("system", "Be brief."), Message("user", content))
            prompt = Prompt(f"p{number}", turns if texts == "messages" else content)
            texts_of = (f" Bad answer {number}.", f" Good answer {number}.")
            said = tuple(Sample(f"p{number}-{j}", prompt, text) for j, text in enumerate(texts_of))
            asked += [
                Comparison(f"pair{number}", "pair", prompt, said),
                Comparison(f"edit{number}", "edit", prompt, said[:1]),
            ]
        store.ask(asked, overlap=2)
        given: list[Judgement] = []
        for one in asked:
            for rater in ("ann", "bo"):
                ranks, edit = ((2, 1), "") if one.kind == "pair" else ((), f" A better one by {rater}.")
                given.append(Judgement(f"{one.id}-{rater}", one.id, rater, ranks, edit=edit))
        store.answer_many(given)


def rows_in(file: Path) -> int:
    if file.suffix == ".jsonl":
        return len(file.read_text(encoding="utf-8").splitlines())
    from pyarrow import parquet

    return parquet.read_metadata(file).num_rows  # type: ignore[no-any-return]


def one_step_each(trl: str, jobs: list[dict[str, str]], model: Path, folder: Path) -> list[dict[str, Any]]:
    """What TRL says of each file, in a process that sees nothing of tutelage."""
    away = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    around = {name: value for name, value in os.environ.items() if name not in away}
    around |= {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [trl, str(PEER), str(model), str(folder / "trl")]
    ran = subprocess.run(command, input=json.dumps(jobs), capture_output=True, text=True, env=around, timeout=900)
    assert ran.returncode == 0, ran.stderr[-4000:]
    return json.loads(ran.stdout.splitlines()[-1])
