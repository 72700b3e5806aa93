"""Every way to choose: probabilities are those counted, a fifth is a fair sample, disagreement is asked about."""

from __future__ import annotations

from collections import Counter
from typing import cast

import numpy as np
import pytest

from tutelage import registry
from tutelage.errors import UsageError
from tutelage.statistics.selection import Candidate, Selector, select
from tutelage.statistics.selection._base import proportional, systematic
from tutelage.statistics.selection.disagreement import Disagreement, information
from tutelage.statistics.selection.thompson import Thompson, duel_chances

NAMES = registry.names("statistics/selection")


def test_the_menu_is_the_folder() -> None:
    assert NAMES == ["disagreement", "random", "thompson"]


@pytest.mark.parametrize("name", NAMES)
def test_the_probability_of_each_pair_is_how_often_it_is_chosen(name: str) -> None:
    """3,000 batches of 10 out of 36 pairs."""
    pool, selector = _pool(12), _selector(name)
    told: dict[str, list[float]] = {candidate.id: [] for candidate in pool}
    drawn: Counter[str] = Counter()
    for seed in range(3000):
        batch = select(selector, pool, 10, seed=seed)
        assert len({chosen.candidate.id for chosen in batch}) == 10
        assert sum(chosen.arm == "random" for chosen in batch) >= 2
        for chosen in batch:
            drawn[chosen.candidate.id] += 1
            told[chosen.candidate.id].append(chosen.probability)
    # clusters of the diverse way differ from batch to batch, and so do its probabilities
    weights = {key: sum(1 / value for value in values) / 3000 for key, values in told.items()}
    assert np.mean(list(weights.values())) == pytest.approx(1.0, abs=0.02)
    errors = [abs(weights[candidate.id] - 1) for candidate in pool]
    assert max(errors) < 0.25
    if name != "disagreement":
        for candidate in pool:
            assert len({round(value, 12) for value in told[candidate.id]}) == 1
            share, wanted = drawn[candidate.id] / 3000, told[candidate.id][0]
            assert abs(share - wanted) < 4.5 * (wanted * (1 - wanted) / 3000) ** 0.5


