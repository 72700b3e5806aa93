"""Weights of pairs: how a batch is cut changes nothing, even where a part holds only pairs that count for nothing."""

from __future__ import annotations

import torch

from tutelage.algorithms._pairs import weighted_mean


def test_a_part_whose_pairs_count_for_nothing_leaves_the_whole_as_it_is() -> None:
    each, weight = torch.tensor([3.0, 1.0, 2.0], requires_grad=True), torch.tensor([0.0, 1.0, 0.5])
    parts = [weighted_mean(each[i : i + 1], weight[i : i + 1]) * weight[i] for i in range(3)]
    joined = sum(parts) / weight.sum()
    torch.testing.assert_close(joined, weighted_mean(each, weight))
    joined.backward()
    torch.testing.assert_close(each.grad, weight / weight.sum())
