"""Is this machine, model and data fit: versions, threads, memory, disk, database, accelerator, tokenizer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tutelage.cli._checks import Finding, check_machine, check_place, check_versions
from tutelage.cli._ui import UI, counted
from tutelage.config import Resolved
from tutelage.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Config:
    model: str = ""
    """folder or hub id whose tokenizer to look at"""
    data: str = ""
    """a data file that must be readable and right; with --model: rendered, with --reward: its pairs compared"""
    reward: str = ""
    """a reward (folder, package.module:function, taste:NAME) that should agree with the pairs of --data"""
    out: str = "."
    """where runs will be written: its disk and rights are checked"""


def run(resolved: Resolved[Config], ui: UI) -> int:
    """0 when nothing stands in the way, else the exit code of the first problem."""
    config = resolved.config
    findings = [*check_versions(), *check_machine(), *check_place(config.out), *_accelerator(), *_loops()]
    if config.model:
        from tutelage.cli._check_model import check_model

        findings += check_model(config.model)
    if config.data:
        from tutelage.cli._check_data import check_data

        sound = not any(finding.state == "problem" for finding in findings)
        findings += check_data(config.data, config.model if sound else "", config.reward)
    elif config.reward:
        raise UsageError("--reward is compared with people's pairs", fix="--data PAIRS.jsonl")
    ui.table([_row(finding) for finding in findings], title="tutelage doctor")
    problems = [finding for finding in findings if finding.state == "problem"]
    ui.result({"findings": [asdict(finding) for finding in findings], "problems": len(problems)})
    notes = sum(finding.state == "note" for finding in findings)
    counts = {"problem": len(problems), "note": notes, "check": len(findings)}
    ui.say(", ".join(counted(number, thing) for thing, number in counts.items()))
    return problems[0].exit_code if problems else 0


def _row(finding: Finding) -> dict[str, str]:
    return {"": finding.state, "what": finding.what, "found": finding.found, "do": finding.fix}


def _accelerator() -> list[Finding]:
    """What torch itself sees; imports it."""
    try:
        import torch
    except ImportError as error:
        return [Finding("torch", str(error), "problem", "install tutelage again in a fresh environment", 66)]
    threads = _threads(torch.get_num_threads())
    if not torch.accelerator.is_available():
        return [threads, Finding("accelerator", "none: training runs on the CPU", "note", "fine for small models")]
    device = torch.accelerator.current_accelerator()
    found = f"{torch.accelerator.device_count()} × {device}"
    if device is not None and device.type == "cuda":
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        found += f", {name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free, bf16 {torch.cuda.is_bf16_supported()}"
    return [threads, Finding("accelerator", found), *_kernels(device)]


def _kernels(device: Any) -> list[Finding]:
    """What the fast engine would use on a GPU (docs/performance.md)."""
    import torch

    from tutelage.ops import varlen

    if device is None or device.type != "cuda":
        return []
    tf32 = "on" if torch.backends.cuda.matmul.allow_tf32 else "off: --dtype float32 is float32"
    reason = varlen.why_not(torch.device("cuda", torch.cuda.current_device()), torch.bfloat16, 64)
    packed = f"attention pads each batch: {reason}" if reason else "packed attention by flash kernels in bfloat16"
    found = f"{packed}; sampling by CUDA graphs; TF32 {tf32}"
    return [Finding("fast engine on the GPU", found, "note" if reason else "ok")]


def _threads(used: int) -> Finding:
    cpuinfo = Path("/proc/cpuinfo")
    blocks = cpuinfo.read_text(encoding="utf-8", errors="replace").split("\n\n") if cpuinfo.is_file() else []
    places = {
        tuple(line for line in block.splitlines() if line.startswith(("physical id", "core id"))) for block in blocks
    } - {()}
    if not places or used <= len(places):
        return Finding("torch threads", f"{used} of {len(places)} cores" if places else str(used))
    fix = f"OMP_NUM_THREADS={len(places)}: two threads of one core share its arithmetic"
    return Finding("torch threads", f"{used}, and {len(places)} cores", "note", fix)


def _loops() -> list[Finding]:
    """Whether our own loops in C++ can be compiled here; compiles those that never were."""
    try:
        from tutelage.ops import native
    except ImportError:
        return []  # torch is missing, which `_accelerator` says
    missing = {name: native.why_not(name) for name in native.names() if not native.available(name)}
    if missing:
        reason = "; ".join(dict.fromkeys(missing.values()))
        what = f"{', '.join(missing)}: not compiled ({reason}); PyTorch computes instead"
        return [Finding("fast engine", what, "note", "install a C++ compiler (apt install g++)")]
    alone = [name for name in native.names() if not native.threaded(name)]
    if alone:
        what = f"{', '.join(alone)}: compiled for one thread, for the compiler knows no OpenMP"
        return [
            Finding("fast engine", what, "note", "install a compiler with OpenMP (apt install g++; brew install gcc)")
        ]
    dtype = "bfloat16 from 8 million parameters up" if native.multiplies_bfloat16() else "float32"
    return [Finding("fast engine", f"{', '.join(native.names())} compiled for this processor; {dtype} by default")]