def test_weights_of_one_over_the_probability_undo_the_selection() -> None:
    """The mean of something that disagreement goes with, estimated from chosen pairs: plainly wrong, weighted right."""
    pool = _pool(60)
    worth = information(pool)
    truth = float(worth.mean())
    place = {candidate.id: index for index, candidate in enumerate(pool)}
    plain, weighted = [], []
    for seed in range(300):
        batch = select(Disagreement(), pool, 30, seed=seed)
        values = np.array([worth[place[chosen.candidate.id]] for chosen in batch])
        plain.append(values.mean())
        weighted.append((values / [chosen.probability for chosen in batch]).sum() / len(pool))
    assert np.mean(plain) > 1.3 * truth
    assert np.mean(weighted) == pytest.approx(truth, rel=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_the_random_part_is_as_likely_to_hold_any_pair(name: str) -> None:
    pool = _pool(10)
    drawn: Counter[str] = Counter()
    for seed in range(2000):
        batch = select(_selector(name), pool, 10, random_share=0.4, seed=seed)
        drawn.update(chosen.candidate.id for chosen in batch[:4])
    counts = np.array([drawn[candidate.id] for candidate in pool])
    expected = 2000 * 4 / len(pool)
    assert float(((counts - expected) ** 2 / expected).sum()) < 2 * len(pool)


def test_a_fifth_must_stay_random() -> None:
    with pytest.raises(UsageError, match="random share 0.1"):
        select(_selector("random"), _pool(3), 4, random_share=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_as_large_as_the_pool_is_the_pool(name: str) -> None:
    pool = _pool(3)
    assert {chosen.probability for chosen in select(_selector(name), pool, 9)} == {1.0}
    assert select(_selector(name), pool, 0) == []
    assert select(_selector(name), [], 5) == []


def test_disagreeing_heads_are_asked_about_and_agreeing_ones_seldom() -> None:
    sure = [Candidate(f"sure{n}", f"p{n}", "a", "b", (2.0, 2.0, 2.0), (0.0, 0.0, 0.0)) for n in range(30)]
    torn = [Candidate(f"torn{n}", f"q{n}", "a", "b", (2.0, 0.0, -2.0), (0.0, 0.0, 0.0)) for n in range(10)]
    told = information([*sure, *torn])
    assert told[:30] == pytest.approx(np.zeros(30), abs=1e-9) and told[30:].min() > 0.2
    batch = select(Disagreement(), [*sure, *torn], 10, seed=1)
    assert sum(chosen.candidate.id.startswith("torn") for chosen in batch) >= 7


def test_diversity_spreads_over_prompts_that_lie_apart() -> None:
    """40 pairs in one corner, 5 in each of two others, all equally doubtful."""
    corners = [((0.0, 0.0), 40), ((9.0, 0.0), 5), ((0.0, 9.0), 5)]
    pool = [
        Candidate(f"{x}{y}{n}", f"p{x}{y}{n}", "a", "b", (1.0, -1.0), (0.0, 0.0), (x + n * 1e-3, y))
        for (x, y), count in corners
        for n in range(count)
    ]
    shares: list[float] = []
    for diversity in (0.0, 1.0):
        rng = np.random.default_rng(0)
        chance = Disagreement(diversity).sample(pool, 6, rng)[1]
        shares.append(float(chance[40:].sum() / 6))
        assert chance.sum() == pytest.approx(6)
    assert shares[0] == pytest.approx(0.2)
    assert shares[1] > 0.45


def test_duels_count_all_pairs_of_heads() -> None:
    """Heads: a > b > c, a > b > c, c > a > b. Different first choices meet in 4 of 6, equal ones (a, then b) in 2."""
    scores = {"a": (3.0, 3.0, 2.0), "b": (2.0, 2.0, 1.0), "c": (1.0, 1.0, 3.0)}
    pairs = [Candidate(f"{x}{y}", "p", x, y, scores[x], scores[y]) for x, y in (("a", "b"), ("a", "c"), ("b", "c"))]
    assert duel_chances(pairs) == pytest.approx([2 / 6, 4 / 6, 0])
    assert duel_chances(pairs[2:]) == pytest.approx([1.0])


@pytest.mark.parametrize("selector", [Disagreement(), Thompson()])
def test_one_head_cannot_disagree(selector: Selector) -> None:
    pool = [Candidate(f"{n}", f"p{n}", "a", "b", (1.0,), (0.0,)) for n in range(9)]
    with pytest.raises(UsageError, match="two heads"):
        select(selector, pool, 5)


def test_systematic_draws_hold_their_number_and_chances() -> None:
    rng = np.random.default_rng(0)
    chance = proportional(np.array([100.0, 5, 1, 1, 1, 0.5, 0.5, 4]), 4)
    assert chance.sum() == pytest.approx(4) and chance.max() == 1.0
    counts = np.zeros(8)
    for _ in range(3000):
        drawn = systematic(chance, rng.permutation(8), rng)
        assert len(set(drawn)) == 4
        counts[drawn] += 1
    assert counts / 3000 == pytest.approx(chance, abs=0.04)


def _selector(name: str) -> Selector:
    # the registry wants abstract classes as a type, which pyright takes for an instantiation
    return cast(Selector, registry.find("statistics/selection", name, Selector)())


def _pool(prompts: int) -> list[Candidate]:
    """Three pairs of three answers to each prompt, scored by four heads."""
    rng = np.random.default_rng(7)
    pool: list[Candidate] = []
    for prompt in range(prompts):
        scores = rng.normal(size=3)[:, None] + rng.normal(size=(3, 4)) * rng.uniform(0.1, 2.0)
        lies = tuple(map(float, rng.normal(size=2)))
        for one, two in ((0, 1), (0, 2), (1, 2)):
            name = f"{prompt}:{one}-{two}"
            pair = (tuple(map(float, scores[one])), tuple(map(float, scores[two])))
            pool.append(Candidate(name, f"p{prompt}", f"{prompt}:{one}", f"{prompt}:{two}", *pair, lies))
    return pool
