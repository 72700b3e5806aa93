"""What every choice must keep: each file in a folder of choices is taken in here, a new one without a new test.

A training method, a sampler, a source or a command needs nothing. A reward says in `reward_example` with what it is
made, a new check of the first step in PREFLIGHT what is true; a missing line is said so.
"""

from __future__ import annotations

import ast
import inspect
import json
import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tutelage import registry
from tutelage._http import Service
from tutelage.algorithms import Algorithm
from tutelage.batches import Loss, Scores, TokenBatch
from tutelage.build import Given, Toolbox
from tutelage.cli import _verbs
from tutelage.config import describe, resolve
from tutelage.data.template import Renderer
from tutelage.errors import DivergedError
from tutelage.judge import Judge
from tutelage.labelers._base import Labeler
from tutelage.models.load import load_policy, load_scorer
from tutelage.models.policy import Policy, Scorer
from tutelage.rewards import RewardSource, classical
from tutelage.rewards.function import Function
from tutelage.rewards.judged import Judged
from tutelage.rewards.mixture import Term
from tutelage.rewards.remote import Remote
from tutelage.sampling import Sampler, Sampling
from tutelage.statistics.selection import Selector
from tutelage.train import checkpoint
from tutelage.train.optim import Optimizer
from tutelage.types import Prompt, Rated, Rating, Sample

FOLDERS = {
    "algorithms": Algorithm,
    "rewards": RewardSource,
    "sampling": Sampler,
    "labelers": Labeler,
    "statistics/selection": Selector,
    "data/sources": None,
    "cli": None,
}
ALGORITHMS = registry.names("algorithms")
SOURCE = Path(registry.__file__).parent
PREFLIGHT = {
    "preflight/dpo_loss": math.log(2),
    "preflight/log_ratio": 0.0,
    "preflight/ratio_error": 0.0,
    "preflight/sampled_gap": 0.0,
    "preflight/kl": 0.0,
}
"""What is known of the first step; a new check needs its true value here."""
Make = Callable[..., Algorithm[Any, Any]]
GENERAL = {"steps": 4, "batch_size": 6, "max_length": 96, "learning_rate": 1e-2, "warmup": 0.0, "max_grad_norm": 0.0}
SPECIAL = {"max_new_tokens": 8, "critic_init": "zero", "critic_learning_rate": 1e-2, "answers": 2, "temperature": 0.7}
SPECIAL |= {"cost_critic_init": "zero"}
"""Set where a method has them; the temperature is not 1, so that one who forgets it is found out."""
ROWS: dict[str, Callable[[int], dict[str, Any]]] = {
    "text": lambda n: {"text": f"The mayor opened bridge {n} on Monday. 周一，第{n}座桥剪彩。" * (1 + n % 3)},
    "demonstration": lambda n: {"prompt": f"Summarise {n}.", "completion": f"Bridge {n} was opened. " * (1 + n % 3)},
    "preference": lambda n: {
        "prompt": f"Summarise {n}.",
        "chosen": f"Bridge {n} was opened." * (1 + n % 2),
        "rejected": "bridge " * (1 + n % 4),
        "weight": 0.5 + n % 3,
        "margin": 0.1 * (n % 2),
        "chosen_safe": True,
        "rejected_safe": n % 3 == 0,
    },
    "unpaired": lambda n: {
        "prompt": f"Summarise {n}.",
        "completion": f"Bridge {n} was opened. " * (1 + n % 3),
        "label": n % 3 > 0,
        "weight": 0.5 + n % 2,
    },
    "prompt": lambda n: {"id": f"p{n}", "prompt": f"Summarise bridge {n}." * (1 + n % 2)},
}
"""Rows of different lengths, weights and margins for each kind of data."""


def novelty(prompt: str, completion: str) -> float:
    """A reward that differs between answers."""
    return len(set(completion)) / 10


def vowels(prompt: str, completion: str) -> float:
    """A cost that differs between answers, and not as the reward does."""
    return sum(character in "aeiou" for character in completion) / 5


