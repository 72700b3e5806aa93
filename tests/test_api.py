"""The Python interface: the same commands with Python rows and functions, resumable, and as strict as the flags."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tutelage as tt
from tutelage.errors import CannotCreateError, DataError, DivergedError, UsageError
from tutelage.types import Message, Prompt

SHORT = {"steps": 2, "batch_size": 4}
ANSWERS = {"max_new_tokens": 6, "max_length": 100, "critic_init": "zero"}
DEMONSTRATIONS = [{"prompt": f"Say {n}:", "completion": f" {n}! 好"} for n in range(8)]
PAIRS = [{"prompt": f"Say {n}:", "chosen": f" {n}!", "rejected": " no"} for n in range(8)]


def test_fine_tuning_on_rows_given_from_python(tmp_path: Path, tiny_model: Path) -> None:
    run = tt.sft(model=tiny_model, data=DEMONSTRATIONS, out=tmp_path / "run", **SHORT)
    assert run.metrics() == [] and not run.model.exists(), "nothing happens before train()"
    assert run.train() is run
    assert [line["step"] for line in run.metrics()] == [1, 2] and run.metrics()[0]["loss"] > 0
    policy = tt.load_policy(str(run.model))
    assert policy.name == str(run.model)


def test_a_run_goes_on_from_python_as_from_the_command_line(tmp_path: Path, tiny_model: Path) -> None:
    def run(steps: int) -> tt.Training:
        settings = {"steps": steps, "batch_size": 4, "schedule": "constant", "warmup": 0.0}
        return tt.sft(model=tiny_model, data=DEMONSTRATIONS, out=tmp_path / "run", **settings).train()

    first = run(2).metrics()
    assert run(2).metrics() == first, "a finished run is left alone"
    more = run(4).metrics()
    assert more[:2] == first and [line["step"] for line in more] == [1, 2, 3, 4]


def test_direct_preferences_from_a_file_and_a_dry_run(tmp_path: Path, tiny_model: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in PAIRS), encoding="utf-8")
    run = tt.dpo(model=str(tiny_model), data=data, out=tmp_path / "run", **SHORT)
    run.train(dry_run=True)
    assert not run.folder.exists()
    assert run.train().metrics()[-1]["reward/accuracy"] >= 0


def test_a_policy_learns_from_a_function(tmp_path: Path, tiny_model: Path) -> None:
    heard: list[tuple[str, str]] = []

    def shortness(prompt: str, completion: str) -> float:
        heard.append((prompt, completion))
        return -float(len(completion))

    asked = ["Say hello.", Prompt("p1", (Message("user", "你好吗？"),), {"lang": "zh"}), {"prompt": "Say more."}]
    run = tt.ppo(model=tiny_model, data=asked, reward=shortness, out=tmp_path / "run", steps=2, batch_size=3, **ANSWERS)
    last = run.train().metrics()[-1]
    assert {prompt for prompt, _ in heard} == {"Say hello.", "你好吗？", "Say more."}
    assert last["reward/mean"] == pytest.approx(-sum(len(answer) for _, answer in heard[-3:]) / 3)
    assert "shortness" in run.resolved.config.reward, "the run folder says what the reward was"


def test_a_reward_model_from_pairs_is_a_reward_for_a_policy(tmp_path: Path, tiny_model: Path) -> None:
    judge = tt.reward(model=tiny_model, data=PAIRS, out=tmp_path / "reward", **SHORT).train()
    run = tt.ppo(model=tiny_model, data=["Say 1:"], reward=judge.model, out=tmp_path / "ppo", steps=1, batch_size=1,
                 max_new_tokens=6, max_length=100).train()  # fmt: skip
    assert run.metrics()[-1]["step"] == 1


def test_a_classical_reward_needs_no_model(tmp_path: Path, tiny_model: Path) -> None:
    judge = tt.reward(kind="ridge", data=PAIRS, out=tmp_path / "reward").train()
    assert (judge.model / "classical.json").is_file() and judge.metrics()[-1]["cv/score"] >= 0
    with pytest.raises(UsageError, match="--model is missing"):
        tt.reward(data=PAIRS, out=tmp_path / "neural").train()
    run = tt.rloo(model=tiny_model, data=["Say 1:"], reward=judge.model, out=tmp_path / "rloo", steps=1, batch_size=1,
                  max_new_tokens=6, max_length=100).train()  # fmt: skip
    assert "reward/part/classical" in run.metrics()[-1]


def test_pretraining_makes_a_model_from_text(tmp_path: Path) -> None:
    rows = [{"text": f"The mayor opened bridge {n}. 市长启用了第{n}座桥。"} for n in range(8)]
    sizes = {"vocab_size": 300, "hidden_size": 32, "layers": 1, "heads": 2, "key_value_heads": 1, "context": 64}
    run = tt.pretrain(data=rows, out=tmp_path / "run", max_length=32, **sizes, **SHORT).train()
    assert (run.model / "config.json").is_file()


def test_every_command_has_its_function_and_a_general_one() -> None:
    from tutelage import registry
    from tutelage.train import loop  # the folder of the training loop has a name that must not hide a function

    assert loop and all(callable(getattr(tt, name.replace("-", "_"))) for name in registry.names("algorithms"))
    assert callable(tt.training) and set(dir(tt)) >= {"sft", "dpo", "ppo", "load_policy", "Store"}
    with pytest.raises(AttributeError, match="public names"):
        _ = tt.no_such_name


def test_wrong_settings_are_refused_as_on_the_command_line(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown key 'learning_rte'[\s\S]*did you mean 'learning_rate'"):
        tt.sft(model=tiny_model, data=DEMONSTRATIONS, out=tmp_path / "run", learning_rte=1)
    with pytest.raises(UsageError, match="batch_size"):
        tt.sft(model=tiny_model, data=DEMONSTRATIONS, out=tmp_path / "run", batch_size="many")
    with pytest.raises(UsageError, match="answers = 0"):
        tt.ppo(model=tiny_model, data=["x"], reward=lambda p, c: 0.0, out=tmp_path / "run", answers=0)
    with pytest.raises(UsageError, match="did you mean 'dpo'"):
        tt.training("dpoo", data=PAIRS, out=tmp_path / "run")
    assert not (tmp_path / "run").exists(), "what was refused leaves nothing behind"


def test_wrong_rows_are_refused_with_their_place(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(UsageError, match="row 1 cannot be written as JSON"):
        tt.sft(model=tiny_model, data=[DEMONSTRATIONS[0], {"prompt": "x", "completion": object()}], out=tmp_path / "a")
    with pytest.raises(DataError, match="jsonl:2:"):
        tt.sft(
            model=tiny_model, data=[DEMONSTRATIONS[0], {"prompt": "x", "completion": ""}], out=tmp_path / "b"
        ).train()
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotCreateError):
        tt.sft(model=tiny_model, data=DEMONSTRATIONS, out=tmp_path / "file").train()


def test_other_rows_are_another_run(tmp_path: Path, tiny_model: Path) -> None:
    tt.sft(model=tiny_model, data=DEMONSTRATIONS, out=tmp_path / "run", **SHORT).train()
    with pytest.raises(UsageError, match="--data changed"):
        tt.sft(model=tiny_model, data=DEMONSTRATIONS[:5], out=tmp_path / "run", **SHORT).train()
    again = tt.sft(model=tiny_model, data=DEMONSTRATIONS, out=tmp_path / "run", **SHORT).train()
    assert again.metrics()[-1]["step"] == 2


def test_a_function_that_fails_is_named(tmp_path: Path, tiny_model: Path) -> None:
    def broken(prompt: str, completion: str) -> float:
        raise RuntimeError("no connection")

    with pytest.raises(DivergedError, match=r"broken raised RuntimeError: no connection[\s\S]*test_api.py"):
        tt.ppo(
            model=tiny_model, data=["x"], reward=broken, out=tmp_path / "run", steps=1, batch_size=1, **ANSWERS
        ).train()


def test_a_cost_may_be_a_function_too(tiny_model: Path, tmp_path: Path) -> None:
    run = tt.training(
        "ppo-lagrangian",
        model=tiny_model,
        data=["Say hello.", "Say goodbye."],
        reward=lambda prompt, completion: len(completion) / 10,
        cost=lambda prompt, completion: float("e" in completion),
        out=tmp_path / "run",
        steps=1,
        batch_size=2,
        max_length=96,
        max_new_tokens=4,
    ).train()
    (row,) = [line for line in run.metrics() if "cost/mean" in line]
    assert 0 <= row["cost/mean"] <= 1 and run.model.is_dir()
