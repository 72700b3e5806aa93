"""Without gradients a batch is asked in parts that fit: the same numbers, and those bits that learning will find."""

from __future__ import annotations

import copy

import pytest
import torch

from tests_support import batch_of, random_rows
from tutelage.batches import parts
from tutelage.models.load import load_policy, load_scorer
from tutelage.models.reference import Reference

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
    cuts = list(parts(batch.sizes(), ROOM))
    assert len(cuts) > 2 and sorted(row for rows in cuts for row in rows) == list(range(len(LENGTHS)))
    for rows in cuts:
        learned = policy.logprobs(batch.select(rows)).logprobs
        assert learned.requires_grad and torch.equal(found.logprobs[rows, : learned.shape[1]], learned.detach())


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
