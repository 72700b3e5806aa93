"""A run without steps of an optimiser: something is fitted at once, in a run folder like any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from tutelage.train.run import Run


class Writable(Protocol):
    """What was fitted."""

    def save(self, folder: Path) -> None:
        """Write it as a model folder."""
        ...


class Fit:
    """Stands where an algorithm and its optimiser stand in other runs; nothing is trained by gradients.

    Args:
        work: fits; answers what was fitted and the numbers about it.
        measure: numbers of what was fitted on held-out rows, as `eval/…`.
    """

    def __init__(
        self, work: Callable[[], tuple[Writable, Mapping[str, float]]], measure: Callable[[Any], dict[str, float]]
    ) -> None:
        self.work, self.measure = work, measure
        self.fitted: Writable | None = None
        self.numbers: Mapping[str, float] = {}

    def fit(self) -> Mapping[str, float]:
        """Do it, once."""
        if self.fitted is None:
            self.fitted, self.numbers = self.work()
        return self.numbers

    def modules(self) -> dict[str, nn.Module]:
        return {}

    def texts(self) -> list[dict[str, Any]]:
        return []

    def stop(self) -> str | None:
        return None

    def evaluate(self) -> dict[str, float]:
        self.fit()
        return self.measure(self.fitted)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """A run that was stopped before its end fits anew: that takes seconds and gives the same."""

    def export(self, folder: Path) -> None:
        """Write what was fitted."""
        self.fit()
        assert self.fitted is not None
        self.fitted.save(folder)

    def tensors(self) -> dict[str, Tensor]:
        """An optimiser's moments: there are none."""
        return {}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Nothing to put back."""


def run_fit(run: Run, fit: Fit) -> None:
    """One step that does it all, then the model folder and its lineage."""
    run.resume(fit, fit)
    for step in run.steps():
        run.finish(step, fit, fit, fit.fit())
    run.complete(fit)
