"""Trains one step with TRL on each exported file it is given. Runs in TRL's own environment, never in tutelage's.

    python tests/trl_one_step.py MODEL FOLDER < JOBS

JOBS is a list of {"trainer": dpo | reward | kto | sft, "file": …}; prints one of {"rows", "loss", "versions"} for each.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

CLASSES = {"dpo": "DPO", "reward": "Reward", "kto": "KTO", "sft": "SFT"}


def main() -> None:
    """Read, train, tell."""
    model, folder = sys.argv[1:3]
    jobs = json.load(sys.stdin)
    versions = {name: importlib.import_module(name).__version__ for name in ("trl", "transformers")}
    told = [one_step(job["trainer"], job["file"], model, folder) | {"versions": versions} for job in jobs]
    print(json.dumps(told))


def one_step(trainer: str, file: str, model: str, folder: str) -> dict[str, Any]:
    """The file as `datasets` reads it, unchanged, and the loss of a step on it."""
    trl, transformers = importlib.import_module("trl"), importlib.import_module("transformers")
    loader = "parquet" if file.endswith(".parquet") else "json"
    rows = importlib.import_module("datasets").load_dataset(loader, data_files=file, split="train")
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    kind = transformers.AutoModelForSequenceClassification if trainer == "reward" else transformers.AutoModelForCausalLM
    loaded = kind.from_pretrained(model, **({"num_labels": 1} if trainer == "reward" else {}))
    arguments = getattr(trl, f"{CLASSES[trainer]}Config")(
        output_dir=folder, max_steps=1, per_device_train_batch_size=4, use_cpu=True, bf16=False, report_to="none",
        save_strategy="no", logging_steps=1, disable_tqdm=True, gradient_checkpointing=False,
    )  # fmt: skip
    made = getattr(trl, f"{CLASSES[trainer]}Trainer")(
        model=loaded, args=arguments, train_dataset=rows, processing_class=tokenizer
    )
    return {"rows": len(made.train_dataset), "loss": made.train().training_loss}


if __name__ == "__main__":
    main()
