"""Best of n against all subsets written out, the exact law of the enumerable model, and ties."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
import torch

from tutelage.ops.best_of import expected_best, kl_bound, pick


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7])
def test_the_estimate_is_the_mean_over_all_subsets(n: int) -> None:
    scores = torch.randn(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    scores[0, :4] = 1.5  # ties
    for row, found in zip(scores.tolist(), expected_best(scores, n).tolist(), strict=True):
        subsets = [max(subset) for subset in combinations(row, n)]
        assert found == pytest.approx(sum(subsets) / len(subsets), abs=1e-12)


def test_the_best_of_the_first_n_of_ordered_scores_would_be_another_number() -> None:
    scores = torch.arange(8.0, dtype=torch.float64)
    assert expected_best(scores, 2).item() == pytest.approx(5.0)
    assert scores[:2].max().item() == 1.0


def test_it_is_unbiased_for_the_exact_law(golden: Callable[[str], Any]) -> None:
    """Golden distributions of best-of-n on 85 sequences; 4000 prompts with 16 answers each."""
    case = golden("enumerable_lm")
    reward, start = case["reward"], case["ref_prob"]
    draw = torch.Generator().manual_seed(0)
    scores = reward[torch.multinomial(start, 4000 * 16, True, generator=draw)].view(4000, 16)
    for n in (2, 4, 16):
        exact = float((case["bon"][str(n)] * reward).sum())
        found = expected_best(scores, n)
        assert float(found.mean()) == pytest.approx(exact, abs=4 * float(found.std()) / 4000**0.5)
        q = case["bon"][str(n)]
        assert float(torch.where(q > 0, q * (q / start).log(), 0.0).sum()) <= kl_bound(n) + 1e-9


def test_the_bound_is_met_where_no_score_stands_twice() -> None:
    """Of many equally likely answers, each with its own score, the best of n has density n·Fⁿ⁻¹."""
    for n in (1, 2, 8):
        rank = torch.arange(100_000, dtype=torch.float64)
        q = ((rank + 1) / 100_000) ** n - (rank / 100_000) ** n
        assert float((q * (q * 100_000).clamp(min=1e-300).log()).sum()) == pytest.approx(kl_bound(n), abs=1e-3)
    assert kl_bound(1) == 0 and kl_bound(4) == pytest.approx(math.log(4) - 0.75)


def test_of_equals_the_lot_decides_and_each_comes_up_as_often() -> None:
    scores = torch.tensor([1.0, 3.0, 3.0, 2.0, 3.0]).expand(6000, 5)
    lots = torch.rand(6000, 5, generator=torch.Generator().manual_seed(1))
    counts = torch.bincount(pick(scores, lots), minlength=5)
    assert counts[[0, 3]].tolist() == [0, 0]
    assert counts[[1, 2, 4]].tolist() == pytest.approx([2000] * 3, abs=150)
    both = pick(torch.zeros(9, 4), lots[:9, :4]), pick(-torch.zeros(9, 4), -lots[:9, :4])
    assert not bool((both[0] == both[1]).any()), "best and worst of equals are two answers"


@pytest.mark.parametrize("n", [0, 4])
def test_more_than_there_are_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match="between 1 and the 3 scores"):
        expected_best(torch.zeros(3), n)
