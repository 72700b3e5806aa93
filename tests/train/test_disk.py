"""A full disk: exit code 74 with needed, free and path; the last checkpoint stays; with room again it goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from toy_learner import Adam, Toy, learn

from tutelage.errors import DiskError
from tutelage.train import checkpoint, durable
from tutelage.train.metrics import Journal


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A filesystem of 1 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
        ).returncode
    )
    if not mounted:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(place: Path, leave: int) -> Path:
    """Take all room but `leave` bytes."""
    ballast = place / "ballast"
    ballast.write_bytes(bytes(max(0, durable.free_bytes(place) - leave)))
    return ballast


@pytest.mark.parametrize("leave", [0, 4096, 16384, 60000])
def test_a_full_disk_stops_the_run_and_room_lets_it_go_on_to_the_same_bits(
    leave: int, small_disk: Path, tmp_path: Path
) -> None:
    folder = small_disk / "run"

    def fill_at_step_seven(step: int) -> None:
        if step == 7:
            fill(small_disk, leave)

    with pytest.raises(DiskError, match=r"disk full: [\d.]+ \w+ needed, [\d.]+ \w+ free") as caught:
        learn(folder, 20, each=fill_at_step_seven)
    assert caught.value.exit_code == 74
    assert str(caught.value.where).startswith(str(folder))
    found, damaged = checkpoint.newest(folder / "checkpoints")
    assert found and found.step >= 6 and not damaged

    (small_disk / "ballast").unlink()
    learn(folder, 20)
    learn(tmp_path / "through", 20)
    assert (folder / "model/w.safetensors").read_bytes() == (tmp_path / "through/model/w.safetensors").read_bytes()


@pytest.mark.parametrize("leave", range(0, 28_000, 4096))
def test_a_disk_that_fills_while_a_checkpoint_is_written_leaves_the_one_before(
    leave: int, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = Toy()
    checkpoint.save(small_disk, 3, toy, Adam(toy), run={}, facts={})
    size = sum(path.stat().st_blocks * 512 for path in (small_disk / "step-00000003").iterdir())
    fill(small_disk, leave)
    # the disk promises room that others take meanwhile
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2**40, 0, 2**40))
    if leave >= size:
        checkpoint.save(small_disk, 6, toy, Adam(toy), run={}, facts={})
        return
    with pytest.raises(DiskError, match="disk full"):
        checkpoint.save(small_disk, 6, toy, Adam(toy), run={}, facts={})
    found, damaged = checkpoint.newest(small_disk)
    assert found and found.step == 3 and not damaged
    assert not list(small_disk.glob(".tmp-*"))


def test_a_line_that_does_not_fit_is_taken_back_whole(small_disk: Path) -> None:
    journal = Journal(small_disk / "metrics.jsonl")
    journal.append({"step": 1})
    fill(small_disk, 0)
    with pytest.raises(DiskError, match="disk full"):
        journal.append({"step": 2, "text": "x" * 10_000})
    assert (small_disk / "metrics.jsonl").read_text() == '{"step": 1}\n'
    journal.close()


def test_other_failures_name_the_path(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="reading or writing failed: Is a directory"):
        durable.write_text(tmp_path, "text")
    with pytest.raises(DiskError, match="reading or writing failed"), durable.guarded(tmp_path):
        raise OSError(5, "Input/output error")
