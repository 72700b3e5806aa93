"""What `tutelage doctor` looks at without importing torch: versions, processor, memory, disk, SQLite."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sqlite3
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from tutelage.ops.allocator import other_allocator, without_large_pages
from tutelage.ops.memory import free_bytes
from tutelage.store.engine import journal_mode


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    found: str
    state: Literal["ok", "note", "problem"] = "ok"
    fix: str = ""
    exit_code: int = 2
    """what `doctor` returns when this is its first problem"""


_LEAST = {
    "torch": (2, 11),
    "transformers": (5, 17),
    "tokenizers": (0, 22),
    "safetensors": (0, 6),
    "peft": (0, 18),
    "numpy": (2, 0),
    "scipy": (1, 13),
    "scikit-learn": (1, 6),
    "cyclopts": (5, 0),
    "rich": (13, 9),
    "pyyaml": (6, 0, 2),
    "sqlalchemy": (2, 0, 36),
    "alembic": (1, 14),
    "jinja2": (3, 1, 5),
    "markupsafe": (2, 1),
    "starlette": (1, 0),
    "uvicorn": (0, 40),
    "python-multipart": (0, 0, 20),
    "markdown-it-py": (4, 0),
    "nh3": (0, 3),
    "pyarrow": (18,),
    "sacrebleu": (2, 5),
    "rouge-score": (0, 1, 2),
    "tensorboard": (2, 19),
}
"""what pyproject.toml asks for; a test holds the two equal"""
_SHOWN = ("torch", "transformers", "peft", "safetensors", "scikit-learn", "cyclopts")
"""said even where nothing is wrong with them"""
_NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "lustre", "ceph"}
_FREE_GIB = 2.0


def check_versions() -> list[Finding]:
    """Python and the libraries, and pairs that are known to break each other."""
    found = [Finding("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    for package, least in _LEAST.items():
        version = _version(package)
        wanted = ".".join(map(str, least))
        if version is None:
            found.append(Finding(package, "not installed", "problem", f"pip install '{package}>={wanted}'", 66))
        elif _numbers(version) < least:
            found.append(
                Finding(package, f"{version}, needs {wanted}", "problem", f"pip install '{package}>={wanted}'")
            )
        elif package in _SHOWN:
            found.append(Finding(package, version))
    return found + _torchvision()


def check_machine() -> list[Finding]:
    """Processor, memory, allocator, SQLite."""
    return [_processor(), _threads(), _memory(), _allocator(), _sqlite()]


def check_place(folder: str) -> list[Finding]:
    """The disk and the rights of the folder that runs will go to."""
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        return [Finding("run folder", f"{place} is a file", "problem", "choose another --out", 73)]
    free = shutil.disk_usage(place).free / 2**30
    disk = Finding("free disk", f"{free:.1f} GiB at {place}")
    if free < _FREE_GIB:
        disk = Finding("free disk", f"{free:.1f} GiB at {place}", "problem", "make room or choose another --out", 74)
    rights = Finding("run folder", f"{place} can be written")
    if not os.access(place, os.W_OK | os.X_OK):
        rights = Finding("run folder", f"{place} cannot be written", "problem", "choose another --out", 77)
    kind = _file_system(place)
    system = Finding("file system", kind)
    if kind in _NETWORK_FILE_SYSTEMS:
        system = Finding("file system", kind, "note", "runs may lie here; keep the rating database on a local disk")
    return [disk, rights, system]


def memory_gib() -> float:
    """Memory this process may use."""
    return free_bytes() / 2**30


def cores() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("+")[0].split(".") if part.isdigit())


def _torchvision() -> list[Finding]:
    torch_version, vision = _version("torch") or "", _version("torchvision")
    if vision is None or importlib.util.find_spec("torchvision") is None:
        return []
    if ("+cpu" in torch_version) != ("+cpu" in vision):
        found = f"torch {torch_version} with torchvision {vision}: builds differ, transformers may fail to import"
        return [Finding("torchvision", found, "problem", "pip uninstall torchvision")]
    return [Finding("torchvision", vision)]


def _processor() -> Finding:
    info = Path("/proc/cpuinfo")
    flags = info.read_text(encoding="utf-8", errors="replace") if info.exists() else ""
    fast = [flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if f" {flag}" in flags]
    return Finding("processor", f"{cores()} cores, {', '.join(fast) or platform.processor() or 'no vector extensions'}")


def _threads() -> Finding:
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > cores():
        return Finding(
            "threads", f"OMP_NUM_THREADS={asked} on {cores()} cores", "note", f"export OMP_NUM_THREADS={cores()}"
        )
    return Finding("threads", f"OMP_NUM_THREADS={asked}" if asked else "chosen by torch")


def _memory() -> Finding:
    free = memory_gib()
    if free < 2:
        return Finding("memory", f"{free:.1f} GiB free", "note", "the demo needs up to 3 GiB; close other programs")
    return Finding("memory", f"{free:.1f} GiB free")


def _allocator() -> Finding:
    missing = without_large_pages()
    found = other_allocator() or "the C library, told to keep what training frees"
    found += f"; small pages: {missing}" if missing else "; large pages"
    if "switched off" in missing:
        fix = "faster training on a CPU: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled (as root)"
        return Finding("allocator", found, "note", fix)
    return Finding("allocator", found)


def _sqlite() -> Finding:
    version = sqlite3.sqlite_version
    if journal_mode(sqlite3.sqlite_version_info[:3]) == "WAL":
        return Finding("SQLite", f"{version}, WAL mode")
    return Finding(
        "SQLite", f"{version} has the WAL-reset bug: rollback journal is used", "note", "safe; 3.51.3 is faster"
    )


def _file_system(place: Path) -> str:
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "unknown"
    best, kind = "", "unknown"
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        where, name = line.split()[1:3]
        if (place.is_relative_to(where)) and len(where) >= len(best):
            best, kind = where, name
    return kind
