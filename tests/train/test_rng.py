"""The state of the global generators as JSON."""

from __future__ import annotations

import json
import random

import numpy
import torch

from tutelage.train import rng


def draws() -> list[float]:
    return [
        random.random(),
        random.gauss(),
        float(numpy.random.rand()),
        float(numpy.random.randn()),
        float(torch.rand(())),
    ]


def test_after_restoring_the_same_numbers_come() -> None:
    with rng.untouched():
        draws()
        kept = json.loads(json.dumps(rng.capture()))
        first = draws()
        draws()
        rng.restore(kept)
        assert draws() == first


def test_an_untouched_block_leaves_no_trace() -> None:
    with rng.untouched():
        rng.seed(3)
        expected = draws()
        rng.seed(3)
        with rng.untouched():
            draws()
        assert draws() == expected
