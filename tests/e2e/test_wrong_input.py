"""What users get wrong: each case runs the real command and reads its message and exit code. Never a traceback."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tutelage.cli.main import main
from tutelage.train.lock import Lock

DEMONSTRATIONS = [{"prompt": f"Say {n}:", "completion": f" {n}!"} for n in range(8)]
PAIRS = [{"prompt": f"Say {n}:", "chosen": f" {n}!", "rejected": " no"} for n in range(8)]
PROMPTS = [{"prompt": f"Say {n}:"} for n in range(8)]
PPO = ("--max-length", "100", "--max-new-tokens", "8", "--critic-init", "zero")
REWARDS = """
import math
def same(prompt, completion): return 1.0
def nan(prompt, completion): return math.nan
def words(prompt, completion): return "good"
def wrong(prompt, completion): return {}["facts"]
"""


class Told:
    """How a command ended, and what it said."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def expect(self, code: int, *said: str) -> None:
        """This exit code, all of these in the message, and nothing that only a programmer reads."""
        assert self.code == code, self.err
        for part in said:
            assert part in self.err, f"{part!r} is not in: {self.err}"
        assert "Traceback" not in self.out + self.err and "bug of ours" not in self.err
        if code not in (0, 130):
            assert self.err.startswith("error: ") or "\nerror: " in self.err


