"""Lets the tests of the training room, and the processes they start, import the toy learner."""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Starts real processes that have torch loaded already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["torch", "safetensors.torch", "tutelage.train.run", "tensorboard.compat.proto.event_pb2", "torch._dynamo"]
    )
    return context
