"""Without gradients a batch is asked in parts that fit: the same numbers, and those bits that learning will find."""

from __future__ import annotations

import copy

import pytest
import torch

from tests_support import batch_of, random_rows
from tutelage.algorithms import TrainConfig
from tutelage.algorithms._preference import sides
from tutelage.batches import PairBatch, TokenBatch, load, parts
from tutelage.models.load import load_policy, load_scorer
from tutelage.models.policy import Policy
from tutelage.models.reference import Reference
from tutelage.models.tree import tree_of
from tutelage.ops import native
from tutelage.train.optim import Optimizer

LENGTHS = (17, 5, 30, 9, 24, 12, 3)
ROOM = 40


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_scored_in_parts_has_the_bits_of_what_is_learned_from_the_same_parts(tiny_model, dtype):
    policy = load_policy(str(tiny_model), device="cpu", dtype=dtype)
    reference = Reference(policy)
    batch = batch_of(random_rows(LENGTHS), prompt=2)
    with torch.no_grad():
        whole = policy.logprobs(batch)
        policy.room.tokens = ROOM
        found, frozen = policy.logprobs(batch), reference.logprobs(batch)
    near = {"float32": 1e-5, "bfloat16": 0.1}[dtype]
    torch.testing.assert_close(found.logprobs, whole.logprobs, atol=near, rtol=0)
    torch.testing.assert_close(found.entropy, whole.entropy, atol=near, rtol=0)
    assert torch.equal(frozen.logprobs, found.logprobs)
    assert copy.deepcopy(policy).room is policy.room, "a copy of the policy is cut alike, also later"
    cuts = list(parts(batch, ROOM))
    assert len(cuts) > 2 and sorted(row for rows in cuts for row in rows) == list(range(len(LENGTHS)))
    for rows in cuts:
        learned = policy.logprobs(batch.select(rows)).logprobs
        assert learned.requires_grad and torch.equal(found.logprobs[rows, : learned.shape[1]], learned.detach())


def grouped(prompts: int, answers: int) -> TokenBatch:
    """Answers of 3 to 12 tokens to prompts of 20, not beside each other."""
    rows = random_rows((20,) * prompts + tuple(3 + 7 * place % 10 for place in range(prompts * answers)))
    said = enumerate(rows[prompts:])
    return TokenBatch.of([(rows[n % prompts] + own, [False] * 20 + [True] * len(own)) for n, own in said])


def test_answers_to_one_prompt_stay_in_one_part_which_computes_it_once():
    batch, limit = grouped(9, 4), 250
    cuts = list(parts(batch, limit))
    assert sorted(row for rows in cuts for row in rows) == list(range(36)) and len(cuts) > 3
    computed = 0
    for rows in cuts:
        part = batch.select(rows)
        tree = tree_of(part)
        assert tree is not None and len(part.tokens) <= limit
        computed += len(tree.tokens)
    assert computed == 9 * 20 + int(batch.mask.sum())


@pytest.mark.parametrize("limit", [40, 70, 150, 250, 600])
def test_a_prompt_that_is_computed_once_counts_once_in_each_part(limit):
    batch = grouped(9, 4)
    cuts = list(parts(batch, limit, shared=True))
    assert sorted(row for rows in cuts for row in rows) == list(range(36))
    for rows in cuts:
        tree = tree_of(batch.select(rows))
        computed = sum(batch.sizes()[row] for row in rows) if tree is None else len(tree.tokens)
        assert computed == load(batch, rows, shared=True)
        assert computed <= limit or len(rows) == 1
    assert len(cuts) <= len(list(parts(batch, limit)))
    assert (len(cuts) == 1) == (limit == 600) and load(batch) > 600, "written out it would be parted"


@pytest.mark.parametrize("engine", ["auto", "plain"])
def test_learning_and_scoring_count_shared_prompts_alike(tiny_model, engine):
    policy, batch = load_policy(str(tiny_model), device="cpu", engine=engine), grouped(9, 4)
    shares = policy.shares_prompts
    assert shares == (engine == "auto" and native.available("body"))
    Optimizer(Likelihood(policy), TrainConfig(tokens_per_part=150), 1)
    assert policy.room.shared == shares
    with torch.no_grad():
        found = policy.logprobs(batch).logprobs
    for rows in parts(batch, 150, shared=shares):
        learned = policy.logprobs(batch.select(rows)).logprobs.detach()
        assert torch.equal(found[rows, : learned.shape[1]], learned)


class Likelihood:
    """As much of an algorithm as an optimiser asks for at its start."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def modules(self) -> dict[str, torch.nn.Module]:
        return {"policy": self.policy}

    def learning_rates(self) -> dict[str, float]:
        return {"policy": 0.1}


def test_answers_that_do_not_fit_together_are_parted():
    batch = grouped(2, 8)
    cuts = list(parts(batch, 70))
    assert sorted(row for rows in cuts for row in rows) == list(range(16))
    assert all(sum(batch.sizes()[row] for row in rows) <= 70 for rows in cuts)
    assert all(len({row % 2 for row in rows}) == 1 for rows in cuts[:-1]), "one prompt after the other"


@pytest.mark.parametrize("shared", [False, True])
def test_both_answers_of_a_pair_are_asked_in_the_parts_that_are_learned_from(tiny_model, shared):
    policy, half = load_policy(str(tiny_model), device="cpu"), grouped(6, 2)
    chosen, rejected = half.select(range(6)), half.select(range(6, 12))
    pairs = PairBatch(chosen, rejected, torch.zeros(6), torch.ones(6))
    limit = policy.room.tokens = 80 if shared else 120
    policy.room.shared = shared
    with torch.no_grad():
        asked = sides(policy, pairs)
    cuts = list(parts(pairs, limit, shared=shared))
    assert len(cuts) > 2 and load(pairs, shared=True) == len(tree_of(half).tokens) < load(pairs)
    for rows in cuts:
        learned = sides(policy, pairs.select(rows))
        assert torch.equal(asked.chosen[rows], learned.chosen) and torch.equal(asked.rejected[rows], learned.rejected)


def test_no_pass_is_larger_than_the_room_and_a_gradient_is_never_cut(tiny_model, monkeypatch):
    scorer = load_scorer(str(tiny_model), device="cpu", seed=3)
    batch = batch_of(random_rows(LENGTHS), prompt=2)
    seen, ask = list[int](), scorer.states
    monkeypatch.setattr(scorer, "states", lambda part, places: seen.append(len(part.tokens)) or ask(part, places))
    with torch.no_grad():
        whole = scorer.values(batch), scorer.scores(batch)
        scorer.room.tokens = ROOM
        seen.clear()
        found = scorer.values(batch), scorer.scores(batch)
    assert max(seen) <= ROOM and sum(seen) == 2 * sum(LENGTHS)
    for ours, theirs in zip(found, whole, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    seen.clear()
    scorer.scores(batch)
    assert seen == [sum(LENGTHS)]
