"""Loops in C++: compiled once for this processor, by several processes at a time, and done without if need be."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from tutelage.ops import native
from tutelage.ops.native import pointer

LOAD = "from tutelage.ops import native; print(native.available('norm'), native.why_not('norm'))"


@pytest.fixture
def compiled():
    library = native.library("norm")
    if library is None:
        pytest.skip(f"NOT TESTED: {native.why_not('norm')}")
    return library


def in_processes(count: int, **environment: str) -> list[str]:
    """What `LOAD` prints in so many fresh processes, all at once."""
    started = [
        subprocess.Popen([sys.executable, "-c", LOAD], env=os.environ | environment, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    return [process.communicate(timeout=120)[0].strip() for process in started]


def test_every_source_compiles_here():
    if native.library("norm") is None and "compiler was found" in native.why_not("norm"):
        pytest.skip(f"NOT TESTED: {native.why_not('norm')}")
    assert {name: native.why_not(name) for name in native.names()} == dict.fromkeys(native.names(), "")


def test_processes_that_start_together_all_get_a_whole_library(compiled, tmp_path):
    assert in_processes(3, XDG_CACHE_HOME=str(tmp_path)) == ["True"] * 3
    kept = [file.name for file in (tmp_path / "tutelage" / "native").iterdir()]
    assert len(kept) == 1 and kept[0].startswith("norm-"), "drafts are left behind"


def test_without_a_compiler_there_is_a_reason_and_no_error(tmp_path):
    (said,) = in_processes(1, XDG_CACHE_HOME=str(tmp_path), PATH=str(tmp_path), CXX="")
    assert said.startswith("False no C++ compiler was found")


def test_a_compiler_that_fails_is_quoted(tmp_path):
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\necho 'x.cpp:1: error: out of ideas' >&2\nexit 1\n")
    broken.chmod(0o755)
    (said,) = in_processes(1, XDG_CACHE_HOME=str(tmp_path), CXX=str(broken))
    assert said.startswith("False") and "out of ideas" in said


def test_a_home_that_cannot_be_written_to_is_done_without(compiled, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert in_processes(1, XDG_CACHE_HOME=str(blocked)) == ["True"]


def test_an_unknown_name_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="names: "):
        native.library("nothing")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rows", "width"), [(1, 3), (200, 384), (65, 64)])
def test_the_norm_equals_pytorchs_forward_and_backward(compiled, rows, width, dtype):
    rng = torch.Generator().manual_seed(rows)
    x, back = (torch.randn(rows, width, generator=rng).to(dtype) for _ in range(2))
    weight = torch.rand(width, generator=rng) + 0.5
    out, scale = torch.empty_like(x), torch.empty(rows)
    d_x, d_weight = torch.empty_like(x), torch.empty(width)
    partial = torch.empty(-(-rows // compiled.norm_block()), width)
    size = native.sizes(rows, width)
    half = int(dtype == torch.bfloat16)
    compiled.norm_forward(pointer(x), pointer(weight), pointer(out), pointer(scale), *size, native.real(1e-6), half, 1)
    gradients = pointer(back), pointer(d_x), pointer(d_weight), pointer(partial)
    compiled.norm_backward(pointer(x), pointer(weight), pointer(scale), *gradients, *size, half, 1)
    leaves = x.float().requires_grad_(), weight.clone().requires_grad_()
    wanted = torch.nn.functional.rms_norm(leaves[0], (width,), leaves[1], 1e-6)
    wanted_gradients = torch.autograd.grad(wanted, leaves, back.float())
    rounding = {"atol": 2e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 2e-2, "rtol": 1e-2}
    torch.testing.assert_close(out.float(), wanted.detach(), **rounding)
    torch.testing.assert_close(d_x.float(), wanted_gradients[0], **rounding)
    torch.testing.assert_close(d_weight, wanted_gradients[1], atol=1e-4, rtol=1e-4)
