"""Preference losses by a second, slow way: each written out in plain Python from the tokens of a table model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from table_world import STOP, TablePolicy, packed, row_of
from torch import Tensor

from tutelage.algorithms._base import EncodedPair, EncodedUnpaired
from tutelage.algorithms.cpo import CPO
from tutelage.algorithms.dpo import DPO
from tutelage.algorithms.kto import KTO, mismatched, other_answer
from tutelage.algorithms.orpo import ORPO
from tutelage.algorithms.simpo import SimPO
from tutelage.batches import Loss, PairBatch, ScoredPairs
from tutelage.build import Toolbox
from tutelage.config import resolve
from tutelage.data.template import Encoded
from tutelage.errors import DataError, DivergedError, UsageError
from tutelage.models.load import load_policy
from tutelage.train.optim import Optimizer
from tutelage.types import Preference, Unpaired

PLAIN = {"model": "t", "max_grad_norm": 0.0, "warmup": 0.0}
CHOSEN = [(0, 1, STOP), (STOP,), (3, 2, 1)]
REJECTED = [(2, STOP), (1, 1, STOP), (0, STOP)]
MARGIN, WEIGHT = [0.0, 0.3, 0.7], [1.0, 0.5, 2.0]
LOSSES = [
    "sigmoid", "sigmoid_norm", "robust", "ipo_sum", "ipo_avg", "hinge",
    "exo_pair", "nca_pair", "sppo_hard", "apo_zero", "apo_down", "discopop",
]  # fmt: skip


def table(seed: int) -> Tensor:
    return 0.8 * torch.randn(31, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def parts_of(policy: Tensor, reference: Tensor, **more: Any) -> Any:
    frozen = TablePolicy(reference)
    return SimpleNamespace(
        policy=TablePolicy(policy),
        reference=SimpleNamespace(logprobs=lambda batch, t=1.0: frozen.logprobs(batch, t)),
        renderer=SimpleNamespace(max_length=0),
        **more,
    )


def pairs() -> PairBatch:
    return PairBatch(packed(CHOSEN), packed(REJECTED), torch.tensor(MARGIN), torch.tensor(WEIGHT))


def scored_by(parts: Any, batch: PairBatch) -> ScoredPairs:
    both = [parts.reference.logprobs(side).logprobs.sum(1).detach() for side in (batch.chosen, batch.rejected)]
    return ScoredPairs(batch.chosen, batch.rejected, batch.margin, batch.weight, *both)


def said(logits: Tensor, answer: tuple[int, ...]) -> float:
    """log π(answer), token by token."""
    total = 0.0
    for place, token in enumerate(answer):
        row = logits[row_of(answer[:place])].tolist()
        total += row[token] - math.log(sum(math.exp(x) for x in row))
    return total


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def minus_log_sigma(x: float) -> float:
    return math.log1p(math.exp(-x))


def written_out(loss: str, a: float, b: float, beta: float, n: tuple[int, int]) -> float:
    """One loss of the log-ratios a (chosen) and b (rejected) with n tokens each; robust and exo with ε = 0.1."""
    h, mean = a - b, a / n[0] - b / n[1]
    return {
        "sigmoid": lambda: minus_log_sigma(beta * h),
        "sigmoid_norm": lambda: minus_log_sigma(beta * mean),
        "robust": lambda: (0.9 * minus_log_sigma(beta * h) - 0.1 * minus_log_sigma(-beta * h)) / 0.8,
        "ipo_sum": lambda: (h - 1 / (2 * beta)) ** 2,
        "ipo_avg": lambda: (mean - 1 / (2 * beta)) ** 2,
        "hinge": lambda: max(0.0, 1 - beta * h),
        "exo_pair": lambda: sum(
            sigma(s * beta * h) * math.log(sigma(s * beta * h) / p) for s, p in ((1, 0.9), (-1, 0.1))
        ),
        "nca_pair": lambda: (
            minus_log_sigma(beta * a) + 0.5 * minus_log_sigma(-beta * a) + 0.5 * minus_log_sigma(-beta * b)
        ),
        "sppo_hard": lambda: (a - 0.5 / beta) ** 2 + (b + 0.5 / beta) ** 2,
        "apo_zero": lambda: 1 - sigma(beta * a) + sigma(beta * b),
        "apo_down": lambda: sigma(beta * a) + 1 - sigma(beta * h),
        "discopop": lambda: (
            (1 - sigma(beta * h / 0.05)) * minus_log_sigma(beta * h) + sigma(beta * h / 0.05) * math.exp(-beta * h)
        ),
    }[loss]()


def mean(each: list[float]) -> float:
    return sum(w * x for w, x in zip(WEIGHT, each, strict=True)) / sum(WEIGHT)


def dpo(loss: str, **settings: Any) -> tuple[DPO, ScoredPairs]:
    parts = parts_of(table(1), table(2))
    smooth = {"label_smoothing": 0.1} if loss in ("robust", "exo_pair") else {}
    algorithm = DPO(DPO.Config(**PLAIN | smooth | {"beta": 0.4, "loss": loss} | settings), parts)
    return algorithm, scored_by(parts, pairs())


@pytest.mark.parametrize("loss", LOSSES)
def test_each_loss_on_pairs_equals_itself_written_out(loss: str) -> None:
    """With margin m, β times the log-ratio (per token where the loss is) of the two sides is shifted by ∓m/2."""
    algorithm, batch = dpo(loss, rpo_alpha=0.7)
    each = []
    for chosen, rejected, margin in zip(CHOSEN, REJECTED, MARGIN, strict=True):
        n = (len(chosen), len(rejected))
        shift = margin / (2 * 0.4)
        a = (
            said(table(1), chosen)
            - said(table(2), chosen)
            - shift * (n[0] if loss in ("sigmoid_norm", "ipo_avg") else 1)
        )
        b = (
            said(table(1), rejected)
            - said(table(2), rejected)
            + shift * (n[1] if loss in ("sigmoid_norm", "ipo_avg") else 1)
        )
        each.append(written_out(loss, a, b, 0.4, n) - 0.7 * said(table(1), chosen) / n[0])
    found = algorithm.loss(batch)
    assert float(found.total.detach()) == pytest.approx(mean(each), rel=1e-6)
    assert float(found.weight) == sum(WEIGHT)


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss not in ("robust", "exo_pair")])
def test_label_smoothing_and_soft_labels_are_the_expectation_over_flips(loss: str) -> None:
    """`robust` and `exo_pair` have a smoothing of their own."""
    plain, batch = dpo(loss)
    batch = replace(batch, margin=torch.zeros(3), weight=torch.ones(3))
    turned = ScoredPairs(batch.rejected, batch.chosen, batch.margin, batch.weight, batch.ref_rejected, batch.ref_chosen)
    right, wrong = (float(plain.loss(x).total.detach()) for x in (batch, turned))
    smooth, _ = dpo(loss, label_smoothing=0.2)
    assert float(smooth.loss(batch).total.detach()) == pytest.approx(0.8 * right + 0.2 * wrong, rel=1e-6)
    soft, _ = dpo(loss, weight_as="probability")
    sure = replace(batch, weight=torch.full((3,), 0.4))  # right with probability 0.7
    assert float(soft.loss(sure).total.detach()) == pytest.approx(0.7 * right + 0.3 * wrong, rel=1e-6)


def test_every_named_loss_is_another_one() -> None:
    numbers = [round(float(algorithm.loss(batch).total.detach()), 5) for algorithm, batch in map(dpo, LOSSES)]
    assert len(set(numbers)) == len(LOSSES)


START = {
    "ipo_sum": 1 / (2 * 0.4) ** 2, "ipo_avg": 1 / (2 * 0.4) ** 2, "hinge": 1.0, "apo_zero": 1.0, "apo_down": 1.0,
    "nca_pair": 2 * math.log(2), "sppo_hard": 2 / (2 * 0.4) ** 2, "discopop": (math.log(2) + 1) / 2,
    "exo_pair": -math.log(2) - math.log(0.9 * 0.1) / 2,
}  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
def test_the_first_loss_is_known_and_a_wrong_reference_is_found(loss: str) -> None:
    """Whatever the margins and weights: ln 2, (1/2τ)², 1 …"""
    algorithm, batch = dpo(loss)
    same = scored_by(parts_of(table(1), table(1)), pairs())
    found = algorithm.preflight(same)
    assert found["preflight/dpo_loss"] == pytest.approx(START.get(loss, math.log(2)), abs=1e-6)
    assert found["preflight/log_ratio"] == pytest.approx(0, abs=1e-5)
    with pytest.raises(DivergedError):
        algorithm.preflight(batch)


def without_reference(kind: Any, **settings: Any) -> Any:
    return kind(kind.Config(**PLAIN | settings), parts_of(table(1), table(1)))


def log_odds(x: float) -> float:
    return x - math.log(1 - math.exp(x))


def test_the_losses_without_a_reference_equal_themselves_written_out() -> None:
    c, r = ([said(table(1), answer) for answer in side] for side in (CHOSEN, REJECTED))
    n, k = ([len(answer) for answer in side] for side in (CHOSEN, REJECTED))
    every = range(3)
    simpo = [minus_log_sigma(2 * (c[i] / n[i] - r[i] / k[i]) - 0.5 - MARGIN[i]) for i in every]
    cpo = [minus_log_sigma(0.1 * (c[i] - r[i]) - MARGIN[i]) - c[i] / n[i] for i in every]
    ratio = [log_odds(c[i] / n[i]) - log_odds(r[i] / k[i]) for i in every]
    orpo = [0.3 * minus_log_sigma(ratio[i] - MARGIN[i]) - c[i] / n[i] for i in every]
    for kind, settings, each in ((SimPO, {}, simpo), (CPO, {}, cpo), (ORPO, {"beta": 0.3}, orpo)):
        found = without_reference(kind, **settings).loss(pairs())
        assert float(found.total.detach()) == pytest.approx(mean(each), rel=1e-6), kind
        flipped = without_reference(kind, label_smoothing=0.3, margin_scale=0.0, **settings).loss(pairs())
        assert float(flipped.total.detach()) != pytest.approx(mean(each), rel=1e-3), kind


Make = Callable[[], tuple[Any, Any]]


def kto() -> tuple[KTO, Any]:
    parts = parts_of(table(1), table(2), unpaired=SimpleNamespace(batch=lambda step: unpaired(), held_out=unpaired()))
    algorithm = KTO(KTO.Config(**PLAIN | {"beta": 0.4, "desirable_weight": 1.5, "undesirable_weight": 0.5}), parts)
    return algorithm, algorithm.collect(0)


EVERY: dict[str, Make] = {loss: lambda loss=loss: dpo(loss) for loss in LOSSES} | {
    "simpo": lambda: (without_reference(SimPO), pairs()),
    "cpo": lambda: (without_reference(CPO), pairs()),
    "orpo": lambda: (without_reference(ORPO), pairs()),
    "kto": kto,
}


@pytest.mark.parametrize("name", EVERY)
def test_each_gradient_is_the_difference_of_two_losses(name: str) -> None:
    algorithm, batch = EVERY[name]()
    leaf = algorithm.parts.policy.table

    def total() -> float:
        with torch.no_grad():
            return float(algorithm.loss(batch).total)

    (gradient,) = torch.autograd.grad(algorithm.loss(batch).total, leaf)
    assert float(gradient.abs().max()) > 1e-3
    direction = torch.randn(leaf.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    step, losses = 1e-5, []
    for sign in (1, -1):
        with torch.no_grad():
            leaf.add_(sign * step * direction)
        losses.append(total())
        with torch.no_grad():
            leaf.sub_(sign * step * direction)
    assert float((gradient * direction).sum()) == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_a_few_steps_on_one_batch_make_the_loss_fall(name: str) -> None:
    algorithm, batch = EVERY[name]()
    optimizer = Optimizer(algorithm, replace(algorithm.config, learning_rate=0.02, schedule="constant"), 10)
    losses = []
    for step in range(10):
        optimizer.begin(step)
        losses.append(optimizer.step(algorithm, batch)["loss"])
    assert losses[-1] < losses[0]


def test_orpo_without_its_odds_is_likelihood_and_near_certainty_stays_finite() -> None:
    algorithm = without_reference(ORPO, beta=0.0)
    assert float(algorithm.loss(pairs()).total.detach()) == pytest.approx(
        mean([-said(table(1), answer) / len(answer) for answer in CHOSEN]), rel=1e-6
    )
    sure = torch.full((31, 5), -60.0)
    for answer in CHOSEN:
        for place, token in enumerate(answer):
            sure[row_of(answer[:place])] = -60.0
            sure[row_of(answer[:place]), token] = 60.0
    algorithm = ORPO(ORPO.Config(**PLAIN), parts_of(sure, sure))
    loss: Loss = algorithm.loss(pairs().select([2]))
    (gradient,) = torch.autograd.grad(loss.total, algorithm.parts.policy.table)
    assert bool(loss.total.isfinite()) and bool(gradient.isfinite().all())


def unpaired(labels: tuple[bool, ...] = (True, False, True)) -> list[EncodedUnpaired]:
    rows = zip([(0, 1, STOP), (STOP,), (3, 2, 1)], labels, [1.0, 0.5, 2.0], strict=True)
    return [
        EncodedUnpaired(Encoded([5, *answer], [False] + [True] * len(answer)), Unpaired("p", "c", label, weight=weight))
        for answer, label, weight in rows
    ]


def test_kto_on_three_rows_equals_itself_written_out() -> None:
    algorithm, batch = kto()
    answers, labels, weights = [(0, 1, STOP), (STOP,), (3, 2, 1)], [True, False, True], [1.0, 0.5, 2.0]
    gap = [said(table(1), answer) - said(table(2), answer) for answer in answers]
    z = max(0.0, sum(gap) / 3)  # one prompt for all: every answer is once another row's
    each = [
        1.5 * (1 - sigma(0.4 * (g - z))) if good else 0.5 * (1 - sigma(0.4 * (z - g)))
        for g, good in zip(gap, labels, strict=True)
    ]
    found = algorithm.loss(batch)
    wanted = sum(w * x for w, x in zip(weights, each, strict=True)) / sum(weights)
    assert float(found.total.detach()) == pytest.approx(wanted, rel=1e-6)
    assert batch.baseline.tolist() == pytest.approx([z] * 3, rel=1e-6) and not batch.baseline.requires_grad


def row(prompt: list[int], answer: list[int]) -> EncodedUnpaired:
    encoded = Encoded(prompt + answer, [False] * len(prompt) + [True] * len(answer))
    return EncodedUnpaired(encoded, Unpaired("p", "c", True))


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_kto_never_reads_a_prompt_with_its_own_answer(count: int) -> None:
    rows = [row([5, n], [n]) for n in range(count)]
    found = mismatched(rows)
    assert sorted(i for i, _ in found) == sorted(j for _, j in found) == list(range(count))
    assert all(i != j for i, j in found)


def test_kto_passes_over_the_other_answer_to_the_same_prompt() -> None:
    rows = [row([5, n // 2], [n]) for n in range(6)]  # as `data convert` writes pairs: good, bad, good, bad
    assert all(rows[i].answer.tokens[1] != rows[j].answer.tokens[1] for i, j in mismatched(rows))


def test_kto_leaves_out_a_row_that_meets_itself_and_refuses_to_guess_from_nothing() -> None:
    once, other = row([5, 1], [1]), row([5, 2], [2])
    assert all((once, once, other)[i] is not (once, once, other)[j] for i, j in mismatched([once, once, other]))
    parts = parts_of(table(1), table(2), unpaired=SimpleNamespace(batch=lambda step: [once, once], held_out=[once]))
    algorithm = KTO(KTO.Config(**PLAIN), parts)
    with pytest.raises(DataError, match="same row"):
        algorithm.collect(0)
    assert algorithm.evaluate() == {}
    with pytest.raises(UsageError, match="batch_size"):
        KTO.Config(**PLAIN, batch_size=1)


def test_kto_cuts_the_beginning_of_a_prompt_that_would_not_fit_with_another_answer() -> None:
    long, short = row([5, 6, 7, 8], [1]).answer, row([5], [2, 3, 4]).answer
    assert other_answer(long, short, 5).tokens == [7, 8, 2, 3, 4]
    assert other_answer(long, short, 2).tokens == [8, 2, 3, 4], "at least one token stays before the answer"
    assert other_answer(long, short, 100).mask == [False] * 4 + [True] * 3


def test_the_drift_of_kto_is_never_below_zero() -> None:
    algorithm, _ = kto()
    algorithm.parts.policy.table.data, keep = table(2) - 0.0, algorithm.parts.policy.table.data
    rare = [r for r in unpaired() if r.row.label]
    with torch.no_grad():
        for answer in ((0, 1, STOP), (3, 2, 1)):
            algorithm.parts.policy.table[0, answer[0]] -= 3.0
    assert float(algorithm.baseline(rare)) == 0.0
    algorithm.parts.policy.table.data = keep


def test_weights_that_are_no_probabilities_are_refused_where_they_should_be() -> None:
    algorithm, batch = dpo("sigmoid", weight_as="probability")
    with pytest.raises(DataError, match="0.5–2"):
        algorithm.loss(batch)


def test_a_policy_from_an_sft_adapter_has_that_adapter_in_its_reference(tiny_model: Path, tmp_path: Path) -> None:
    """LlamaFactory#8459: with the adapter switched off, the base was the reference, not the fine-tuned model."""
    tuned = load_policy(str(tiny_model), lora=Toolbox(lora_config(tiny_model), tmp_path, str).lora, seed=0)
    with torch.no_grad():
        for name, value in tuned.named_parameters():
            if "lora_B" in name:
                value += 0.5 * torch.randn(value.shape, generator=torch.Generator().manual_seed(3))
    tuned.save(tmp_path / "sft")
    config = lora_config(tmp_path / "sft")
    rows = [Preference("Summarise.", f"Bridge {n}.", f"No bridge, {n}.") for n in range(4)]
    from tutelage.build import Given

    algorithm = DPO(config, Toolbox(config, tmp_path, str, Given(rows=rows)))
    batch = algorithm.collect(0)
    assert algorithm.preflight(batch)["preflight/dpo_loss"] == pytest.approx(math.log(2), abs=1e-6)
    with torch.no_grad():
        wanted, base = (
            policy.logprobs(batch.chosen).logprobs.sum(1) for policy in (tuned, load_policy(str(tiny_model)))
        )
    torch.testing.assert_close(batch.ref_chosen, wanted, atol=1e-3, rtol=0)
    assert float((batch.ref_chosen - base).abs().min()) > 0.05
    with pytest.raises(DivergedError):
        algorithm.preflight(replace(batch, ref_chosen=base))


def lora_config(model: Path) -> Any:
    return resolve(DPO.Config, flags={"model": str(model), "data": "x", "lora": True, "batch_size": 4}).config


def test_the_encoded_pair_is_what_training_reads() -> None:
    encoded = Encoded([5, 1], [False, True])
    other = Encoded([5, 2, 4], [False, True, True])
    parts = parts_of(table(1), table(1))
    algorithm = DPO(DPO.Config(**PLAIN), parts)
    batch = algorithm.read([EncodedPair(encoded, other, Preference("p", "a", "b", margin=0.2, weight=0.5))])
    assert batch.margin.tolist() == pytest.approx([0.2]) and batch.weight.tolist() == [0.5]
