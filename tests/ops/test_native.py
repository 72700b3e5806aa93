"""Loops in C++: compiled once for this processor, by several processes at a time, and done without if need be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tutelage.ops import native

LOAD = "from tutelage.ops import native; print(native.available('body'), native.why_not('body'))"


@pytest.fixture
def compiled():
    library = native.library("body")
    if library is None:
        pytest.skip(f"NOT TESTED: {native.why_not('body')}")
    return library


def in_processes(count: int, **environment: str) -> list[str]:
    """What `LOAD` prints in so many fresh processes, all at once."""
    started = [
        subprocess.Popen([sys.executable, "-c", LOAD], env=os.environ | environment, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    return [process.communicate(timeout=120)[0].strip() for process in started]


def test_every_source_compiles_here():
    if native.library("body") is None and "compiler was found" in native.why_not("body"):
        pytest.skip(f"NOT TESTED: {native.why_not('body')}")
    assert {name: native.why_not(name) for name in native.names()} == dict.fromkeys(native.names(), "")


def test_processes_that_start_together_all_get_a_whole_library(compiled, tmp_path):
    assert in_processes(3, XDG_CACHE_HOME=str(tmp_path)) == ["True"] * 3
    kept = [file.name for file in (tmp_path / "tutelage" / "native").iterdir()]
    assert len(kept) == 1 and kept[0].startswith("body-"), "drafts are left behind"


def test_without_a_compiler_there_is_a_reason_and_no_error(tmp_path):
    (said,) = in_processes(1, XDG_CACHE_HOME=str(tmp_path), PATH=str(tmp_path), CXX="")
    assert said.startswith("False no C++ compiler was found")


def test_a_compiler_that_fails_is_quoted(tmp_path):
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\necho 'x.cpp:1: error: out of ideas' >&2\nexit 1\n")
    broken.chmod(0o755)
    (said,) = in_processes(1, XDG_CACHE_HOME=str(tmp_path), CXX=str(broken))
    assert said.startswith("False") and "out of ideas" in said


def test_a_compiler_without_openmp_makes_loops_of_one_thread_which_can_be_told(compiled, tmp_path):
    assert native.threaded("body")
    real, poor = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++"), tmp_path / "poor"
    poor.write_text(
        f'#!/bin/sh\ncase " $* " in *" -fopenmp "*) echo "error: no OpenMP" >&2; exit 1;; esac\nexec {real} "$@"\n'
    )
    poor.chmod(0o755)
    load = "from tutelage.ops import native; print(native.available('body'), native.threaded('body'))"
    surroundings = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "CXX": str(poor)}
    found = subprocess.run([sys.executable, "-c", load], env=surroundings, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "True False"


def test_a_home_that_cannot_be_written_to_is_done_without(compiled, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert in_processes(1, XDG_CACHE_HOME=str(blocked)) == ["True"]


def test_an_unknown_name_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="names: "):
        native.library("nothing")
