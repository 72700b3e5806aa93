"""Damage is found before a tensor is used; the checkpoint before is taken, and it is said."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from toy_learner import Adam, Toy, learn

from tutelage.errors import DataError, DivergedError
from tutelage.train import checkpoint
from tutelage.train.checkpoint import Checkpoint, Damage


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that stopped after step 9 of 9, with checkpoints of 6 and 9."""
    folder = tmp_path_factory.mktemp("damage") / "run"
    learn(folder, 9)
    return folder


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 0x10
    path.write_bytes(data)


def swap(folder: Path, one: str, other: str) -> None:
    first, second = (folder / one).read_bytes(), (folder / other).read_bytes()
    (folder / one).write_bytes(second)
    (folder / other).write_bytes(first)


def newer_format(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest.pop("sha256")
    manifest["format"] = 99
    manifest["sha256"] = checkpoint._digest(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


WEIGHTS = "module-policy.safetensors"
DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (lambda c: (c / WEIGHTS).write_bytes((c / WEIGHTS).read_bytes()[:-1]), "bytes instead of"),
    "empty": (lambda c: (c / WEIGHTS).write_bytes(b""), "has 0 bytes"),
    "zero tail": (
        lambda c: (c / WEIGHTS).write_bytes((c / WEIGHTS).read_bytes()[:-8] + bytes(8)),
        "does not match its SHA-256",
    ),
    "longer": (lambda c: (c / WEIGHTS).write_bytes((c / WEIGHTS).read_bytes() + b"x"), "bytes instead of"),
    "swapped": (lambda c: swap(c, WEIGHTS, "state.json"), "bytes instead of"),
    "deleted": (lambda c: (c / WEIGHTS).unlink(), f"files missing or too many: {WEIGHTS}"),
    "one too many": (lambda c: (c / "pytorch_model.bin").write_bytes(b"x"), "pytorch_model.bin"),
    "state changed": (lambda c: flip(c / "state.json", 40), "state.json does not match"),
    "no manifest": (lambda c: (c / "manifest.json").unlink(), "manifest.json is missing"),
    "empty manifest": (lambda c: (c / "manifest.json").write_text(""), "not a manifest"),
    "manifest is a list": (lambda c: (c / "manifest.json").write_text("[1]"), "not a manifest"),
    "manifest edited": (
        lambda c: (c / "manifest.json").write_text((c / "manifest.json").read_text().replace('"step": 9', '"step": 8')),
        "changed after it was written",
    ),
    "newer format": (newer_format, "it has format 99"),
    "renamed": (lambda c: c.rename(c.with_name("step-00000010")), "it holds step 9"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    kind: str, unfinished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, reason = DAMAGES[kind]
    folder = tmp_path / "run"
    shutil.copytree(unfinished, folder)
    damage(folder / "checkpoints/step-00000009")

    learn(folder, 12)

    told = capsys.readouterr().err
    assert "is damaged" in told
    assert reason in told
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["name"] for line in lines if "event" in line] == ["damaged-checkpoint"]
    assert [line["step"] for line in lines if "event" not in line] == list(range(1, 13))
    learn(tmp_path / "through", 12)
    assert (folder / "model/w.safetensors").read_bytes() == (tmp_path / "through/model/w.safetensors").read_bytes()


def test_every_flipped_byte_is_found(unfinished: Path, tmp_path: Path) -> None:
    rng, folder = random.Random(0), tmp_path / "step-00000009"
    shutil.copytree(unfinished / "checkpoints/step-00000009", folder)
    assert isinstance(checkpoint.verify(folder), Checkpoint)
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for _ in range(50):
            flip(path, rng.randrange(len(whole)))
            assert isinstance(checkpoint.verify(folder), Damage)
            path.write_bytes(whole)


def test_with_no_checkpoint_left_it_refuses_to_start_over_silently(unfinished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(unfinished, folder)
    for path in folder.glob("checkpoints/*/state.json"):
        flip(path, 10)
    with pytest.raises(
        DataError, match="no checkpoint can be used: step-00000009: state.json does not match"
    ) as caught:
        learn(folder, 12)
    assert "to start over" in str(caught.value)
    assert caught.value.exit_code == 65


def test_a_checkpoint_of_another_model_is_refused_with_both_shapes(unfinished: Path) -> None:
    found, _ = checkpoint.newest(unfinished / "checkpoints")
    assert found
    toy = Toy()
    toy.policy[3] = nn.Linear(8, 2)
    with pytest.raises(DataError, match=r"'policy.3.weight' is \(1, 8\) torch.float32 there, \(2, 8\)"):
        checkpoint.load(found, toy, Adam(toy))
    toy.policy[3] = nn.Identity()
    with pytest.raises(DataError, match="'policy' differs in 3.bias, 3.weight"):
        checkpoint.load(found, toy, Adam(toy))


def test_only_what_learns_and_persistent_buffers_are_saved() -> None:
    module = nn.Module()
    module.one = nn.Linear(2, 2)
    module.tied = nn.Linear(2, 2, bias=False)
    module.tied.weight = module.one.weight
    module.one.bias.requires_grad_(False)
    module.register_buffer("counted", torch.zeros(1))
    module.register_buffer("derived", torch.zeros(1), persistent=False)
    assert set(checkpoint.trained(module)) == {"one.weight", "counted"}


def test_a_weight_that_is_not_finite_is_never_saved(tmp_path: Path) -> None:
    toy = Toy()
    with torch.no_grad():
        toy.policy[0].weight[0, 0] = float("inf")
    with pytest.raises(DivergedError, match="'0.weight' is no longer finite after step 7"):
        checkpoint.save(tmp_path, 7, toy, Adam(toy), run={}, facts={})
    assert not list(tmp_path.iterdir())


def test_at_least_two_checkpoints_are_kept(tmp_path: Path) -> None:
    learn(tmp_path / "run", 20, keep=1)
    names = sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir())
    assert names == ["step-00000018", "step-00000020"]
    learn(tmp_path / "more", 20, keep=4)
    assert len(list((tmp_path / "more/checkpoints").iterdir())) == 4


def test_saving_over_a_leftover_of_the_same_step_works(tmp_path: Path) -> None:
    toy = Toy()
    (tmp_path / "step-00000003").mkdir()
    (tmp_path / "step-00000003/manifest.json").write_text("half")
    checkpoint.save(tmp_path, 3, toy, Adam(toy), run={}, facts={})
    found, damaged = checkpoint.newest(tmp_path)
    assert found and found.step == 3 and not damaged
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]
