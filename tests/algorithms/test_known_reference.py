"""`--precompute-reference`: the same training as with the reference asked at each step, and never stale numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tutelage.algorithms.dpo import DPO
from tutelage.api import training
from tutelage.build import Given, Toolbox
from tutelage.types import Preference

ROWS = [Preference(f"Summarise bridge {n}.", f"Bridge {n} was opened.", "no" * (1 + n % 3)) for n in range(7)]
PLAIN: dict[str, Any] = {"device": "cpu", "dtype": "float32", "batch_size": 3, "seed": 2}


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "start"))


def dpo(model: Path, folder: Path, rows: list[Preference] = ROWS, **more: Any) -> tuple[DPO, list[str]]:
    said = list[str]()
    config = DPO.Config(model=str(model), data="-", out=str(folder), precompute_reference=True, **PLAIN | more)
    return DPO(config, Toolbox(config, folder, said.append, Given(rows=rows))), said


def kept(folder: Path) -> Path:
    (file,) = (folder / "reference").iterdir()
    return file


def nudge(model: Path) -> None:
    file = model / "model.safetensors"
    weights = load_file(file)
    name = next(name for name in sorted(weights) if weights[name].ndim == 2)
    weights[name][0, 0] += 0.5
    save_file(weights, file, {"format": "pt"})


@pytest.mark.parametrize("lora", [False, True], ids=["whole", "lora"])
def test_it_learns_what_dpo_learns_with_its_reference_at_hand(model: Path, tmp_path: Path, lora: bool):
    seen = list[list[dict[str, float]]]()
    for known in (False, True):
        out = tmp_path / str(known)
        flags = PLAIN | {"steps": 4, "learning_rate": 1e-3, "beta": 0.5, "lora": lora}
        rows = [{"prompt": row.prompt, "chosen": row.chosen, "rejected": row.rejected} for row in ROWS]
        training("dpo", model=str(model), data=rows, out=str(out), precompute_reference=known, **flags).train()
        lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        seen.append([row for row in map(json.loads, lines) if "loss" in row])
    margins = [row["reward/margin"] for row in seen[0]]
    assert len(margins) == 4 and abs(margins[-1]) > 1e-3, "the second pass over the rows reads what the first one kept"
    for theirs, ours in zip(*seen, strict=True):
        for name in ("loss", "reward/margin", "policy/logp_chosen"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-5)


def test_no_copy_of_the_model_is_made(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tutelage.models.reference._frozen_copy", lambda _: pytest.fail("the model was copied"))
    dpo(model, tmp_path / "run")


def test_a_second_start_reads_what_the_first_one_kept(model: Path, tmp_path: Path):
    first, _ = dpo(model, tmp_path / "run")
    file = kept(tmp_path / "run")
    before = file.stat().st_mtime_ns
    again, said = dpo(model, tmp_path / "run")
    assert any("is read from" in line for line in said) and file.stat().st_mtime_ns == before
    one, other = first.collect(1), again.collect(1)
    assert torch.equal(one.ref_chosen, other.ref_chosen) and torch.equal(one.ref_rejected, other.ref_rejected)


@pytest.mark.parametrize("what", ["weights", "config", "rows", "held out", "engine", "a torn file", "other numbers"])
def test_it_is_computed_anew_where_anything_it_depends_on_has_changed(model: Path, tmp_path: Path, what: str):
    folder = tmp_path / "run"
    dpo(model, folder)
    file, rows, more = kept(folder), list(ROWS), dict[str, Any]()
    if what == "weights":
        nudge(model)
    elif what == "config":
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        config["rope_parameters"]["rope_theta"] = 500.0
        (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    elif what == "rows":
        rows[4] = Preference(rows[4].prompt, rows[4].rejected, rows[4].chosen)
    elif what == "held out":
        held_out = tmp_path / "held-out.jsonl"
        held_out.write_text(json.dumps({"prompt": "p", "chosen": "a", "rejected": "b"}) + "\n", encoding="utf-8")
        more["eval_data"] = str(held_out)
    elif what == "engine":
        more["engine"] = "plain"
    elif what == "a torn file":
        file.write_bytes(file.read_bytes()[:-3])
    else:
        save_file({name: torch.zeros(3) for name in ("chosen", "rejected")}, file)
    found, said = dpo(model, folder, rows, **more)
    assert any("was computed" in line for line in said)
    assert kept(folder).exists(), "one file, the others are gone"
    batch = found.collect(0)
    asked = DPO.Config(model=str(model), data="-", out=str(folder), **PLAIN | more)
    fresh = DPO(asked, Toolbox(asked, folder, lambda _: None, Given(rows=rows))).collect(0)
    torch.testing.assert_close(batch.ref_chosen, fresh.ref_chosen, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(batch.ref_rejected, fresh.ref_rejected, atol=1e-5, rtol=1e-5)