class Workplace:
    """A folder with a model and data, and the command line."""

    def __init__(self, folder: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.model, self.capsys = folder, model, capsys
        self.run = folder / "run"

    def rows(self, rows: Sequence[Any], name: str = "rows.jsonl") -> str:
        lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
        (self.folder / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return str(self.folder / name)

    def __call__(self, *words: str) -> Told:
        self.capsys.readouterr()
        code = main(list(words))
        caught = self.capsys.readouterr()
        return Told(code, caught.out, caught.err)

    def train(self, command: str, rows: Sequence[Any], *words: str, model: str | Path = "", quiet: bool = True) -> Told:
        """A short run of a training command on these rows; of a flag that is given twice the last one counts."""
        given = {"--model": str(model or self.model), "--data": self.rows(rows), "--out": str(self.run)}
        given |= {"--steps": "4", "--batch-size": "4"}
        rest = list(words)
        for flag in [word for word in words if word in given]:
            place = rest.index(flag)
            given[flag] = rest[place + 1]
            del rest[place : place + 2]
        line = [word for pair in given.items() for word in pair]
        return self(command, *line, *rest, *(["--quiet"] if quiet else []))


@pytest.fixture
def at(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Workplace:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "wrong_rewards.py").write_text(REWARDS)
    monkeypatch.syspath_prepend(tmp_path / "code")
    monkeypatch.delitem(sys.modules, "wrong_rewards", raising=False)
    return Workplace(tmp_path, tiny_model, capsys)


def copy_of(model: Path, folder: Path, *, without: str = "\0") -> Path:
    folder.mkdir()
    for path in model.iterdir():
        if without not in path.name:
            shutil.copy(path, folder)
    return folder


# ---- models


def test_a_model_folder_that_is_not_there(at: Workplace) -> None:
    at.train("sft", DEMONSTRATIONS, model=at.folder / "nope").expect(66, "no model folder", "nope", "config.json")


def test_a_folder_that_holds_no_model(at: Workplace) -> None:
    (at.folder / "empty").mkdir()
    told = at.train("sft", DEMONSTRATIONS, model=at.folder / "empty")
    told.expect(65, "config.json is missing", f"where: {at.folder / 'empty'}")
    assert "rows.jsonl" not in told.err, "the rows are not to blame"


def test_a_run_folder_in_a_models_place_is_told_where_its_model_is(at: Workplace) -> None:
    (at.folder / "earlier" / "model").mkdir(parents=True)
    (at.folder / "earlier" / "model" / "config.json").write_text("{}")
    told = at.train("sft", DEMONSTRATIONS, model=at.folder / "earlier")
    told.expect(65, "config.json is missing", str(at.folder / "earlier" / "model"))


@pytest.mark.parametrize(
    ("name", "said"), [("config.json", "config"), ("model.safetensors", "header"), ("token", "tokenizer")]
)
def test_a_model_folder_with_a_broken_or_missing_file(name: str, said: str, at: Workplace) -> None:
    folder = copy_of(at.model, at.folder / "broken", without=name if name == "token" else "\0")
    if name != "token":
        (folder / name).write_bytes((folder / name).read_bytes()[:20])
    told = at.train("sft", DEMONSTRATIONS, model=folder)
    told.expect(65, "cannot be loaded", said, f"where: {folder}", "fix: ")
    assert "rows.jsonl" not in told.err


def test_a_hub_id_without_a_network(at: Workplace) -> None:
    at.train("sft", DEMONSTRATIONS, model="nobody/nothing").expect(
        69, "'nobody/nothing'", "could not be fetched", "network"
    )


def test_a_language_model_is_no_reward_model(at: Workplace) -> None:
    told = at.train("ppo", PROMPTS, *PPO, "--reward", str(at.model))
    told.expect(65, "not a reward model", f"where: {at.model}", "tutelage reward")


def test_a_device_that_is_not_there(at: Workplace) -> None:
    at.train("sft", DEMONSTRATIONS, "--device", "cdua").expect(2, "device 'cdua' cannot be used", "--device auto")


@pytest.mark.parametrize("pad", ["the end token", "missing"])
def test_a_tokenizer_whose_pad_is_its_end_trains_and_says_what_was_changed(
    pad: str, at: Workplace, model_folder: Callable[[str], Path]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = copy_of(model_folder("gpt2"), at.folder / "gpt2")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token if pad == "the end token" else None
    tokenizer.save_pretrained(folder)
    told = at.train("sft", DEMONSTRATIONS, model=folder, quiet=False)
    told.expect(0)
    assert f"the pad token was {pad}" in told.out and "is used instead" in told.out
    after = AutoTokenizer.from_pretrained(at.run / "model")
    assert after.pad_token_id not in (None, after.eos_token_id)
    assert AutoModelForCausalLM.from_pretrained(at.run / "model").config.vocab_size >= len(after)


# ---- flags and files of settings


def test_a_wrong_flag_is_answered_with_the_near_one(at: Workplace) -> None:
    at.train("sft", DEMONSTRATIONS, "--lerning-rate", "1").expect(2, "--lerning-rate", "Did you mean --learning-rate?")


def test_a_wrong_command_is_answered_with_the_near_one(at: Workplace) -> None:
    at("sfft").expect(2, "no command 'sfft'", "did you mean 'sft'?")


def test_an_unknown_key_in_yaml_has_its_line(at: Workplace) -> None:
    file = at.folder / "sft.yaml"
    file.write_text("model: x\nbatch_sise: 3\n")
    at("sft", str(file)).expect(2, "unknown key 'batch_sise'", f"{file}:2:1", "did you mean 'batch_size'?")


@pytest.mark.parametrize("missing", ["--model", "--data", "--out"])
def test_what_must_be_given_is_asked_for_by_name(missing: str, at: Workplace) -> None:
    at.train("sft", DEMONSTRATIONS, missing, "").expect(2, f"{missing} is missing", f"fix: {missing} ")


def test_ppo_without_a_reward_asks_for_one(at: Workplace) -> None:
    at.train("ppo", PROMPTS, *PPO[:4]).expect(2, "no reward was named", "FOLDER or hub id")


@pytest.mark.parametrize(
    ("command", "flag", "value"),
    [
        ("sft", "learning-rate", "-1"), ("sft", "batch-size", "0"), ("sft", "warmup", "2"), ("sft", "adam-beta2", "1"),
        ("ppo", "answers", "0"), ("ppo", "temperature", "0"), ("ppo", "updates", "0"), ("ppo", "lam", "1.5"),
        ("ppo", "clip", "0"), ("dpo", "beta", "0"), ("dpo", "label-smoothing", "0.7"), ("pretrain", "layers", "0"),
    ],
)  # fmt: skip
def test_a_number_that_means_nothing_is_refused_by_name(command: str, flag: str, value: str, at: Workplace) -> None:
    told = at(command, "--model", "x", "--data", "y", "--out", str(at.run), f"--{flag}={value}")
    told.expect(2, flag.replace("-", "_"), "makes no sense, wanted", f"--{flag}")


# ---- folders


@pytest.mark.parametrize("below", [False, True])
def test_an_out_that_is_a_file(below: bool, at: Workplace) -> None:
    file = at.rows(["x"], "taken")
    out = f"{file}/run" if below else file
    at.train("sft", DEMONSTRATIONS, "--out", out).expect(73, "run folder cannot be created", f"where: {file}")


def test_an_out_that_cannot_be_written(at: Workplace) -> None:
    if os.geteuid() == 0:  # nothing is forbidden to root, but no folder can be made in /proc
        at.train("sft", DEMONSTRATIONS, "--out", "/proc/nothing/run").expect(73, "cannot be created", "another --out")
        return
    (at.folder / "closed").mkdir(mode=0o500)
    told = at.train("sft", DEMONSTRATIONS, "--out", str(at.folder / "closed" / "run"))
    told.expect(77, "cannot be created", str(at.folder / "closed"), "permission")


def test_the_second_run_on_a_folder_hears_the_pid_of_the_first(at: Workplace) -> None:
    at.run.mkdir()
    lock = Lock(at.run / "run.lock")
    lock.acquire()
    try:
        at.train("sft", DEMONSTRATIONS).expect(75, str(os.getpid()), str(at.run))
    finally:
        lock.release()


def test_a_folder_of_another_run_is_refused_and_says_what_differs(at: Workplace) -> None:
    at.train("sft", DEMONSTRATIONS).expect(0)
    at.train("sft", DEMONSTRATIONS, "--learning-rate", "1e-3").expect(2, "learning_rate: 2e-05 then, 0.001 now")
    at.train("dpo", PAIRS).expect(2, "holds a run of `tutelage sft`, not of `tutelage dpo`", str(at.run))


def test_a_start_that_failed_before_it_learned_anything_can_be_mended_in_place(at: Workplace) -> None:
    at.train("sft", DEMONSTRATIONS, "--lora", "--lora-targets", "nope").expect(2, "nope", "q_proj")
    at.train("sft", DEMONSTRATIONS, "--lora", "--lora-targets", "q_proj").expect(0)


# ---- data


@pytest.mark.parametrize("on_bad", ["error", "skip"])
def test_empty_completions(on_bad: str, at: Workplace) -> None:
    told = at.train("sft", [{"prompt": "a", "completion": ""}] * 3, "--on-bad", on_bad)
    told.expect(65, "'completion' is empty", "rows.jsonl:1:31")
    assert ("no rows are left" in told.err) == (on_bad == "skip") and ("rows.jsonl:3:31" in told.err) == (
        on_bad == "error"
    )


def test_a_chosen_answer_that_is_the_rejected_one(at: Workplace) -> None:
    rows = [*PAIRS, {"prompt": "a", "chosen": "x", "rejected": "x"}]
    at.train("dpo", rows).expect(65, "chosen and rejected are the same", "rows.jsonl:9:", "--on-bad skip")
    told = at.train("dpo", rows, "--on-bad", "skip", quiet=False)
    told.expect(0)
    assert "left out 1: chosen and rejected are the same" in told.out


def test_prompts_over_the_limit_are_listed(at: Workplace) -> None:
    rows = [*PROMPTS, {"prompt": "word " * 99}, {"prompt": "mot " * 99}]
    told = at.train("ppo", rows, *PPO, "--reward", "wrong_rewards:same")
    told.expect(65, "2 of 10 rows cannot be used", "rows.jsonl:9: ", "rows.jsonl:10: ", "limit of 100", "--max-length")


def test_a_prompt_that_leaves_no_room_for_the_answer(at: Workplace) -> None:
    told = at.train("ppo", [*PROMPTS, {"prompt": "Q" * 95}], *PPO, "--reward", "wrong_rewards:same")
    told.expect(65, "1 of 9 rows", "rows.jsonl:9: the prompt has", "of 100 for an answer of 8")


def test_rows_that_are_longer_than_the_model_reads(at: Workplace) -> None:
    told = at.train("sft", [*DEMONSTRATIONS, {"prompt": "w " * 150, "completion": "a"}])
    told.expect(65, "1 of 9 rows", "rows.jsonl:9: ", "the limit of 128", "the model reads 128 tokens")


def test_broken_lines_are_told_several_at_once(at: Workplace) -> None:
    rows = [
        '{"prompt": "a", "completion": }',
        DEMONSTRATIONS[0],
        '{"prompt": "a"',
        "[1]",
        {"prompt": 3, "completion": "x"},
    ]
    told = at.train("sft", rows)
    told.expect(65, "4 problems", "rows.jsonl:1:31: ", "rows.jsonl:3:15: ", "rows.jsonl:4:1: ", "rows.jsonl:5:12: ")
    assert told.err.count("fix: ") == 4


def test_rows_of_another_kind_and_a_file_that_is_not_there(at: Workplace) -> None:
    at.train("dpo", DEMONSTRATIONS).expect(65, "found the columns completion, prompt", "chosen + rejected")
    at.train("sft", DEMONSTRATIONS, "--data", "no.jsonl").expect(66, "no such file", "no.jsonl")
    at.train("sft", []).expect(65, "the file is empty", "rows.jsonl:1:1")


# ---- numbers that go wrong while training


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nan", "answered nan"),
        ("words", "answered 'good'"),
        ("wrong", "raised KeyError: 'facts'"),
        ("absent", "cannot import"),
    ],
)
def test_a_reward_function_that_fails_is_named(name: str, said: str, at: Workplace) -> None:
    told = at.train("ppo", PROMPTS, *PPO, "--reward", f"wrong_rewards:{name}")
    told.expect(2 if name == "absent" else 70, f"wrong_rewards:{name}", said, "fix: ")
    if name == "wrong":
        assert "wrong_rewards.py:6" in told.err
    assert not (at.run / "model").exists()


def test_a_constant_reward_goes_on_and_raises_an_alarm_in_words(at: Workplace) -> None:
    told = at.train("ppo", PROMPTS, *PPO, "--reward", "wrong_rewards:same")
    told.expect(0, "all answers of a batch get the same reward", "nothing can be learned from it")
    assert (at.run / "model" / "config.json").is_file()


def test_a_loss_that_is_not_a_number_stops_and_poisons_nothing(at: Workplace) -> None:
    words = ("--learning-rate", "1e30", "--warmup", "0", "--save-every", "1")
    told = at.train("sft", DEMONSTRATIONS, *words)
    told.expect(70, "this step has not been applied", "lower --learning-rate", "details: ")
    crash = re.search(r"details: (\S+)", told.err)
    assert crash and Path(crash[1]).is_file() and not (at.run / "model").exists()
    for file in at.run.glob("checkpoints/*/*.safetensors"):
        assert all(bool(tensor.isfinite().all()) for tensor in load_file(file).values()), file
    numbers = [json.loads(line) for line in (at.run / "metrics.jsonl").read_text().splitlines()]
    assert all(line["loss"] == line["loss"] for line in numbers if "loss" in line)


# ---- processes of their own


def start(at: Workplace, *words: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "tutelage", *words]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def test_ctrl_c_saves_and_ends_with_130_and_the_same_command_goes_on(at: Workplace) -> None:
    words = [
        "sft",
        "--model",
        str(at.model),
        "--data",
        at.rows(DEMONSTRATIONS),
        "--out",
        str(at.run),
        "--batch-size",
        "2",
    ]
    process = start(at, *words, "--steps", "100000", "--save-every", "50000")
    journal, deadline = at.run / "metrics.jsonl", time.monotonic() + 60
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 2) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    Told(process.returncode, out, err).expect(130, "finishing this step and saving")
    (saved,) = (at.run / "checkpoints").glob("step-*")
    done = int(saved.name.removeprefix("step-"))
    assert 2 <= done < 100000
    again = at(*words, "--steps", "100000", "--save-every", "50000", "--max-minutes", "1e-9")
    again.expect(0, f"goes on after step {done} of 100000", "time limit")


def test_a_real_process_ends_like_main_does(at: Workplace) -> None:
    process = start(
        at, "sft", "--model", str(at.folder / "nope"), "--data", at.rows(DEMONSTRATIONS), "--out", str(at.run)
    )
    out, err = process.communicate(timeout=60)
    Told(process.returncode, out, err).expect(66, "no model folder")
    assert out == ""
