"""Our own loops in C++: compiled for this processor when first wanted, kept in the user's cache, called by ctypes.

    ops/native/NAME.cpp ─► c++ -O3 -march=native -fopenmp ─► ~/.cache/tutelage/native/NAME-<key>.so ─► library(NAME)

The key covers source, compiler, flags and processor, so a home folder shared by different machines is no danger. Where
there is no compiler, `library` answers None and `why_not` says so in a sentence; callers then take PyTorch's way.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch

SOURCES = Path(__file__).parent / "native"
_FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
_WIDE = "-mprefer-vector-width=512"
_FLAG_SETS = (("-fopenmp", _WIDE), ("-fopenmp",), ("-fopenmp-simd",), ())
"""Tried in turn: only x86 knows vectors of that width, and a compiler without OpenMP makes loops of one thread."""
_SECONDS = 300.0


class _UnusableError(Exception):
    """Why there is no library, in a sentence."""


def library(name: str) -> ctypes.CDLL | None:
    """The compiled `ops/native/<name>.cpp`, or None where it cannot be had (see `why_not`); compiles once, in seconds.

    Calls through it release the GIL. OpenMP is the runtime that torch has loaded: hand on `threads()`.
    """
    return _found(name)[0]


def available(name: str) -> bool:
    """Whether `library(name)` is there."""
    return library(name) is not None


def why_not(name: str) -> str:
    """Why it is not, in words; empty where it is."""
    return _found(name)[1]


def threaded(name: str) -> bool:
    """Whether its loops run on several threads: a compiler without OpenMP makes them of one."""
    found: Any = library(name)
    return found is not None and bool(found.runs_threads())


def names() -> list[str]:
    """Every library that this package has sources of."""
    return sorted(source.stem for source in SOURCES.glob("*.cpp"))


def threads() -> int:
    """How many threads a loop may use: as many as torch does."""
    return torch.get_num_threads()


def pointer(tensor: torch.Tensor | None) -> ctypes.c_void_p:
    """Where the numbers of a CPU tensor begin; null for None. The caller keeps it alive and knows its layout."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def sizes(*numbers: int) -> tuple[ctypes.c_int64, ...]:
    """Whole numbers as `int64_t` arguments."""
    return tuple(ctypes.c_int64(number) for number in numbers)


def real(number: float) -> ctypes.c_float:
    """A number as a `float` argument."""
    return ctypes.c_float(number)


@functools.cache
def _found(name: str) -> tuple[ctypes.CDLL | None, str]:
    source = SOURCES / f"{name}.cpp"
    if not source.is_file():
        raise ValueError(f"there is no {source}; names: {names()}")
    try:
        return _built(source), ""
    except _UnusableError as error:
        return None, str(error)


def _built(source: Path) -> ctypes.CDLL:
    compiler = _compiler()
    key = _key(source, compiler)
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = folder / f"{source.stem}-{key}.so"
        if not kept.is_file():
            _compile(compiler, source, kept)
        return ctypes.CDLL(str(kept))
    except OSError:  # a home that cannot be written to (or maps nothing executable): compile for this process only
        with tempfile.TemporaryDirectory(prefix="tutelage-native-") as private:
            passing = Path(private) / f"{source.stem}.so"
            _compile(compiler, source, passing)
            try:
                return ctypes.CDLL(str(passing))  # stays mapped when the file is gone
            except OSError as error:
                raise _UnusableError(f"{source.name} was compiled but cannot be loaded ({error})") from error


def cache_folder() -> Path:
    """Where compiled libraries are kept; may be deleted at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "tutelage" / "native"


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and (path := shutil.which(name)):
            return path
    raise _UnusableError("no C++ compiler was found (c++, g++ or clang++; apt install g++)")


def _key(source: Path, compiler: str) -> str:
    """A hash of everything that decides what the library holds."""
    texts = [file.read_bytes() for file in [source, *sorted(SOURCES.glob("*.h"))]]
    about = [compiler, _version(compiler), repr((_FLAGS, _FLAG_SETS)), platform.machine(), _processor()]
    return hashlib.sha256(b"\0".join([*texts, *(text.encode() for text in about)])).hexdigest()[:24]


@functools.cache
def _version(compiler: str) -> str:
    try:
        done = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _UnusableError(f"the compiler {compiler} does not run ({error})") from error
    return done.stdout


@functools.cache
def _processor() -> str:
    """What `-march=native` looks at."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines() if cpuinfo.is_file() else []
    told = {line for line in lines if line.startswith(("flags", "Features", "model name"))}
    return "\n".join(sorted(told)) or platform.processor()


@functools.cache
def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions that multiply matrices of bfloat16 (AMX, or AVX-512's)."""
    return bool({"amx_bf16", "avx512_bf16"} & set(_processor().split()))


def _compile(compiler: str, source: Path, target: Path) -> None:
    """Write `target` at once or not at all: several processes may be at it."""
    said = ""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".so", dir=target.parent)
    os.close(handle)
    draft = Path(name)
    try:
        for more in _FLAG_SETS:
            command = [compiler, *_FLAGS, *more, str(source), "-o", str(draft)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
            except subprocess.TimeoutExpired as error:
                raise _UnusableError(f"compiling {source.name} took longer than {_SECONDS:g} s") from error
            if done.returncode == 0:
                draft.replace(target)
                return
            said = said or next((line for line in done.stderr.splitlines() if "error" in line), "no reason given")
    finally:
        draft.unlink(missing_ok=True)
    raise _UnusableError(f"{Path(compiler).name} cannot compile {source.name} ({said.strip()})")
