"""`plan`: sizes from config.json, and arithmetic that can be checked by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tutelage import registry
from tutelage.cli._estimate import Machine, ModelSize, describe_model, estimate
from tutelage.cli._methods import METHODS, choose
from tutelage.cli.main import main

MODEL = ModelSize(parameters=2**30, adapter=2**20, layers=1, width=1, inner=1, cached=1)
MACHINE = Machine("CPU", memory_gib=40.0, flops=1e12, number_bytes=4, part=8192)


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gpt2", "mistral", "gemma"])
def test_the_parameters_are_those_of_the_weights(model_folder: Callable[[str], Path], architecture: str):
    from transformers import AutoModelForCausalLM

    folder = model_folder(architecture)
    wanted = sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(folder).parameters())
    found = describe_model(str(folder), rank=4)
    assert found.parameters == wanted and found.layers == 2 and found.width == 32
    assert 0 < found.adapter < found.parameters


@pytest.mark.parametrize(
    ("method", "lora", "gib"),
    [
        ("sft", False, 16.8),
        ("sft", True, 4.8 + 2**-10 * 16),
        ("dpo", False, 20.8),
        ("dpo", True, 4.8 + 2**-10 * 16),
        ("ppo", False, 16 + 16 + 4 + 4 + 0.8),
        ("ppo", True, 16 + 4 + 4 + 0.8 + 2**-10 * 16),
    ],
)
def test_memory_is_sixteen_bytes_per_trained_and_four_per_frozen_parameter(method: str, lora: bool, gib: float):
    plan = estimate(method, lora, MODEL, MACHINE, length=2, batch=1)
    assert plan.gib == pytest.approx(gib, abs=1e-3) and plan.fits == (gib <= 40)


def test_time_counts_the_passes():
    assert estimate("sft", False, MODEL, MACHINE, 2, 1).seconds_per_million == pytest.approx(6e6 * 2**30 / 0.4e12)


def test_the_table_names_what_fits(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", str(tiny_model)]) == 0
    assert "next: tutelage pretrain" in capsys.readouterr().out
    data = tmp_path / "pairs.jsonl"
    data.write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"}) + "\n")
    assert main(["plan", str(tiny_model), "--data", str(data), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "preference" and {"reward", "dpo"} < {plan["method"] for plan in found["plans"]}
    assert "rloo" not in {plan["method"] for plan in found["plans"]}, "it reads prompts"
    assert found["choice"]["commands"] == ["reward --kind svm-pair", "rloo --reward RUN/model"]
    assert main(["plan", str(tiny_model), "--memory", "0.1"]) == 0
    assert "nothing fits" in capsys.readouterr().out
    assert main(["plan", str(tmp_path / "none")]) == main(["plan", "/nowhere"]) == 66
    assert main(["plan", str(tmp_path)]) == 65


def test_every_algorithm_has_a_plan():
    assert sorted(METHODS) == registry.names("algorithms")


def test_what_a_method_reads_is_what_its_class_reads():
    from tutelage.algorithms import Algorithm

    for name, method in METHODS.items():
        assert registry.find("algorithms", name, Algorithm).kind in method.reads, name


@pytest.mark.parametrize(
    ("kind", "judgements", "first", "then"),
    [
        ("text", 0, "pretrain", ""),
        ("demonstration", 0, "sft", ""),
        ("prompt", 0, "rloo", ""),
        ("unpaired", 80, "kto", ""),
        ("preference", 200, "reward --kind svm-pair", "rloo"),
        ("preference", 20_000, "dpo", ""),
        ("ranking", 3_000, "reward --kind plackett-luce", "rloo"),
        ("rated", 3_000, "reward --kind pointwise", "rloo"),
        ("rated", 100, "reward --kind ridge", "rloo"),
    ],
)
def test_the_choice_goes_by_kind_and_number(kind: str, judgements: int, first: str, then: str):
    made = choose(kind, judgements, frozenset(METHODS))
    assert made.commands[0].startswith(first) and made.why
    assert (len(made.commands) > 1 and made.commands[1].startswith(then)) if then else len(made.commands) == 1


def test_a_critic_costs_memory_that_rloo_does_not_need():
    plans = {name: estimate(name, False, MODEL, MACHINE, length=2, batch=1) for name in METHODS}
    assert plans["rloo"].gib == pytest.approx(16 + 4 + 4 + 0.8, abs=1e-3)
    assert plans["ppo"].gib - plans["rloo"].gib == pytest.approx(16, abs=1e-3)
    assert plans["dpo"].gib - plans["simpo"].gib == pytest.approx(4, abs=1e-3)
    assert plans["ppo"].seconds_per_million > plans["rloo"].seconds_per_million > plans["best-of-n"].seconds_per_million


def test_the_judgements_of_a_file_are_counted(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    ratings = [{"rater": rater, "score": 3} for rater in ("ann", "bob", "cy")]
    rows = [{"prompt": f"p{n}", "completion": "c", "ratings": ratings} for n in range(4)]
    data = tmp_path / "rated.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["plan", str(tiny_model), "--data", str(data)]) == 0
    said = capsys.readouterr().out
    assert "rated data, 12 judgements of 4 prompts by 3 raters" in said and "12 judgements are too few" in said
    assert f"next: tutelage reward --kind ridge --model {tiny_model}" in said
