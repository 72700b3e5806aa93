"""How much memory is free: the smaller of what the machine has and what the container leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.ops import memory

GIB = 2**30


def group(folder: Path, limit: str, used: int, files: int, *, old: bool) -> None:
    """A control group as the kernel shows it."""
    place = folder / "memory" if old else folder
    place.mkdir(exist_ok=True)
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if old else ("memory.max", "memory.current")
    for name, value in zip(names, (limit, str(used)), strict=True):
        (place / name).write_text(value + "\n", encoding="ascii")
    stat = f"anon 5\n{'total_' if old else ''}inactive_file {files}\nactive_file 7\n"
    (place / "memory.stat").write_text(stat, encoding="ascii")


@pytest.mark.parametrize("old", [False, True], ids=["second version", "first version"])
def test_a_container_leaves_its_limit_less_what_is_used_but_for_files_that_were_read(tmp_path, monkeypatch, old):
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    machine = memory.free_bytes()
    group(tmp_path, str(GIB), GIB - 2**20, 2**19, old=old)
    assert memory.free_bytes() == 2**20 + 2**19
    group(tmp_path, str(2**60), GIB, 0, old=old)
    assert memory.free_bytes() == pytest.approx(machine, rel=0.5), "a limit beyond the machine is none"


def test_a_container_without_a_limit_leaves_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    group(tmp_path, "max", GIB, 0, old=False)
    assert memory.free_bytes() > 2**20
