"""The transformers sides of speed.py's sample jobs: `generate`, and continuous batching. Runs in a peer's environment.

python benchmarks/_speed_generate.py JOB.json     (started by speed.py, which holds the other end of the pipe)
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from _speed_jobs import JOBS, Job
from _speed_sampling import Rows, serve


def main() -> int:
    """Be one side until the pipe closes."""
    if len(sys.argv) != 2:
        print(__doc__)
        return 0
    import torch

    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(asked["threads"])
    torch.manual_seed(0)
    job = dataclasses.replace(JOBS[asked["job"]], **asked["changes"])
    transformers = importlib.import_module("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(asked["model"], padding_side="left")
    dtype = torch.bfloat16 if asked["flags"].get("weights") == "bfloat16" else torch.float32
    model = transformers.AutoModelForCausalLM.from_pretrained(asked["model"], dtype=dtype).eval().to(asked["device"])
    draw = _continuous if asked["flags"].get("continuous") else _generate

    def answered(chosen: Rows) -> Rows:
        with torch.no_grad():
            return draw(model, tokenizer, [ids for ids in chosen for _ in range(job.answers)], job, asked)

    serve(asked, job, tokenizer, answered)
    return 0


def _generate(model: Any, tokenizer: Any, prompts: list[list[int]], job: Job, asked: dict[str, Any]) -> list[list[int]]:
    """One left-padded batch, as TRL's trainers do it."""
    torch = importlib.import_module("torch")
    padded = tokenizer.pad({"input_ids": prompts}, return_tensors="pt").to(model.device)
    if asked["flags"].get("autocast"):
        around: Any = torch.autocast(model.device.type, torch.bfloat16)
    else:
        around = contextlib.nullcontext()
    with around:
        out = model.generate(
            **padded, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=job.settings["max_new_tokens"]
        )
    width = padded["input_ids"].shape[1]
    return [
        _row(ids, answer, tokenizer.eos_token_id) for ids, answer in zip(prompts, out[:, width:].tolist(), strict=True)
    ]


def _continuous(
    model: Any, tokenizer: Any, prompts: list[list[int]], job: Job, asked: dict[str, Any]
) -> list[list[int]]:
    """transformers' own continuous batching."""
    transformers = importlib.import_module("transformers")
    config = transformers.GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=job.settings["max_new_tokens"],
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    more: dict[str, Any] = {}
    if hasattr(transformers, "ContinuousBatchingConfig"):
        more["continuous_batching_config"] = transformers.ContinuousBatchingConfig(**asked["flags"]["continuous"])
    found = model.generate_batch(prompts, generation_config=config, progress_bar=False, **more)
    outputs = sorted(found.values(), key=lambda one: int(str(one.request_id).rpartition("_")[2]))
    return [_row(ids, one.generated_tokens, tokenizer.eos_token_id) for ids, one in zip(prompts, outputs, strict=True)]


def _row(prompt: list[int], answer: list[int], stop: int) -> list[int]:
    """[prompt length, tokens …]; what follows the stop token is padding."""
    end = answer.index(stop) + 1 if stop in answer else len(answer)
    return [len(prompt), *prompt, *answer[:end]]


if __name__ == "__main__":
    sys.exit(main())
