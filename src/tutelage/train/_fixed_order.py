"""`--deterministic`: a run whose sums have a fixed order, and one clear error for what has none."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from tutelage.errors import UsageError
from tutelage.ops.determinism import deterministic

_REFUSAL = "use_deterministic_algorithms(True)"
"""What stands in every refusal of PyTorch's."""


@contextmanager
def fixed_order(wanted: bool) -> Generator[None, None, None]:
    """While it lasts, where `wanted`, PyTorch sums in a fixed order.

    Raises:
        UsageError: PyTorch refused what it cannot compute so.
    """
    try:
        with deterministic(wanted):
            yield
    except RuntimeError as error:
        if not wanted or _REFUSAL not in str(error):
            raise
        raise UsageError(
            f"PyTorch cannot compute all of this run in a fixed order: {str(error).partition(', but')[0]}",
            where="--deterministic",
            fix="leave it out, or add --device cpu, where runs repeat to the bit without it",
        ) from error
