"""TRL's side of speed.py: its own trainer, stopped between rounds. Runs in TRL's environment, never in tutelage's.

python benchmarks/_speed_trl.py JOB.json     (started by speed.py, which holds the other end of the pipe)
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from _speed_jobs import JOBS, Job, rule
from _speed_pipe import Gate
from _trl_peer import InOrder

TRAINERS = {
    "sft": ("SFTTrainer", "SFTConfig"),
    "reward": ("RewardTrainer", "RewardConfig"),
    "dpo": ("DPOTrainer", "DPOConfig"),
    "dpo-precomputed": ("DPOTrainer", "DPOConfig"),
    "rloo": ("RLOOTrainer", "RLOOConfig"),
    "grpo": ("GRPOTrainer", "GRPOConfig"),
}


def main() -> int:
    """Be one side until the pipe closes."""
    if len(sys.argv) != 2:
        print(__doc__)
        return 0
    import torch

    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(asked["threads"])
    job = dataclasses.replace(JOBS[asked["job"]], **asked["changes"])
    trainer = _ppo(asked, job) if job.name == "ppo" else _trainer(asked, job)
    trainer.train()
    return 0


def _trainer(asked: dict[str, Any], job: Job) -> Any:
    trl, datasets = importlib.import_module("trl"), importlib.import_module("datasets")
    trainer_name, config_name = TRAINERS[job.name]
    rows = [json.loads(line) for line in Path(asked["theirs"]).read_text(encoding="utf-8").splitlines()]
    data = datasets.Dataset.from_list([{k: v for k, v in row.items() if k != "id"} for row in rows])
    arguments = getattr(trl, config_name)(**_arguments(asked, job) | _special(job, asked))
    more: dict[str, Any] = {"reward_funcs": _reward} if job.online else {}
    start = asked["scorer"] if job.name == "reward" else asked["model"]
    return getattr(trl, trainer_name)(
        model=_load(start, job), args=arguments, train_dataset=data, processing_class=_tokenizer(start),
        callbacks=[_pauses(asked, job)], **more,
    )  # fmt: skip


def _arguments(asked: dict[str, Any], job: Job) -> dict[str, Any]:
    """What every trainer is told: the work itself, and the setting that is measured."""
    settings = job.settings
    told = {
        "output_dir": asked["out"], "seed": settings["seed"], "report_to": "none", "save_strategy": "no",
        "disable_tqdm": True, "logging_steps": 1, "max_steps": asked["total"],
        "per_device_train_batch_size": job.batch * job.answers, "gradient_accumulation_steps": 1,
        "learning_rate": settings["learning_rate"], "lr_scheduler_type": "constant", "warmup_steps": 0,
        "weight_decay": 0.0, "max_grad_norm": 1.0, "adam_epsilon": 1e-8, "dataloader_num_workers": 0,
        "use_cpu": asked["device"] == "cpu",
    }  # fmt: skip
    if not job.online:
        told |= {"train_sampling_strategy": "sequential", "max_length": settings["max_length"]}
    return told | asked["flags"]


def _special(job: Job, asked: dict[str, Any]) -> dict[str, Any]:
    """What one trainer alone is told."""
    settings = job.settings
    if job.name.startswith("dpo"):
        return {"beta": settings["beta"], "precompute_ref_log_probs": job.name == "dpo-precomputed"}
    if job.name in ("rloo", "grpo"):
        length = {"max_completion_length": settings["max_new_tokens"], "temperature": settings["temperature"]}
        return length | {"num_generations": job.answers, "beta": settings["kl"], "shuffle_dataset": False}
    return {}


def _load(start: str, job: Job) -> Any:
    transformers, torch = importlib.import_module("transformers"), importlib.import_module("torch")
    kind = (
        transformers.AutoModelForSequenceClassification if job.name == "reward" else transformers.AutoModelForCausalLM
    )
    return kind.from_pretrained(start, dtype=torch.float32)


def _tokenizer(start: str) -> Any:
    return importlib.import_module("transformers").AutoTokenizer.from_pretrained(start)


def _reward(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
    return [rule(prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)]


def _pauses(asked: dict[str, Any], job: Job) -> Any:
    """A callback that waits between rounds and keeps what TRL logs."""
    transformers = importlib.import_module("transformers")
    gate = Gate(job.warm, job.steps)
    start = Path(asked["scorer"] if job.name == "reward" else asked["model"])
    weights = hashlib.sha256((start / "model.safetensors").read_bytes()).hexdigest()

    class Pauses(transformers.TrainerCallback):
        def __init__(self) -> None:
            self.rows: list[dict[str, float]] = []
            self.tokens = 0.0

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            gate.boundary(state.global_step, self._facts)

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            self.rows.append({name: float(value) for name, value in logs.items()})

        def _facts(self) -> dict[str, Any]:
            rows, self.rows = self.rows, []
            names = {
                "loss": "loss", "rewards/margins": "reward/margin", "margin": "reward/margin", "reward": "reward/mean",
                "completions/mean_length": "answer/length", "entropy": "policy/entropy",
            }  # fmt: skip
            found: dict[str, Any] = {"weights": weights, "missing": []}
            for theirs, ours in names.items():
                if rows and theirs in rows[0]:
                    found[ours] = [row[theirs] for row in rows if theirs in row]
            if rows and "num_tokens" in rows[-1] and not job.online:
                found["tokens"] = rows[-1]["num_tokens"] - self.tokens
                self.tokens = rows[-1]["num_tokens"]
            if rows and "completions/clipped_ratio" in rows[0]:
                found["policy/stop_rate"] = [1 - row["completions/clipped_ratio"] for row in rows]
            return found

    return Pauses()


def _ppo(asked: dict[str, Any], job: Job) -> Any:
    """TRL's last PPO; policy, reference, critic and reward model all start as ours do."""
    transformers, ppo = importlib.import_module("transformers"), importlib.import_module("trl.experimental.ppo")
    settings = job.settings
    tokenizer = transformers.AutoTokenizer.from_pretrained(asked["model"], padding_side="left")
    lines = Path(asked["theirs"]).read_text(encoding="utf-8").splitlines()
    prompts = [tokenizer(json.loads(line)["prompt"])["input_ids"] for line in lines]
    told = {
        "output_dir": asked["out"], "seed": settings["seed"], "use_cpu": asked["device"] == "cpu", "bf16": False,
        "report_to": "none", "save_strategy": "no", "num_sample_generations": 0, "disable_tqdm": True,
        "total_episodes": asked["total"] * job.batch, "per_device_train_batch_size": job.batch,
        "gradient_accumulation_steps": 1, "num_mini_batches": settings["minibatches"], "kl_estimator": "k1",
        "local_rollout_forward_batch_size": job.batch, "response_length": settings["max_new_tokens"],
        "stop_token_id": tokenizer.eos_token_id, "missing_eos_penalty": None, "temperature": settings["temperature"],
        "learning_rate": settings["learning_rate"], "lr_scheduler_type": "constant", "warmup_steps": 0,
        "adam_epsilon": 1e-8, "num_ppo_epochs": settings["updates"], "kl_coef": settings["kl"], "whiten_rewards": False,
        "gamma": 1.0, "lam": 0.95, "max_grad_norm": 1.0,
    }  # fmt: skip
    score = _scorer(asked["scorer"])
    pauses = _pauses_of_ppo(_pauses(asked, job), score, prompts)
    return ppo.PPOTrainer(
        args=ppo.PPOConfig(**told | asked["flags"]), processing_class=tokenizer, model=_load(asked["model"], job),
        ref_model=_load(asked["model"], job), reward_model=score, value_model=_scorer(asked["scorer"]),
        train_dataset=InOrder(prompts), callbacks=[pauses],
    )  # fmt: skip


def _scorer(folder: str) -> Any:
    transformers, torch = importlib.import_module("transformers"), importlib.import_module("torch")
    return transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)


def _pauses_of_ppo(pauses: Any, score: Any, prompts: list[list[int]]) -> Any:
    """Its loop calls other hooks, and tells no lengths: they are read off what the reward model is given."""
    began = pauses.on_step_begin
    seen: list[float] = []
    read = 0

    def look(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        nonlocal read
        mask = kwargs["attention_mask"]
        known = sum(len(prompts[(read + row) % len(prompts)]) for row in range(len(mask)))
        read += len(mask)
        seen.append((float(mask.sum()) - known) / len(mask))

    def lengths(args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        row = {"loss": logs["loss/policy_avg"], "reward": logs["objective/scores"]}
        pauses.rows.append(row | {"completions/mean_length": seen[-1], "entropy": logs["objective/entropy"]})

    getattr(score, score.base_model_prefix).register_forward_pre_hook(look, with_kwargs=True)
    pauses.on_step_begin = lambda *_, **__: None
    pauses.on_step_end = lambda args, state, control, **_: began(args, state, control)
    pauses.on_log = lengths
    return pauses


if __name__ == "__main__":
    sys.exit(main())
