"""Low-rank adapters (peft): put one on, or fold a trained one into its base."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tutelage.errors import DataError, UsageError


@dataclass(frozen=True, kw_only=True)
class LoRA:
    """What kind of adapter (Hu et al. 2021, 2106.09685)."""

    rank: int = 16
    alpha: float = 32.0
    targets: str = "all-linear"
    """`all-linear`, or names of layers separated by commas"""


def add_adapter(model: Any, lora: LoRA, task: str, seed: int) -> Any:
    """Wrap a transformers model; only the adapter (and a classifier's head) stays trainable.

    Args:
        task: peft's task type, `CAUSAL_LM` or `SEQ_CLS`.
        seed: of the adapter's first weights.

    Raises:
        UsageError: no layer has one of the target names, or one of them is the output layer.
    """
    import peft

    targets: str | list[str] = lora.targets if lora.targets == "all-linear" else lora.targets.split(",")
    head = [name.rpartition(".")[2] for name, part in model.named_modules() if part is model.get_output_embeddings()]
    if head and head[0] in targets:
        # log-probabilities are taken from the output layer's own weight: an adapter there would never learn
        raise UsageError("the output layer cannot have an adapter", fix="--lora-targets all-linear leaves it out")
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # peft divides by the rank: any number will do
        lora_dropout=0.0,
        fan_in_fan_out=any(type(part).__name__ == "Conv1D" for part in model.modules()),  # GPT-2 stores its weights so
        target_modules=targets,
        task_type=task,
        modules_to_save=["score"] if task == "SEQ_CLS" else None,
    )
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)  # by peft
            torch.manual_seed(seed)
            return peft.get_peft_model(model, config)
    except ValueError as error:
        linear = sorted(
            {name.rpartition(".")[2] for name, part in model.named_modules() if "Linear" in type(part).__name__}
        )
        raise UsageError(str(error), fix=f"--lora-targets all-linear, or some of: {', '.join(linear)}") from error


def is_adapter(folder: Path) -> bool:
    """Whether `folder` holds a peft adapter rather than a whole model."""
    return (folder / "adapter_config.json").is_file()


def task(folder: Path) -> str:
    """What a peft adapter was trained for, `CAUSAL_LM` or `SEQ_CLS`."""
    import peft

    return str(peft.PeftConfig.from_pretrained(str(folder)).task_type).rpartition(".")[2]


def merged(model_class: Any, folder: Path, **options: Any) -> Any:
    """Load an adapter's base with the adapter folded in, so that what follows starts from (and refers to) the sum.

    Raises:
        DataError: the base that the adapter names cannot be loaded.
    """
    import peft

    config = peft.PeftConfig.from_pretrained(str(folder))
    base_name = config.base_model_name_or_path or ""
    local = base_name.startswith((".", "/", "~")) or base_name.count("/") > 1
    if local and not Path(base_name).is_dir():
        raise DataError(
            f"the adapter's base model '{base_name}' is not there",
            where=str(folder / "adapter_config.json"),
            fix="put the base back, or correct base_model_name_or_path",
        )
    base = model_class.from_pretrained(base_name, **options)
    config.task_type = None  # peft's wrapper for a language model refuses a scorer that stands on the same body
    return peft.PeftModel.from_pretrained(base, str(folder), config=config).merge_and_unload()
