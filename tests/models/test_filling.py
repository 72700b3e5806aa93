"""Batches filled up to few sizes: the same states, the same gradients, nothing of the filling in either."""

from __future__ import annotations

import pytest
import torch

from tests_support import batch_of, random_rows
from tutelage.models._filling import Layout, filled, narrowed
from tutelage.models.load import load_policy
from tutelage.ops import native
from tutelage.ops.allocator import product_rows
from tutelage.ops.attention import Segments


@pytest.mark.parametrize("read", [None, [0], list(range(40)), list(range(5, 1000))])
@pytest.mark.parametrize("count", [1, 33, 1000, 1024])
def test_what_was_there_stays_in_its_place(count: int, read: list[int] | None):
    read = read and [place for place in read if place < count]
    lengths = [1] * (count % 7) + [count - count % 7]
    asked = None if read is None else torch.tensor(read, dtype=torch.int64)
    given = Layout(torch.arange(count), torch.arange(count), Segments.of([n for n in lengths if n]), asked)
    longer = filled(given)
    assert len(longer.tokens) == product_rows(len(longer.tokens)) == len(longer.positions) == longer.segments.tokens
    assert torch.equal(longer.tokens[:count], given.tokens) and not longer.positions[count:].any()
    places = [
        range(start, start + length)
        for start, length in zip(longer.segments.start.tolist(), longer.segments.length.tolist(), strict=True)
    ]
    assert sorted(place for each in places for place in each) == list(range(len(longer.tokens)))
    assert all(each.start >= count for each in places[len(given.segments.start) :])
    assert int(longer.segments.trees[-1]) == len(places)
    if read is not None:
        assert longer.read is not None and longer.read[: len(read)].tolist() == read
        assert len(longer.read) == product_rows(len(read)) == len(set(longer.read.tolist()))


def test_a_batch_of_which_nearly_all_is_read_is_read_whole():
    tokens = torch.arange(100)
    for count, some in ((50, True), (89, True), (90, False), (100, False)):
        given = Layout(tokens, tokens, Segments.of([100]), tokens[:count])
        assert (narrowed(given).read is not None) == some


@pytest.mark.parametrize("prompt", [1, 20])
def test_in_bfloat16_filling_changes_neither_states_nor_gradients(model_folder, monkeypatch, prompt):
    if not native.available("body"):
        pytest.skip(f"NOT TESTED: {native.why_not('body')}")
    policy = load_policy(str(model_folder("qwen3")), device="cpu", engine="fast", dtype="bfloat16")
    batch = batch_of(random_rows((40, 3, 17, 2, 33)), prompt=prompt)
    found: list[tuple[torch.Tensor, dict[str, torch.Tensor]]] = []
    for step in (lambda given: given, filled):
        monkeypatch.setattr("tutelage.models.body.filled", step)
        policy.zero_grad()
        logprobs = policy.logprobs(batch).logprobs
        logprobs.square().sum().backward()
        grads = {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}
        found.append((logprobs.detach(), grads))
    (plain, slopes), (longer, others) = found
    torch.testing.assert_close(longer, plain, atol=1e-2, rtol=1e-2)
    assert slopes.keys() == others.keys()
    for name, slope in slopes.items():
        assert (others[name] - slope).norm() <= 2e-2 * slope.norm() + 1e-7, name
