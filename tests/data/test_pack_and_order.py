"""Packing keeps every token; the order is a pure function of seed, epoch and index."""

from __future__ import annotations

import pytest
import torch

from tutelage.data.loader import Order
from tutelage.data.pack import pack, pair_batch
from tutelage.data.template import Encoded

ROWS = [Encoded([5, 6, 7, 1], [False, False, True, True]), Encoded([5, 8, 1], [False, True, True])]


def test_rows_are_packed_back_to_back() -> None:
    batch = pack(ROWS)
    assert batch.tokens.tolist() == [5, 6, 7, 1, 5, 8, 1] and batch.lengths.tolist() == [4, 3]
    assert batch.answer_tokens.tolist() == [[7, 1], [8, 1]]


def test_pairs_default_to_no_margin_and_weight_one() -> None:
    batch = pair_batch(ROWS, ROWS[::-1])
    assert batch.margin.tolist() == [0, 0] and batch.weight.tolist() == [1, 1] and batch.weight.dtype == torch.float32
    assert pair_batch(ROWS, ROWS, [0.5, 0], [1, 0.25]).weight.tolist() == [1, 0.25]


def test_lists_that_do_not_fit_and_empty_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="2 chosen, 1 rejected"):
        pair_batch(ROWS, ROWS[:1])
    with pytest.raises(ValueError, match="at least one row"):
        pack([])


@pytest.mark.parametrize("lengths", [None, [3 * i % 17 for i in range(10)]])
@pytest.mark.parametrize("batch_size", [1, 3, 4, 10, 25])
def test_every_row_is_read_once_per_epoch(batch_size: int, lengths: list[int] | None) -> None:
    order = Order(10, batch_size, seed=3, lengths=lengths)
    stream = [row for step in range(order.steps(5)) for row in order.indices(step)]
    for epoch in range(5):
        assert sorted(stream[epoch * 10 : epoch * 10 + 10]) == list(range(10))
    assert all(len(order.indices(step)) == batch_size for step in range(7))


def test_a_step_reads_the_same_rows_whatever_was_read_before() -> None:
    order = Order(100, 7, seed=1)
    later = Order(100, 7, seed=1).indices(40)
    assert [order.indices(step) for step in range(41)][40] == later
    assert Order(100, 7, seed=2).indices(40) != later


def test_epochs_differ_and_steps_are_counted() -> None:
    order = Order(64, 8, seed=0)
    assert [row for s in range(8) for row in order.indices(s)] != [
        row for s in range(8, 16) for row in order.indices(s)
    ]
    assert (order.steps_per_epoch, order.steps(2.5), order.epoch(4)) == (8, 20, 0.5)
    assert Order(10, 4, seed=0).steps_per_epoch == 3


def test_length_hints_put_like_with_like() -> None:
    lengths = [i % 50 for i in range(1000)]
    spread = [
        max(lengths[i] for i in rows) - min(lengths[i] for i in rows)
        for order in (Order(1000, 10, 0), Order(1000, 10, 0, lengths))
        for rows in [order.indices(5)]
    ]
    assert spread[1] < spread[0] / 3


def test_senseless_sizes_are_refused() -> None:
    for bad in ({"n": 0, "batch_size": 1}, {"n": 1, "batch_size": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            Order(**bad, seed=0)
    with pytest.raises(ValueError, match="2 lengths for 3"):
        Order(3, 1, 0, [1, 2])
    with pytest.raises(ValueError, match="at least 0"):
        Order(3, 1, 0).indices(-1)
