"""The peer's half of trl_ppo.py: TRL's PPO on a prepared job. Runs in TRL's own environment, never in tutelage's.

    python benchmarks/_trl_peer.py JOB.json

Writes rows.json and model/ beside the job. Whatever is done here for TRL and not by TRL is listed in README.md.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def main() -> int:
    """Train, and write down every step."""
    if len(sys.argv) != 2:
        print(__doc__)
        return 0
    path = Path(sys.argv[1])
    job = json.loads(path.read_text(encoding="utf-8"))
    trainer, diary = _trainer(job, path.parent, importlib.import_module(job["task"]))
    trainer.train()
    trainer.model.policy.save_pretrained(str(path.parent / "model"))
    versions = {name: importlib.import_module(name).__version__ for name in ("trl", "transformers", "torch")}
    found = {"rows": diary.rows, "versions": versions}
    (path.parent / "rows.json").write_text(json.dumps(found), encoding="utf-8")
    return 0


def _trainer(job: dict[str, Any], folder: Path, task: Any) -> tuple[Any, Any]:
    torch, ppo = importlib.import_module("torch"), importlib.import_module("trl.experimental.ppo")
    transformers = importlib.import_module("transformers")
    torch.set_num_threads(job["threads"])
    settings = task.Settings(**job["settings"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(job["model"], padding_side="left")
    policy = transformers.AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
    reference = transformers.AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
    critic = transformers.AutoModelForSequenceClassification.from_pretrained(
        job["model"], num_labels=1, dtype=torch.float32
    )
    torch.nn.init.zeros_(critic.score.weight)
    reward = _reward(torch, tokenizer, job, task)
    diary = _diary(transformers, reward, policy, reference)
    arguments = ppo.PPOConfig(
        output_dir=str(folder / "trl"), seed=job["seed"], use_cpu=True, bf16=False, fp16=False,
        gradient_checkpointing=False, report_to="none", save_strategy="no", num_sample_generations=0,
        disable_tqdm=True, total_episodes=settings.steps * settings.batch_size,
        per_device_train_batch_size=settings.batch_size, gradient_accumulation_steps=1,
        num_mini_batches=settings.minibatches,
        local_rollout_forward_batch_size=settings.batch_size, response_length=settings.max_new_tokens,
        stop_token_id=job["stop"], missing_eos_penalty=None, temperature=settings.temperature,
        learning_rate=settings.learning_rate, lr_scheduler_type="linear", warmup_steps=0,
        adam_epsilon=settings.adam_eps, num_ppo_epochs=settings.updates, cliprange=settings.clip,
        cliprange_value=settings.value_clip, vf_coef=settings.value_coef, kl_coef=settings.kl, kl_estimator="k1",
        gamma=settings.gamma, lam=settings.lam, whiten_rewards=False,
    )  # fmt: skip
    trainer = ppo.PPOTrainer(
        args=arguments, processing_class=tokenizer, model=policy, ref_model=reference, reward_model=reward,
        value_model=critic, train_dataset=InOrder(job["prompts"]), callbacks=[diary],
    )  # fmt: skip
    return trainer, diary


class InOrder:
    """Prompts in the order of the job, whatever index the trainer's shuffled loader asks for."""

    def __init__(self, prompts: list[list[int]]) -> None:
        self.prompts = prompts
        self.given = 0

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, _: int) -> dict[str, list[int]]:
        self.given += 1
        return {"input_ids": self.prompts[(self.given - 1) % len(self.prompts)]}


def _reward(torch: Any, tokenizer: Any, job: dict[str, Any], task: Any) -> Any:
    """The Python rule in the clothes of a reward model: `rule` is its backbone, `score` its head."""
    known = {tuple(ids): text for ids, text in zip(job["prompts"], job["texts"], strict=True)}
    lengths = sorted({len(ids) for ids in known})
    special = {tokenizer.pad_token_id}

    class Rule(torch.nn.Module):
        center: float | None = None

        def forward(self, input_ids: Any, attention_mask: Any, **_: Any) -> Any:
            rows = [
                [token for token, real in zip(ids, mask, strict=True) if real]
                for ids, mask in zip(input_ids.tolist(), attention_mask.tolist(), strict=True)
            ]
            answers = [self._split(row) for row in rows]
            scores = [task.timed(prompt, self._text(answer)) for prompt, answer in answers]
            self.last = {
                "length": sum(len(answer) for _, answer in answers) / len(answers),
                "stopped": sum(answer[-1:] == [job["stop"]] for _, answer in answers) / len(answers),
                "answers": len(answers),
            }
            if self.center is None:  # as tutelage does it: a rule's zero is arbitrary
                self.center = sum(scores) / len(scores)
            value = torch.tensor(scores)[:, None, None] - self.center
            return SimpleNamespace(hidden_states=[value.expand(-1, input_ids.shape[1], 1)])

        def _split(self, row: list[int]) -> tuple[Any, list[int]]:
            found = [length for length in lengths if tuple(row[:length]) in known]
            if len(found) != 1:
                raise ValueError(f"{len(found)} prompts begin {tokenizer.decode(row)!r}")
            return known[tuple(row[: found[0]])], row[found[0] :]

        def _text(self, answer: list[int]) -> str:
            words = answer[:-1] if answer[-1:] == [job["stop"]] else answer
            return tokenizer.decode([token for token in words if token not in special], skip_special_tokens=True)

    class Wrapped(torch.nn.Module):
        base_model_prefix = "rule"

        def __init__(self) -> None:
            super().__init__()
            self.rule = Rule()
            self.score = torch.nn.Identity()

    return Wrapped()


def _diary(transformers: Any, reward: Any, policy: Any, reference: Any) -> Any:
    """One row per step: TRL's own numbers, and the lengths as the rule saw them."""

    class Diary(transformers.TrainerCallback):
        def __init__(self) -> None:
            self.rows: list[dict[str, Any]] = []

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            pairs = zip(policy.parameters(), reference.parameters(), strict=True)
            assert all(bool((one == other).all()) for one, other in pairs), "policy and reference differ at the start"

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            self.rows.append(
                {
                    "step": state.global_step,
                    "kl": logs["objective/kl"],
                    "ratio": logs["val/ratio"],
                    **reward.rule.last,
                }
            )

    return Diary()


if __name__ == "__main__":
    sys.exit(main())
