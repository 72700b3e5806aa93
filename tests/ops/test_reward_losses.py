"""Losses of reward models against probabilities summed by hand, known strengths, choix, and the bugs of others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tutelage.ops.reward_losses import (
    MOST_RANKED,
    bradley_terry,
    davidson,
    davidson_luce,
    huber,
    order_of,
    ordinal,
    plackett_luce,
    plackett_luce_any_order,
    rao_kupper,
)

STRENGTHS = torch.tensor([1.2, 0.4, -0.1, -0.6, -0.9], dtype=torch.float64)


def maximum(loss: Callable[[], Tensor], *parameters: Tensor) -> None:
    """Bring the loss to its minimum."""
    optimizer = torch.optim.LBFGS(parameters, max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)  # type: ignore[arg-type]


def orders(count: int) -> list[tuple[int, ...]]:
    return list(itertools.permutations(range(count)))


def rankings(count: int) -> list[tuple[int, ...]]:
    """Every weak order of `count` things as dense ranks."""
    found = set(itertools.product(range(1, count + 1), repeat=count))
    return [ranks for ranks in found if set(ranks) == set(range(1, max(ranks) + 1))]


@pytest.mark.parametrize("gap", [-900.0, -3.0, 0.0, 0.5, 900.0])
def test_the_three_outcomes_of_a_pair_sum_to_one_and_mirror_each_other(gap: float) -> None:
    g = torch.tensor([gap], dtype=torch.float64)
    for outcomes in (davidson, rao_kupper):
        found = torch.cat(outcomes(g, torch.tensor(0.3, dtype=torch.float64)))
        assert found.exp().sum().item() == pytest.approx(1, abs=1e-12) and bool(found.isfinite().all())
        mirrored = torch.cat(outcomes(-g, torch.tensor(0.3, dtype=torch.float64)))
        torch.testing.assert_close(mirrored, found[[1, 0, 2]])


def test_ties_by_hand_and_without_ties_bradley_terry() -> None:
    left, right, nu, eta = 3.0, 2.0, 0.5, 0.7
    gap = torch.tensor(math.log(left / right), dtype=torch.float64)
    total = left + right + nu * math.sqrt(left * right)
    found = [p.exp().item() for p in davidson(gap, torch.tensor(math.log(nu), dtype=torch.float64))]
    assert found == pytest.approx([left / total, right / total, nu * math.sqrt(left * right) / total])
    theta = math.exp(eta)
    tie = left * right * (theta**2 - 1) / ((left + theta * right) * (theta * left + right))
    found = [p.exp().item() for p in rao_kupper(gap, torch.tensor(eta, dtype=torch.float64))]
    assert found == pytest.approx([left / (left + theta * right), right / (theta * left + right), tie])
    rare = davidson(gap, torch.tensor(-60.0, dtype=torch.float64))[0]
    torch.testing.assert_close(-rare, bradley_terry(gap, torch.zeros_like(gap)))


@pytest.mark.parametrize("kind", ["davidson", "rao-kupper"])
def test_strengths_and_tie_parameter_are_recovered_from_their_own_probabilities(kind: str) -> None:
    """The likelihood weighed by the true probabilities has its maximum at the truth (and ties are no half wins)."""
    first, second = (torch.tensor(side) for side in zip(*itertools.combinations(range(5), 2), strict=True))
    truth = torch.tensor(math.log(0.8), dtype=torch.float64)

    def outcomes(strengths: Tensor, tie: Tensor) -> Tensor:
        gap = strengths[first] - strengths[second]
        return torch.stack(davidson(gap, tie) if kind == "davidson" else rao_kupper(gap, tie.exp()))

    share = outcomes(STRENGTHS, truth).exp()
    guess = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    tie = torch.zeros((), dtype=torch.float64, requires_grad=True)
    maximum(lambda: -(share * outcomes(guess, tie)).sum() + 1e-12 * guess.sum() ** 2, guess, tie)
    found = guess.detach() - guess.detach().mean()
    torch.testing.assert_close(found, STRENGTHS - STRENGTHS.mean(), atol=1e-4, rtol=0)
    assert tie.exp().item() == pytest.approx(0.8, abs=1e-4)

    half = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    win = share[0] + 0.5 * share[2]
    maximum(
        lambda: (
            -(
                win * -bradley_terry(half[first], half[second]) + (1 - win) * -bradley_terry(half[second], half[first])
            ).sum()
        ),
        half,
    )
    shrunk = (half.max() - half.min()) / (STRENGTHS.max() - STRENGTHS.min())
    assert shrunk.item() < 0.9, "the mutant that counts a tie as half a win thinks everybody more alike"


@pytest.mark.parametrize("count", [2, 3, 4])
def test_every_weak_order_together_has_probability_one(count: int) -> None:
    scores = STRENGTHS[:count]
    ranked = torch.tensor(rankings(count))
    loss = davidson_luce(scores.expand(len(ranked), -1), ranked, torch.tensor(math.log(0.4), dtype=torch.float64))
    assert (-loss).exp().sum().item() == pytest.approx(1, abs=1e-12)
    all_orders = torch.tensor(orders(count))
    assert (-plackett_luce(scores.expand(len(all_orders), -1), all_orders)).exp().sum().item() == pytest.approx(1)


def test_davidson_luce_of_two_is_davidson() -> None:
    scores, tie = torch.tensor([[0.3, -0.4]] * 3, dtype=torch.float64), torch.tensor(-0.2, dtype=torch.float64)
    found = -davidson_luce(scores, torch.tensor([[1, 2], [2, 1], [1, 1]]), tie)
    torch.testing.assert_close(found, torch.stack(davidson(scores[0, 0] - scores[0, 1], tie)))


@pytest.mark.parametrize("ranks", [(1, 1, 2, 3), (1, 2, 2, 2), (2, 1, 2, 1), (1, 1, 1, 1), (1, 2, 3, 4)])
def test_the_marginal_of_ties_is_the_sum_over_every_order_that_fits(ranks: tuple[int, ...]) -> None:
    scores = STRENGTHS[:4]
    fits = [order for order in orders(4) if [ranks[i] for i in order] == sorted(ranks)]
    each = plackett_luce(scores.expand(len(fits), -1), torch.tensor(fits))
    wanted = -torch.logsumexp(-each, 0)
    found = plackett_luce_any_order(scores[None], torch.tensor([ranks]))
    torch.testing.assert_close(found[0], wanted)
    if len(set(ranks)) == 1:
        assert found.item() == pytest.approx(0, abs=1e-12)


def test_shorter_rankings_are_padded_and_too_long_ones_refused() -> None:
    scores = torch.cat([STRENGTHS[:3], torch.tensor([99.0], dtype=torch.float64)])[None].requires_grad_()
    tie = torch.tensor(-1.0, dtype=torch.float64)
    ranks = torch.tensor([[1, 1, 2, 0]])
    torch.testing.assert_close(davidson_luce(scores, ranks, tie), davidson_luce(scores[:, :3], ranks[:, :3], tie))
    plackett_luce_any_order(scores, ranks).sum().backward()
    assert scores.grad is not None and scores.grad[0, 3] == 0 and bool(scores.grad.isfinite().all())
    with pytest.raises(ValueError, match="at most"):
        plackett_luce_any_order(torch.zeros(1, MOST_RANKED + 1), torch.ones(1, MOST_RANKED + 1, dtype=torch.int64))


def test_ranks_are_not_an_ordering_and_the_mutant_that_confuses_them_is_seen() -> None:
    """`argsort` once too often or too seldom is right for swaps of two and wrong for cycles of three."""
    ranks = torch.tensor([[2, 3, 1], [1, 2, 0]])
    assert order_of(ranks).tolist() == [[2, 0, 1], [0, 1, -1]]
    scores = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    right = plackett_luce(scores, order_of(ranks[:1]))
    confused = plackett_luce(scores, ranks[:1] - 1)
    e = [math.exp(x) for x in (3, 1, 2)]
    assert right.item() == pytest.approx(-math.log(e[0] / sum(e) * e[1] / (e[1] + e[2])))
    assert abs(confused.item() - right.item()) > 0.1
    two = torch.tensor([[2, 1]])
    assert torch.equal(order_of(two), two - 1), "with two answers the bug hides"


def test_choix_finds_the_same_strengths_of_pairs_and_rankings() -> None:
    choix = pytest.importorskip("choix", reason="choix is not installed; pip install choix")
    draw = np.random.default_rng(4)
    truth = STRENGTHS.numpy()
    pairs = [(i, j) for i, j in draw.integers(5, size=(4000, 2)) if i != j]
    pairs = [(i, j) if draw.random() < 1 / (1 + np.exp(truth[j] - truth[i])) else (j, i) for i, j in pairs]
    top = [[int(x) for x in np.argsort(-(truth + draw.gumbel(size=5)))] for _ in range(1500)]
    for data, ours, theirs in (
        (torch.tensor(np.array(pairs)), True, choix.opt_pairwise(5, pairs)),
        (torch.tensor(top), False, choix.opt_rankings(5, top)),
    ):
        guess = torch.zeros(5, dtype=torch.float64, requires_grad=True)

        def loss(guess: Tensor = guess, data: Tensor = data, ours: bool = ours) -> Tensor:
            if ours:
                return bradley_terry(guess[data[:, 0]], guess[data[:, 1]]).sum() + 1e-9 * guess.sum() ** 2
            return plackett_luce(guess.expand(len(data), -1), data).sum() + 1e-9 * guess.sum() ** 2

        maximum(loss, guess)
        found = (guess - guess.mean()).detach().numpy()
        np.testing.assert_allclose(found, theirs - theirs.mean(), atol=1e-4)
        np.testing.assert_allclose(found, truth - truth.mean(), atol=0.2)


def slow_ordinal(score: float, level: int, thresholds: list[float]) -> float:
    edges = [-math.inf, *thresholds, math.inf]
    cumulative = [0.0 if e == -math.inf else 1.0 if e == math.inf else 1 / (1 + math.exp(score - e)) for e in edges]
    return -math.log(cumulative[level + 1] - cumulative[level])


def test_ordinal_equals_the_slow_way_sums_to_one_and_stays_finite() -> None:
    thresholds = [-1.5, -0.2, 0.1, 2.0]
    cut = torch.tensor(thresholds, dtype=torch.float64)
    scores = torch.tensor([-2.0, -0.1, 0.0, 0.7, 3.0], dtype=torch.float64)
    for level in range(5):
        found = ordinal(scores, torch.full((5,), level), cut)
        wanted = [slow_ordinal(float(score), level, thresholds) for score in scores]
        assert found.tolist() == pytest.approx(wanted, abs=1e-12)
    every = torch.stack([ordinal(scores, torch.full((5,), level), cut) for level in range(5)])
    torch.testing.assert_close((-every).exp().sum(0), torch.ones(5, dtype=torch.float64))
    far = torch.tensor([-800.0, 800.0], dtype=torch.float64, requires_grad=True)
    ordinal(far, torch.tensor([4, 0]), cut).sum().backward()
    assert far.grad is not None and bool(far.grad.isfinite().all())
    assert torch.autograd.gradcheck(
        lambda s, t: ordinal(s, torch.tensor([0, 2, 4]), t),
        (scores[:3].clone().requires_grad_(), cut.clone().requires_grad_()),
    )


def test_huber_is_squared_near_and_straight_far() -> None:
    scores, target = torch.tensor([0.5, 3.0]), torch.zeros(2)
    assert huber(scores, target, 1.0).tolist() == pytest.approx([0.125, 2.5])
    assert huber(scores, target, 0.0).tolist() == pytest.approx([0.125, 4.5])
