"""`tutelage eval` on tiny real models: what it writes, that it goes on where it stopped, and that equals are equal."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from tutelage.cli.main import main
from tutelage.data import formats
from tutelage.data.sources.news import make
from tutelage.eval._measures import sequence_kl
from tutelage.eval._parts import Parts
from tutelage.eval.answers import Answer, Where, reference_logprobs, sample_answers
from tutelage.models.load import load_policy, load_scorer
from tutelage.models.new import Shape, save_new
from tutelage.sampling import Sampling
from tutelage.store.people import People
from tutelage.store.store import Store
from tutelage.types import Comparison, Judgement, Prompt, Sample


@dataclass(frozen=True)
class World:
    """News prompts, two models that differ a little, a reward model and preference pairs."""

    folder: Path
    prompts: Path
    pairs: Path
    old: Path
    new: Path
    reward: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("eval-world")
    make(folder, seed=1, prompts=2, demonstrations=4, documents=120, rate_prompts=2, test_prompts=12)
    texts = [json.loads(line)["text"] for line in (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    shape = Shape(vocab_size=420, hidden_size=32, layers=1, heads=2, key_value_heads=1, context=512)
    old, new, reward = folder / "old", folder / "new", folder / "reward"
    save_new(old, texts, shape, 0)
    policy = load_policy(str(old))
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.02)
    policy.save(new)
    load_scorer(str(old)).save(reward)
    rows = [json.loads(line) for line in (folder / "prompts.test.jsonl").read_text(encoding="utf-8").splitlines()]
    pairs = [{"prompt": row["prompt"], "chosen": _said(row["reference"]), "rejected": _said("no idea")} for row in rows]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    return World(folder, folder / "prompts.test.jsonl", folder / "pairs.jsonl", old, new, reward)


def _said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def run(world: World, out: Path, *more: str, model: Path | None = None) -> int:
    words = ["eval", "--model", str(model or world.new), "--data", str(world.prompts), "--out", str(out)]
    length = [] if "--max-new-tokens" in more else ["--max-new-tokens", "8"]
    return main([*words, *length, "--device", "cpu", "--quiet", *more])


def compared(world: World) -> list[str]:
    return ["--baseline", str(world.old), "--taste", "news", "--raters", "fresh:3"]


def read(out: Path) -> dict[str, Any]:
    return json.loads((out / "eval.json").read_text(encoding="utf-8"))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rated(path: Path) -> Path:
    """A rating database in which two raters who count agree on two of three pairs that both decided."""
    prompt = Prompt("p", "Which?")
    said = {"ann": [(1, 2), (1, 2), (2, 1), (1, 1)], "bo": [(1, 2), (2, 1), (2, 1), (1, 2)]}
    asked = [
        Comparison(f"q{n}", "pair", prompt, (Sample(f"a{n}", prompt, "x"), Sample(f"b{n}", prompt, "y")))
        for n in range(4)
    ]
    with Store(path) as store:
        store.ask(asked, overlap=2)
        store.answer_many(
            [
                Judgement(f"{rater}{n}", f"q{n}", rater, one)
                for rater, given in said.items()
                for n, one in enumerate(given)
            ]
        )
        opposed = [Judgement(f"x{n}", f"q{n}", "eve", (2, 1)) for n in range(4)]
        store.answer_many(opposed + [Judgement(f"g{n}", f"q{n}", "gold", (2, 1)) for n in range(4)])
        People(store.database, b"").exclude("default", "eve", True, reason="guesses", actor="test")
    return path


def test_everything_is_measured_written_and_the_same_again(world: World, tmp_path: Path) -> None:
    extra = ["--reward", str(world.reward), "--pairs", str(world.pairs), "--base", str(world.old), "--n", "2"]
    extra += ["--db", str(rated(tmp_path / "train.db"))]
    assert run(world, tmp_path / "out", *compared(world), *extra) == 0
    found = read(tmp_path / "out")
    names = {
        "gold",
        "reward",
        "rouge1",
        "rougeL",
        "bleu/zh",
        "bleu/en",
        "chrf",
        "perplexity",
        "distinct_2",
        "self_bleu",
    }
    assert {f"{side}/{name}" for name in names for side in ("model", "baseline")} <= found["measures"].keys()
    assert {"gain/gold", "gain/perplexity", "win_rate", "kl", "reward_accuracy", "reward_ece"} <= found[
        "measures"
    ].keys()
    summary = {"gold_before", "gold_after", "gold_gain", "gold_gain_low", "win_rate", "win_rate_low", "stop_rate", "kl"}
    summary |= {
        "gold_gain_high",
        "reward_accuracy",
        "reward_accuracy_low",
        "length_only_accuracy",
        "rater_agreement",
        "seed",
    }
    assert summary <= found["summary"].keys()
    assert json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8")) == found["summary"]
    assert math.isclose(found["summary"]["rater_agreement"], 2 / 3)  # the question with a tie does not count
    assert len(lines(tmp_path / "out" / "answers.jsonl")) == 12
    judged = lines(tmp_path / "out" / "judgements.jsonl")
    assert len(judged) == 24 and all(len(question["judgements"]) == 3 for question in judged)
    before = (tmp_path / "out" / "eval.json").read_bytes()
    (tmp_path / "out" / "eval.json").unlink()
    next((tmp_path / "out" / "parts").glob("reference-*.json")).unlink()  # as if it had been interrupted
    assert run(world, tmp_path / "out", *compared(world), *extra) == 0
    assert (tmp_path / "out" / "eval.json").read_bytes() == before


def test_finished_parts_are_not_computed_again(world: World, tmp_path: Path) -> None:
    assert run(world, tmp_path / "out") == 0
    part = next((tmp_path / "out" / "parts").glob("answers-*.json"))
    rows = json.loads(part.read_text(encoding="utf-8"))
    rows[0]["text"] = "kept from the part"
    part.write_text(json.dumps(rows), encoding="utf-8")
    assert run(world, tmp_path / "out") == 0
    assert lines(tmp_path / "out" / "answers.jsonl")[0]["model"] == "kept from the part"


def test_a_model_against_its_own_copy_is_a_draw(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.old, tmp_path / "copy")
    assert run(world, tmp_path / "out", *compared(world), model=tmp_path / "copy") == 0
    measures = read(tmp_path / "out")["measures"]
    assert abs(measures["kl"]["value"]) < 1e-3
    assert measures["gain/gold"]["value"] == 0.0 and measures["gain/gold"]["low"] == 0.0
    assert measures["win_rate"]["low"] < 0.5 < measures["win_rate"]["high"]


def test_the_kl_is_positive_and_agrees_with_stock_transformers(world: World, tmp_path: Path) -> None:
    parts, where = Parts(tmp_path), Where("cpu")
    prompts = formats.load(str(world.prompts), "prompt").rows
    sampling = Sampling(max_new_tokens=12, temperature=0.8)
    answers = sample_answers(str(world.new), prompts, 6, sampling, 0, where, parts, lambda count: None)
    reference = reference_logprobs(str(world.old), answers, 0.8, where, parts)
    assert reference is not None
    for path, found in ((world.new, [answer.logprob for answer in answers]), (world.old, reference)):
        policy = load_policy(str(path))
        stock = [_stock_sum(policy, answer, 0.8) for answer in answers]
        assert max(abs(a - b) for a, b in zip(found, stock, strict=True)) < 1e-3
    measure = sequence_kl([answer.logprob for answer in answers], reference)
    assert measure.low is not None and measure.n == 72 and measure.low > 0


def _stock_sum(policy: Any, answer: Answer, temperature: float) -> float:
    """Σ log p of the answer by a plain forward of the stock body and head."""
    tokens = list(answer.tokens)
    with torch.no_grad():
        hidden = policy.core.base_model(input_ids=torch.tensor([tokens]), use_cache=False).last_hidden_state[0]
        logp = torch.log_softmax(policy.head(hidden).float() / temperature, -1)
    return float(sum(logp[place - 1, tokens[place]] for place in range(answer.prompt_tokens, len(tokens))))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--raters", "fresh:3"], "a blind comparison needs two models and a taste"),
        (["--pairs", "x.jsonl"], "--pairs measures a reward model"),
        (["--n", "0"], "n must be at least 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    world: World, tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world, tmp_path / "out", *words) == 2
    assert message in capsys.readouterr().err


def test_a_prompt_without_room_for_an_answer_is_named(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world, tmp_path / "out", "--max-new-tokens", "510") == 2
    assert "prompt test-00000" in capsys.readouterr().err


def test_an_out_that_is_a_file_is_refused(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("", encoding="utf-8")
    assert run(world, tmp_path / "out") == 73
    assert "not a folder" in capsys.readouterr().err


def test_models_of_different_vocabularies_have_no_kl(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_new(
        tmp_path / "other",
        ["quite other words"],
        Shape(vocab_size=300, hidden_size=16, layers=1, heads=1, key_value_heads=1),
        0,
    )
    assert run(world, tmp_path / "out", "--baseline", str(tmp_path / "other")) == 0
    assert "kl" not in read(tmp_path / "out")["measures"]
    assert "different vocabularies" in capsys.readouterr().err


def test_the_kl_is_no_surer_for_answers_that_repeat_each_other() -> None:
    once = sequence_kl([1.0, 2.0, 4.0], [0.0] * 3)
    thrice = sequence_kl([1.0, 2.0, 4.0] * 3, [0.0] * 9, ["a", "b", "c"] * 3)
    assert (thrice.value, thrice.low, thrice.high, thrice.n) == (once.value, once.low, once.high, 3)
