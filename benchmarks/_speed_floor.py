"""What the hardware could do: measured peaks, and the FLOPs and bytes that a job needs at the least.

python benchmarks/_speed_floor.py --threads 2     prints the peaks as JSON
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from _speed_jobs import Job, Model

_SIZES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192)}
_BLOCK, _BLOCKS = 16 * 2**20, 16
"""float32 numbers read at a time, and how many such blocks there are, so that no cache holds them"""


def main() -> int:
    """Print the peaks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    print(json.dumps(peaks(asked.threads, asked.device)))
    return 0


def peaks(threads: int, device: str = "cpu") -> dict[str, float]:
    """FLOP/s of float32 and bfloat16 products (the best of some sizes), bytes/s read (the better of two ways).

    The best of many short pieces, each shorter than a time slice, so that a busy machine shows its peaks too.
    """
    import torch

    torch.set_num_threads(threads)
    found: dict[str, float] = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        rates = list[float]()
        for size in _SIZES[device.partition(":")[0]]:
            left = torch.randn(size, size, device=device).to(dtype)
            rates.append(2 * size**3 / _best([lambda a=left: a @ a] * min(40, 20000 // size), device))
        found[name] = max(rates)
    scale = 1 if device == "cpu" else 8
    blocks = [torch.ones(scale * _BLOCK, device=device) for _ in range(_BLOCKS)]
    sums = [lambda block=block: block.sum() for block in blocks] * 4
    dots = [lambda block=block: torch.dot(block, block) for block in blocks] * 4
    found["read"] = blocks[0].nbytes / min(_best(sums, device), _best(dots, device))
    return found


def _best(work: list[Callable[[], Any]], device: str) -> float:
    import torch

    times = list[float]()
    for piece in work:
        began = time.perf_counter()
        piece()
        if device != "cpu":
            torch.accelerator.synchronize()
        times.append(time.perf_counter() - began)
    return min(times[2:])


def needed(job: Job, model: Model, rows: list[tuple[int, ...]], answers: list[int] | None) -> dict[str, float]:
    """FLOPs and bytes of one round at the least: no padding, no recomputation, every shared prompt once.

    Args:
        rows: tokens of each row that is read, as `_speed_jobs.lengths`.
        answers: tokens of each sampled answer, in the order of the prompts, `job.answers` for each.
    """
    if not job.online:
        return _learned(job, model, rows)
    assert answers is not None
    groups = [(row[0], answers[i * job.answers : (i + 1) * job.answers]) for i, row in enumerate(rows)]
    drawn = _sampled(model, groups)
    if job.name.startswith("sample"):
        return drawn
    passes = {"grpo": 3, "rloo": 5, "ppo": 12 + 3}[job.name]  # forwards' worth: reference, old, then learning at 3
    trunk, head = _forward(model, groups)
    critic = (12 + 2) * trunk if job.name == "ppo" else 0.0  # its values once, the reward once, then learning
    return {
        "flops": drawn["flops"] + passes * (trunk + head) + critic,
        "bytes": drawn["bytes"] + _update_bytes(model),
    }


def _learned(job: Job, model: Model, rows: list[tuple[int, ...]]) -> dict[str, float]:
    docs = job.data == "docs"
    groups = [(1, [row[0] - 1]) if docs else (row[0], list(row[1:])) for row in rows]
    trunk, head = _forward(model, groups)
    if job.name == "reward":
        head = 0.0
    forwards = 4 if job.name == "dpo" else 3
    return {"flops": forwards * (trunk + head), "bytes": _update_bytes(model)}


def _forward(model: Model, groups: list[tuple[int, list[int]]]) -> tuple[float, float]:
    """FLOPs of one forward over prompts with their answers, each prompt once: the layers, and the output layer."""
    layers = head = 0.0
    width = model.layers * model.heads * model.head_dim
    for prompt, answers in groups:
        layers += 2.0 * model.matmul_parameters * (prompt + sum(answers)) + 2.0 * width * prompt**2
        for answer in answers:
            layers += 4.0 * width * (answer * prompt + answer**2 / 2)
            head += 2.0 * model.head_parameters * answer
    return layers, head


def _sampled(model: Model, groups: list[tuple[int, list[int]]]) -> dict[str, float]:
    """Prefill once per prompt, then one pass per token; weights (bf16) are read once per decoding step."""
    layers, head = _forward(model, groups)
    per_token = 2 * 2 * model.layers * model.kv_heads * model.head_dim
    every = [(prompt, answer) for prompt, answers in groups for answer in answers]
    cache = sum(per_token * (answer * prompt + answer**2 / 2) for prompt, answer in every)
    weights = 2 * (model.matmul_parameters + model.head_parameters) * (1 + max(answer for _, answer in every))
    return {"flops": layers + head, "bytes": cache + weights}


def _update_bytes(model: Model) -> float:
    """Reading the weights twice in bf16, the gradient, and Adam's pass over float32 weights and both moments."""
    return (2 * 2 + 2 * 4 + 6 * 4) * (model.matmul_parameters + (1 if model.tied else 2) * model.head_parameters)


if __name__ == "__main__":
    sys.exit(main())
