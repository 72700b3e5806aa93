"""Reward models of every kind: what they learn from rows, ties, rankings, scores, aspects and ensembles."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tutelage.algorithms._reward_base import RewardModelConfig
from tutelage.algorithms.reward import OBJECTIVES, RewardModel
from tutelage.batches import TokenBatch
from tutelage.build import Toolbox
from tutelage.config import describe
from tutelage.errors import DataError, UsageError
from tutelage.models.load import load_scorer
from tutelage.ops.reward_losses import bradley_terry
from tutelage.train.optim import Optimizer

Made = Callable[..., RewardModel]
PAIR = {"prompt": "Summarise.", "chosen": "A bridge was opened.", "rejected": "bridge bridge"}


def ranking(n: int, ranks: Sequence[int]) -> dict[str, Any]:
    texts = [f"Bridge {n} opened." * (1 + place) for place in range(len(ranks))]
    return {"prompt": f"Summarise {n}.", "completions": texts, "ranks": list(ranks), "weight": 0.5 + n % 2}


def rated(n: int, scores: dict[str, Sequence[float]]) -> dict[str, Any]:
    told = [
        {"rater": f"r{place}", "aspect": aspect, "score": score, "scale": [0, 5]}
        for aspect, given in scores.items()
        for place, score in enumerate(given)
    ]
    return {"prompt": f"Summarise {n}.", "completion": f"Bridge {n} opened." * (1 + n % 3), "ratings": told}


ROWS: dict[str, list[dict[str, Any]]] = {
    "bradley-terry": [PAIR | {"prompt": f"S {n}.", "weight": 0.5 + n % 2, "tie": n % 3 == 0} for n in range(9)],
    "plackett-luce": [ranking(n, [(1, 2, 3), (1, 1, 2), (2, 1), (1, 2, 2, 3)][n % 4]) for n in range(9)],
    "pointwise": [rated(n, {"a": (n % 6, 3), "b": (5 - n % 6,)}) for n in range(9)],
    "ordinal": [rated(n, {"a": (n % 6, 3)}) for n in range(9)],
}


@pytest.fixture
def make(tmp_path: Path, tiny_model: Path) -> Made:
    """`make(rows, kind=…)` → the reward model on them."""

    def made(rows: Sequence[dict[str, Any]], **settings: Any) -> RewardModel:
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        general = {"model": str(tiny_model), "data": str(file), "out": str(tmp_path / "run"), "batch_size": len(rows)}
        config = RewardModelConfig(**(general | {"max_length": 120, "learning_rate": 1e-3, "warmup": 0.0} | settings))
        return RewardModel(config, Toolbox(config, tmp_path, str))

    return made


@pytest.mark.parametrize("kind", OBJECTIVES)
@pytest.mark.parametrize("ensemble", [1, 3])
def test_each_kind_is_the_same_in_parts_and_in_any_order_and_comes_back(
    kind: str, ensemble: int, make: Made, tmp_path: Path
) -> None:
    model = make(ROWS[kind], kind=kind, ensemble=ensemble, learning_rate=1e-4)
    batch = model.collect(0)
    loss = model.loss(batch)
    whole = loss.total.detach()
    with torch.no_grad():
        parts = [model.loss(batch.select([row])) for row in range(len(batch))]
        joined = torch.stack([part.total * part.weight for part in parts]).sum() / loss.weight
        backwards = model.loss(batch.select(list(reversed(range(len(batch))))))
    torch.testing.assert_close(joined, whole, atol=1e-6, rtol=0)
    torch.testing.assert_close(backwards.total, whole, atol=1e-6, rtol=0)
    loss.total.backward()
    for name, module in model.modules().items():
        assert any(p.grad is not None and bool((p.grad != 0).any()) for p in module.parameters()), name
    optimizer = Optimizer(model, model.config, 4)
    optimizer.begin(0)
    losses = [optimizer.step(model, batch)["loss"] for _ in range(6)]
    assert min(losses[1:]) < losses[0]
    model.export(tmp_path)
    again, row = load_scorer(str(tmp_path), head="trained"), TokenBatch.of([([30, 31, 32], [False, True, True])])
    with torch.no_grad():
        torch.testing.assert_close(again.scores(row), model.parts.scorer.scores(row), atol=1e-5, rtol=0)
    assert again.heads.learned["kind"] == kind and again.heads.ensemble == ensemble


def test_ties_pull_together_and_their_parameter_is_learned_and_saved(make: Made, tmp_path: Path) -> None:
    rows = [PAIR | {"prompt": f"S {n}.", "tie": True} for n in range(6)] + [PAIR]
    model = make(rows, kind="bradley-terry", centering=0.0, outcome_learning_rate=0.05)
    assert set(model.modules()) == {"scorer", "outcome"}
    batch = model.collect(0)
    optimizer = Optimizer(model, model.config, 40)
    for step in range(40):
        optimizer.begin(step)
        optimizer.step(model, batch)
    model.export(tmp_path)
    learned = json.loads((tmp_path / "tutelage.json").read_text(encoding="utf-8"))["learned"]
    assert learned["ties"] == "davidson" and learned["tie"] > 2, "six of seven pairs tie"
    fixed = make(rows, kind="bradley-terry", tie_strength=0.5)
    assert set(fixed.modules()) == {"scorer"} and fixed.objective.learned()["tie"] == pytest.approx(0.5)


def test_without_ties_or_with_ties_dropped_it_is_bradley_terry(make: Made) -> None:
    decided = [PAIR | {"prompt": f"S {n}.", "margin": 0.1 * n} for n in range(4)]
    model = make(decided, centering=0.0)
    batch = model.collect(0)
    with torch.no_grad():
        labels = batch.by_question(model.parts.scorer.labels(batch.answers))[..., 0]
    wanted = bradley_terry(labels[:, 0], labels[:, 1], batch.margin).mean()
    torch.testing.assert_close(model.loss(batch).total.detach(), wanted, atol=1e-6, rtol=0)
    dropped = make([*decided, PAIR | {"tie": True}], centering=0.0, ties="drop")
    torch.testing.assert_close(dropped.loss(dropped.collect(0)).total.detach(), wanted, atol=1e-6, rtol=0)


def test_evaluation_is_the_same_in_batches_of_any_size(make: Made, tmp_path: Path) -> None:
    held_out = tmp_path / "held-out.jsonl"
    held_out.write_text("".join(json.dumps(row) + "\n" for row in ROWS["bradley-terry"]), encoding="utf-8")
    many, few = (
        make(ROWS["bradley-terry"], ties="drop", eval_data=str(held_out), batch_size=size).evaluate() for size in (9, 2)
    )
    assert few == pytest.approx(many, rel=1e-5) and many["eval/pairs"] == 6


def test_held_out_ties_alone_have_no_order_to_be_right_about(make: Made, tmp_path: Path) -> None:
    held_out = tmp_path / "held-out.jsonl"
    held_out.write_text(json.dumps(PAIR | {"tie": True}) + "\n", encoding="utf-8")
    assert make(ROWS["bradley-terry"], eval_data=str(held_out)).evaluate().keys() == {"eval/loss"}


def test_answers_of_one_question_are_never_divided(make: Made) -> None:
    batch = make(ROWS["plackett-luce"], kind="plackett-luce").collect(0)
    assert len(batch) == 9 and sum(batch.count.tolist()) == len(batch.answers)
    one = batch.select([int(batch.count.argmax())])
    assert len(one.answers) == 4 and one.sizes() == [sum(one.answers.sizes())]
    assert one.prompts() == [one.answers.prompts()[0]._replace(answers=4)]


def test_each_member_of_an_ensemble_weighs_each_question_in_its_own_way_and_always_so(make: Made) -> None:
    rows = [PAIR | {"prompt": f"S {n}."} for n in range(4)] + [PAIR | {"prompt": "S 0.", "rejected": "no"}]
    model = make(rows, ensemble=4)
    weight = model.collect(0).weight
    assert weight.shape == (5, 4) and torch.equal(weight, make(rows, ensemble=4).collect(0).weight)
    assert len({round(float(x), 6) for x in weight[0]}) == 4
    _, times = np.unique(weight.numpy(), axis=0, return_counts=True)
    assert sorted(times.tolist()) == [1, 1, 1, 2], "pairs of one prompt are drawn together"
    assert model._batch(model.parts.preferences.rows, None).weight.eq(1).all()


def test_aspects_have_heads_of_their_own_and_the_score_is_their_weighted_sum(make: Made) -> None:
    model = make(ROWS["pointwise"], kind="pointwise", aspects="a=1,b=0.5")
    batch = model.collect(0)
    assert batch.told.shape == (9, 2, 1) and batch.weight[0].tolist() == [2.0, 1.0], "two raters said a, one b"
    assert float(torch.corrcoef(batch.told[..., 0].T)[0, 1]) < -0.9, "what is high on a is low on b"
    with torch.no_grad():
        labels = model.parts.scorer.labels(batch.answers)
        torch.testing.assert_close(model.parts.scorer.scores(batch.answers), labels[:, 0] + 0.5 * labels[:, 1])
    with pytest.raises(DataError, match="nobody rated c"):
        make(ROWS["pointwise"], kind="pointwise", aspects="a=1,c=1")
    with pytest.raises(UsageError, match="no aspects"):
        make(ROWS["pointwise"], kind="pointwise", aspects="a=x")
    named = [PAIR | {"meta": {"aspect": aspect}} for aspect in ("a", "b")]
    assert make(named, aspects="a,b").collect(0).weight.sort(0).values.tolist() == [[0, 0], [1, 1]]
    with pytest.raises(UsageError, match="none of the aspects"):
        make([PAIR], aspects="a,b").collect(0)


def test_thresholds_begin_at_the_shares_of_the_levels_and_stay_in_order(make: Made) -> None:
    model = make(ROWS["ordinal"], kind="ordinal")
    found: Any = model.objective
    assert bool((found.thresholds.diff(dim=-1) > 0).all()) and found.thresholds.shape == (1, 5)
    with torch.no_grad():
        found.gaps += 3 * torch.randn(found.gaps.shape, generator=torch.Generator().manual_seed(0))
    assert bool((found.thresholds.diff(dim=-1) > 0).all())
    with pytest.raises(DataError, match="no whole levels"):
        make([rated(0, {"a": (2.5,)})], kind="ordinal")


def test_what_makes_no_sense_together_is_refused(make: Made) -> None:
    with pytest.raises(UsageError, match="any order"):
        make([PAIR], ties="marginal")
    with pytest.raises(UsageError, match="for pairs"):
        make(ROWS["plackett-luce"], kind="plackett-luce", ties="rao-kupper")
    for aspects in ("a=1,a=2", "a=b", "=1"):
        with pytest.raises(UsageError, match="are no aspects"):
            RewardModelConfig(aspects=aspects).scorer_heads()
    kinds = next(field.kind for field in describe(RewardModelConfig) if field.name == "kind")
    assert set(OBJECTIVES) <= set(kinds.__args__)