def choices() -> list[tuple[str, str]]:
    return [(folder, name) for folder in FOLDERS for name in registry.names(folder)]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Make:
    """`make("ppo", lora=True)` → that algorithm on the tiny model and rows of its kind, as `build` makes it."""
    folder = tmp_path_factory.mktemp("rows")
    for kind, row in ROWS.items():
        text = "".join(json.dumps(row(n), ensure_ascii=False) + "\n" for n in range(12))
        (folder / f"{kind}.jsonl").write_text(text, encoding="utf-8")

    def made(name: str, **settings: Any) -> Algorithm[Any, Any]:
        kind = registry.find("algorithms", name, Algorithm)
        known = {field.name for field in describe(kind.Config)}
        flags = GENERAL | {key: value for key, value in SPECIAL.items() if key in known} | settings
        flags |= {"model": str(tiny_model), "data": str(folder / f"{kind.kind}.jsonl"), "out": str(folder / name)}
        given = Given(reward=Function(novelty), cost=Function(vowels))
        config: Any = resolve(kind.Config, flags=flags).config
        return kind(config, Toolbox(config, folder, str, given))

    return made


def tensors(value: Any) -> list[Tensor]:
    """All tensors of a batch, those of the batches inside it too."""
    found = []
    for field in fields(value):
        inner = getattr(value, field.name)
        found += [inner] if isinstance(inner, Tensor) else tensors(inner) if is_dataclass(inner) else []
    return found


def learned(algorithm: Algorithm[Any, Any]) -> dict[str, Tensor]:
    """Copies of all that is trained."""
    return {
        f"{name}.{key}": value.clone()
        for name, module in algorithm.modules().items()
        for key, value in checkpoint.trained(module).items()
    }


def nudge(algorithm: Algorithm[Any, Any], size: float) -> None:
    """Move all that is trained away from where it began."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in algorithm.modules().values():
            for value in checkpoint.trained(module).values():
                value += torch.randn(value.shape, generator=draw) * size


def gradients(
    algorithm: Algorithm[Any, Any], batch: Any, tokens_per_part: int
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Of one optimiser step at learning rate 0, on a batch cut into parts of so many tokens."""
    optimizer = Optimizer(algorithm, replace(algorithm.config, tokens_per_part=tokens_per_part), steps=4)
    numbers = optimizer.step(algorithm, batch)
    return numbers, {name: p.grad.clone() for name, p in optimizer.names.items() if p.grad is not None}


