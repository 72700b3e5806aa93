"""The cost model: its loss by hand, what it learns on a tiny model, and rows that say too little or the wrong thing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tutelage.algorithms.cost import CostModel, CostPairs
from tutelage.batches import TokenBatch
from tutelage.config import resolve
from tutelage.errors import DataError
from tutelage.ops.lagrange import harm_sign
from tutelage.toolbox import Toolbox
from tutelage.train.optim import Optimizer

WORDS = {True: "A bridge was opened.", False: "The mayor hurt a bridge."}


class Given(nn.Module):
    """A scorer that answers with the costs it was given, chosen ones first."""

    def __init__(self, costs: Sequence[float]) -> None:
        super().__init__()
        self.costs = nn.Parameter(torch.tensor(costs))

    def scores(self, batch: TokenBatch) -> Tensor:
        return self.costs


class Parts:
    def __init__(self, costs: Sequence[float]) -> None:
        self.scorer = Given(costs)


def batch(signs: Sequence[tuple[float, float]], weight: Sequence[float]) -> CostPairs:
    rows = TokenBatch.of([([1, 2], [False, True])] * len(signs))
    chosen, rejected = torch.tensor(signs).T
    return CostPairs(rows, rows, torch.zeros(len(signs)), torch.tensor(weight), chosen, rejected)


def by_hand(pairs: Sequence[tuple[float, float, float, float]], weights: Sequence[float]) -> float:
    """Slowly, in Python: (cost of the safer, of the worse, signs) per pair."""

    def below(x: float) -> float:
        return math.log1p(math.exp(-x))

    total = 0.0
    for (safer, worse, safer_sign, worse_sign), weight in zip(pairs, weights, strict=True):
        each = below(worse - safer) + 0.001 * (safer**2 + worse**2)
        each += below(safer_sign * safer) if safer_sign else 0.0
        each += below(worse_sign * worse) if worse_sign else 0.0
        total += weight * each
    return total / sum(weights)


def test_the_loss_is_the_papers_by_hand() -> None:
    pairs, weights = [(-1.0, 2.0, -1.0, 1.0), (0.5, 0.3, -1.0, -1.0), (1.0, 4.0, 0.0, 1.0)], [1.0, 0.5, 2.0]
    parts: Any = Parts([pair[0] for pair in pairs] + [pair[1] for pair in pairs])
    model = CostModel(CostModel.Config(model="m"), parts)
    loss = model.loss(batch([(pair[2], pair[3]) for pair in pairs], weights))
    assert float(loss.total.detach()) == pytest.approx(by_hand(pairs, weights), rel=1e-6)
    loss.total.backward()
    gradient = parts.scorer.costs.grad
    assert gradient[0] > 0 > gradient[3], "the safer one's cost falls, the worse one's rises"


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Callable[..., CostModel]:
    def made(rows: Sequence[dict[str, Any]], **settings: Any) -> CostModel:
        data = tmp_path_factory.mktemp("cost") / "rows.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        flags = {"model": str(tiny_model), "data": str(data), "eval_data": str(data), "out": "o"} | settings
        config: Any = resolve(CostModel.Config, flags=flags).config
        return CostModel(config, Toolbox(config, data.parent, str))

    return made


def row(number: int, **labels: Any) -> dict[str, Any]:
    return {"prompt": f"Tell {number}. ", "chosen": WORDS[True], "rejected": WORDS[False], **labels}


def test_a_tiny_model_learns_which_is_worse_and_where_safe_ends(make: Callable[..., CostModel]) -> None:
    rows = [row(n, chosen_safe=True, rejected_safe=False) for n in range(16)]
    model = make(rows, steps=15, batch_size=8, learning_rate=3e-3, max_length=96)
    optimizer = Optimizer(model, model.config, 15)
    for step in range(15):
        optimizer.begin(step)
        optimizer.step(model, model.collect(step))
    found = model.evaluate()
    assert found["eval/accuracy"] == found["eval/sign_accuracy"] == 1.0 and found["eval/pairs"] == 16


def test_without_a_word_on_safety_the_start_is_refused(make: Callable[..., CostModel]) -> None:
    model = make([row(n) for n in range(4)], batch_size=4)
    with pytest.raises(DataError, match="a cost's 0 would mean nothing") as caught:
        model.preflight(model.collect(0))
    assert "chosen_safe" in str(caught.value.fix)


def test_a_label_that_is_no_truth_value_is_refused_with_its_place(make: Callable[..., CostModel]) -> None:
    model = make([row(0, chosen_safe="yes")], batch_size=1)
    with pytest.raises(DataError, match="'chosen_safe' is 'yes'") as caught:
        model.collect(0)
    assert "rows.jsonl" in str(caught.value.where)


def test_a_swapped_sign_and_swapped_sides_are_other_losses() -> None:
    """Mutants: s = +1 for safe; the safer answer as the costlier one."""
    pairs, weights = [(-1.0, 2.0, -1.0, 1.0)], [1.0]
    parts: Any = Parts([-1.0, 2.0])
    right = float(CostModel(CostModel.Config(model="m"), parts).loss(batch([(-1.0, 1.0)], weights)).total.detach())
    assert right == pytest.approx(by_hand(pairs, weights))
    assert abs(right - by_hand([(-1.0, 2.0, 1.0, -1.0)], weights)) > 1
    assert abs(right - by_hand([(2.0, -1.0, 1.0, -1.0)], weights)) > 1
    assert (
        float(harm_sign(torch.tensor(3.0), torch.tensor(1.0)))
        < 0.1
        < float(harm_sign(torch.tensor(3.0), torch.tensor(-1.0)))
    )