@pytest.mark.parametrize(("folder", "name"), choices())
def test_a_choice_is_one_class_with_one_line_that_says_what_it_is(folder: str, name: str) -> None:
    line = registry.summary(folder, name)
    assert 10 <= len(line) <= 120 and line[-1] in ".):", f"{folder}/{name}.py begins with one sentence: {line!r}"
    base = FOLDERS[folder]
    if base is not None:
        kind = registry.find(folder, name, base)
        assert inspect.getdoc(kind), f"{kind.__name__} has no docstring"
        inner = ast.parse((SOURCE / folder / f"{name.replace('-', '_')}.py").read_text(encoding="utf-8"))
        own = [node.name for node in inner.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
        assert kind.__name__ in own


@pytest.mark.parametrize("name", _verbs.names())
def test_every_setting_says_what_it_is_for(name: str) -> None:
    for sub in _verbs.subverbs(name) or [None]:
        verb = _verbs.load(name, sub)
        silent = [field.flag for field in describe(verb.config) if not field.help]
        assert not silent, f"tutelage {verb.name}: no help text for {silent}"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_configuration_comes_back_from_its_own_yaml(name: str, tmp_path: Path) -> None:
    kind = registry.find("algorithms", name, Algorithm)
    resolved = resolve(
        kind.Config, flags={"model": "中文/模型", "learning_rate": "3e-5", "seed": "7", "data": "a: b # c"}
    )
    (tmp_path / "c.yaml").write_text(resolved.to_yaml(), encoding="utf-8")
    again = resolve(kind.Config, yaml_file=tmp_path / "c.yaml")
    assert again.config == resolved.config and again.origins["seed"].startswith(str(tmp_path))
    assert resolve(kind.Config).config == kind.Config(), "the defaults are sensible by themselves"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_collecting_builds_no_graph_and_repeats_itself(name: str, make: Make) -> None:
    first, second = make(name).collect(0), make(name).collect(0)
    assert not any(tensor.requires_grad for tensor in tensors(first))
    assert all(torch.equal(left, right) for left, right in zip(tensors(first), tensors(second), strict=True))
    assert len(first) == len(first.sizes()) > 0


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_loss_is_one_finite_number_that_reaches_every_module(name: str, make: Make) -> None:
    algorithm = make(name)
    loss = algorithm.loss(algorithm.collect(0))
    assert isinstance(loss, Loss) and loss.total.shape == loss.weight.shape == () and loss.total.dtype == torch.float32
    assert bool(loss.total.isfinite()) and float(loss.weight) > 0 and not loss.weight.requires_grad
    loss.total.backward()
    for part, module in algorithm.modules().items():
        assert any(p.grad is not None and bool((p.grad != 0).any()) for p in module.parameters()), (
            f"{part} learns nothing"
        )
    for key, value in loss.metrics.items():
        assert math.isfinite(float(value)) and not (isinstance(value, Tensor) and value.requires_grad), key
    assert set(algorithm.learning_rates()) == set(algorithm.modules())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_batch_in_parts_is_the_batch_as_a_whole(name: str, make: Make) -> None:
    algorithm = make(name)
    with torch.no_grad():
        batch = algorithm.collect(0)
    nudge(algorithm, 0.02)  # where policy and reference are equal, a count such as the accuracy is rounding
    whole, wanted = gradients(algorithm, batch, 10**9)
    for limit in (1, max(batch.sizes()) * 2):
        pieces, found = gradients(algorithm, batch, limit)
        assert pieces.keys() == whole.keys() and found.keys() == wanted.keys()
        for key, value in whole.items():
            assert pieces[key] == pytest.approx(value, rel=1e-5, abs=1e-6), f"{key} in parts of {limit}"
        for key, value in wanted.items():  # sums over the batch's tokens: rounding goes with the largest
            atol = 1e-5 * max(0.1, float(value.abs().max()))
            torch.testing.assert_close(found[key], value, rtol=1e-5, atol=atol, msg=lambda m, key=key: f"{key}: {m}")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_order_of_rows_does_not_matter(name: str, make: Make) -> None:
    algorithm = make(name)
    with torch.no_grad():
        batch = algorithm.collect(0)
        turned = batch.select(list(reversed(range(len(batch)))))
        assert turned.sizes() == batch.sizes()[::-1]
        assert float(algorithm.loss(turned).total) == pytest.approx(float(algorithm.loss(batch).total), abs=1e-6)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_each_pass_over_the_experience_reads_every_row_once(name: str, make: Make) -> None:
    algorithm = make(name)
    with torch.no_grad():
        batch = algorithm.collect(0)
    seen = [size for part in algorithm.minibatches(batch, 0) for size in part.sizes()]
    passes, left = divmod(len(seen), len(batch))
    assert passes >= 1 and not left and sorted(seen) == sorted(batch.sizes() * passes)


@pytest.mark.parametrize("lora", [False, True], ids=["whole", "lora"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_first_step_is_checked_and_a_wrong_start_is_found(name: str, lora: bool, make: Make) -> None:
    """PPO's first ratio is 1 and its KL 0, DPO's first loss ln 2; not so for another policy than the one begun with."""
    algorithm = make(name, lora=lora)
    with torch.no_grad():
        batch = algorithm.collect(0)
    found = algorithm.preflight(batch)
    for key, value in found.items():
        assert value == pytest.approx(PREFLIGHT[key], abs=1e-4), key
    if found:
        nudge(algorithm, 0.5)
        with pytest.raises(DivergedError) as caught:
            algorithm.preflight(batch)
        assert caught.value.fix


@pytest.mark.parametrize("name", ALGORITHMS)
def test_going_on_from_a_checkpoint_is_bit_for_bit_the_same(name: str, make: Make, tmp_path: Path) -> None:
    def one_step(algorithm: Algorithm[Any, Any], optimizer: Optimizer, step: int) -> None:
        optimizer.begin(step)
        with torch.no_grad():
            batch = algorithm.collect(step)
        for part in algorithm.minibatches(batch, step):
            optimizer.step(algorithm, part)

    through = make(name)
    optimizer = Optimizer(through, through.config, 4)
    start = learned(through)
    one_step(through, optimizer, 0)
    assert any(not torch.equal(start[key], value) for key, value in learned(through).items())
    checkpoint.save(tmp_path, 1, through, optimizer, run={}, facts={})
    one_step(through, optimizer, 1)

    resumed = make(name)
    other = Optimizer(resumed, resumed.config, 4)
    found, damaged = checkpoint.newest(tmp_path)
    assert found is not None and not damaged
    checkpoint.load(found, resumed, other)
    one_step(resumed, other, 1)
    wanted = learned(through) | optimizer.tensors()
    got = learned(resumed) | other.tensors()
    assert wanted.keys() == got.keys() and all(torch.equal(wanted[key], got[key]) for key in wanted)
    assert resumed.state() == through.state() and json.loads(json.dumps(through.state())) == through.state()


@pytest.mark.parametrize("lora", [False, True], ids=["whole", "lora"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_comes_out_answers_the_same_in_stock_transformers(
    name: str, lora: bool, make: Make, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    algorithm = make(name, lora=lora)
    optimizer = Optimizer(algorithm, algorithm.config, 4)
    optimizer.begin(0)
    with torch.no_grad():
        batch = algorithm.collect(0)
    optimizer.step(algorithm, batch)
    (tmp_path / "model").mkdir()
    algorithm.export(tmp_path / "model")

    module: nn.Module = next(iter(algorithm.modules().values()))
    tokens = list(range(20, 40))
    row = TokenBatch.of([(tokens, [False] + [True] * 19)])
    ids = torch.tensor([tokens])
    with torch.no_grad():
        if isinstance(module, Scorer):
            stock = AutoModelForSequenceClassification.from_pretrained(
                tmp_path / "model", **({"num_labels": 1} if lora else {})
            )
            assert stock.config.num_labels == 1
            assert float(stock(ids).logits[0, 0]) == pytest.approx(float(module.scores(row)), abs=1e-4)
            again = load_scorer(str(tmp_path / "model"))
            assert float(again.scores(row)) == pytest.approx(float(module.scores(row)), abs=1e-4)
        else:
            assert isinstance(module, Policy)
            stock = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
            scores = stock(ids).logits[0].log_softmax(-1)[torch.arange(19), ids[0, 1:]]
            torch.testing.assert_close(scores, module.logprobs(row).logprobs[0], atol=1e-4, rtol=0)
            again = load_policy(str(tmp_path / "model"))
            torch.testing.assert_close(again.logprobs(row).logprobs, module.logprobs(row).logprobs, atol=1e-4, rtol=0)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    kinds = {path.suffix for path in (tmp_path / "model").rglob("*") if path.is_file()}
    assert kinds <= {".json", ".safetensors", ".jinja", ".txt", ".model", ".md"}, kinds


SAMPLES = [
    Sample(f"s{n}", Prompt(f"p{n}", "Summarise.", {}), text, finish)
    for n, (text, finish) in enumerate([("A bridge.", "stop"), ("", "stop"), ("周一，桥。" * 3, "length")])
]


def reward_example(name: str, model: Path) -> tuple[RewardSource, list[Sample]]:
    """Each reward source with answers that it can judge."""
    kind: Any = registry.find("rewards", name, RewardSource)
    if name == "function":
        return kind(novelty), SAMPLES
    if name == "learned":
        scorer = load_scorer(str(model))
        return kind(scorer, Renderer(scorer.tokenizer)), SAMPLES
    if name == "taste":
        return kind(lambda meta, text: {"overall": min(1.0, len(text) / 20), "short": 1.0}), SAMPLES
    if name in ("clipped", "mixture", "normalised"):
        inner = Function(novelty)
        if name == "clipped":
            return kind(inner, 0.1, 0.5), SAMPLES
        if name == "mixture":
            return kind([Term("a", 0.7, inner), Term("b", -2.0, Function(novelty))]), SAMPLES
        reward: RewardSource = kind(inner)
        reward.score(SAMPLES)
        reward.settle()
        return reward, SAMPLES
    if name == "human":
        return kind(lambda said: [[Rating(rater, "x", len(one.text) % 6) for rater in "ab"] for one in said]), SAMPLES
    if name == "classical":
        rows = [Rated(f"p{n}", "word " * n, (Rating("r", "x", n % 5),)) for n in range(8)]
        return kind(classical.fit("ridge", rows)), SAMPLES
    if name in ("judged", "remote"):
        return _asks_nobody(name), SAMPLES
    pytest.fail(f"say in reward_example with what rewards/{name}.py is made")


def _asks_nobody(name: str) -> RewardSource:
    """A scorer and a judge whose server is a function; real servers stand in tests/rewards."""
    service = Service("http://localhost:1")

    def scores(body: dict[str, Any]) -> dict[str, Any]:
        return {"scores": [len(row["completion"]) / 7 for row in body["samples"]]}

    def verdict(body: dict[str, Any]) -> dict[str, Any]:
        number = 1 + len(body["messages"][1]["content"]) % 10
        return {"choices": [{"message": {"content": f"SCORE: {number}"}}]}

    object.__setattr__(service, "post", scores if name == "remote" else verdict)
    return Remote(service, batch=2) if name == "remote" else Judged(Judge(service, "stub"))


@pytest.mark.parametrize("name", registry.names("rewards"))
def test_a_reward_is_one_finite_number_per_answer_whatever_else_is_asked(name: str, tiny_model: Path) -> None:
    reward, samples = reward_example(name, tiny_model)
    scores = reward.score(samples)
    assert isinstance(scores, Scores) and scores.value.shape == (len(samples),) and scores.value.dtype == torch.float32
    assert bool(scores.value.isfinite().all()) and not scores.value.requires_grad
    assert scores.parts and all(part.shape == scores.value.shape for part in scores.parts.values())
    torch.testing.assert_close(reward.score(samples[::-1]).value.flip(0), scores.value, atol=1e-5, rtol=0)
    torch.testing.assert_close(reward.score(samples[1:2]).value, scores.value[1:2], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", registry.names("sampling"))
def test_a_sampler_draws_the_same_answer_in_any_company_and_says_how_likely_it_was(name: str, tiny_model: Path) -> None:
    kind: Any = registry.find("sampling", name, Sampler)
    policy = load_policy(str(tiny_model))
    sampler: Sampler = kind(Renderer(policy.tokenizer), Sampling(max_new_tokens=6, temperature=0.7))
    prompts = [Prompt(f"p{n}", "The mayor " * (n + 1)) for n in range(3)]
    rollouts = sampler.sample(policy, prompts, 2, seed=5)
    assert [sample.prompt.id for sample in rollouts.samples] == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert rollouts.batch.answer_lengths.min() >= 1 and rollouts.batch.answer_lengths.max() <= 6
    assert [sample.finish == "stop" for sample in rollouts.samples] == rollouts.stopped.tolist()
    with torch.no_grad():
        torch.testing.assert_close(policy.logprobs(rollouts.batch, 0.7).logprobs, rollouts.logprobs, atol=1e-4, rtol=0)
    alone = sampler.sample(policy, prompts[1:2], 2, seed=5)
    assert [sample.text for sample in alone.samples] == [sample.text for sample in rollouts.samples[2:4]]
    other = sampler.sample(policy, prompts, 2, seed=6)
    assert [sample.text for sample in other.samples] != [sample.text for sample in rollouts.samples]


@pytest.mark.parametrize("name", registry.names("data/sources"))
def test_a_source_makes_the_same_bytes_and_a_taste_between_0_and_1(name: str, tmp_path: Path) -> None:
    make_files = registry.function("data/sources", name, "make")
    taste = registry.function("data/sources", name, "taste")
    sizes = {key: 6 for key in inspect.signature(make_files).parameters if key not in ("out", "seed")}
    for folder in ("a", "b"):
        assert make_files(tmp_path / folder, seed=3, **sizes)
    first = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    rows = [
        json.loads(line) for file, text in first.items() if file.startswith("prompts") for line in text.splitlines()
    ]
    assert rows
    for row in rows:
        for text in (row["reference"], "", "nonsense 胡说"):
            found = taste(row["meta"], text)
            assert "overall" in found and all(0 <= value <= 1 for value in found.values())
        assert taste(row["meta"], row["reference"])["overall"] > taste(row["meta"], "nonsense 胡说")["overall"]
