"""A reward model without a neural network: ridge regression or a support vector machine on features of the text.

    rows → examples → features → folds of whole prompts choose the strength → fit on all → folder → `score`

200 judgements are enough, in seconds. `classical.json` in a folder says that it is one; there is no pickle in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tutelage.batches import Scores
from tutelage.errors import DataError, UsageError
from tutelage.rewards._base import RewardSource
from tutelage.rewards._examples import Examples, Target, examples
from tutelage.rewards._features import BUCKETS, PLAIN, Reader, Said, Scaling, embedder
from tutelage.rewards._fitting import choose, ordered, solve
from tutelage.rewards._machines import Machine, landmarks
from tutelage.types import Sample, plain

FORMAT = 1
MARK = "classical.json"
ARRAYS = "classical.safetensors"
KINDS: dict[str, tuple[str, Target | None]] = {
    "ridge": ("ridge", None),
    "svm": ("svm", None),
    "svm-rbf": ("svm-rbf", None),
    "svm-class": ("svm", "class"),
    "svm-class-rbf": ("svm-rbf", "class"),
    "svm-pair": ("svm", "pair"),
    "svm-pair-rbf": ("svm-rbf", "pair"),
}
"""kind → (machine, what it learns; None = what the rows say: scores, two classes, or pairs)"""


@dataclass(frozen=True)
class Fitted:
    """A machine with all that it needs to score a text."""

    kind: str
    target: Target
    scaling: Scaling
    machine: Machine
    center: float
    """mean of its raw scores of the training answers"""
    spread: float
    """their standard deviation"""
    report: Mapping[str, float]
    """what cross-validation saw"""
    model: str = ""
    """policy folder whose hidden states are features too; "" = none"""

    def save(self, folder: Path) -> None:
        """Write `classical.json` and `classical.safetensors`."""
        told = {name: getattr(self, name) for name in ("kind", "target", "center", "spread", "model")}
        told |= {"format": FORMAT, "report": dict(self.report), "plain": list(PLAIN), "buckets": BUCKETS}
        told |= {"intercept": self.machine.intercept, "gamma": self.machine.gamma}
        arrays = {"weights": self.machine.weights}
        for name in self.scaling.scale:
            arrays |= {f"mean.{name}": self.scaling.mean[name], f"scale.{name}": self.scaling.scale[name]}
        if (support := self.machine.support) is not None:
            arrays |= {f"support.{name}": np.asarray(getattr(support, name)) for name in ("data", "indices", "indptr")}
            told["support"] = list(support.shape)
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / ARRAYS)
        (folder / MARK).write_text(json.dumps(told, indent=1, allow_nan=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Fitted:
        """What `save` wrote.

        Raises:
            DataError: the folder is not what was written, or of another version of the features.
        """
        try:
            told = json.loads((folder / MARK).read_bytes())
            arrays = load_file(folder / ARRAYS)
            if (told["format"], told["plain"], told["buckets"]) != (FORMAT, list(PLAIN), BUCKETS):
                raise DataError("this reward reads other features than this version makes", where=str(folder))
            names = [name.removeprefix("scale.") for name in arrays if name.startswith("scale.")]
            order = [name for name in ("characters", "words", "plain", "embedding") if name in names]
            scaling = Scaling(
                {name: arrays[f"mean.{name}"] for name in order}, {name: arrays[f"scale.{name}"] for name in order}
            )
            machine = Machine(arrays["weights"], told["intercept"], _support(told, arrays), told["gamma"])
            rest = {name: told[name] for name in ("kind", "target", "center", "spread", "report", "model")}
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"not the reward that was written here: {error}", where=str(folder), fix="fit it again"
            ) from error
        return cls(scaling=scaling, machine=machine, **rest)


class Classical(RewardSource):
    """(w·x + b − center) / spread: on the training answers mean 0 and standard deviation 1, whatever was learned."""

    def __init__(self, fitted: Fitted) -> None:
        self.fitted = fitted
        self.reader = Reader(embedder(fitted.model) if fitted.model else None)

    @classmethod
    def load(cls, folder: str | Path) -> Classical:
        """From a run folder or the `model/` in it."""
        found = folder_of(str(folder))
        if found is None:
            raise DataError(f"there is no {MARK}", where=str(folder), fix="tutelage reward --kind ridge …")
        return cls(Fitted.load(found))

    def score(self, samples: Sequence[Sample]) -> Scores:
        value = torch.from_numpy(self.of([(plain(sample.prompt.content), sample.text) for sample in samples])).float()
        return Scores(value, {"classical": value})

    def of(self, said: Sequence[Said]) -> NDArray[np.float64]:
        """float64 [n]: the scores of (prompt, answer)."""
        if not said:
            return np.zeros(0)
        raw = self.fitted.machine(self.fitted.scaling(self.reader(said)))
        return (raw - self.fitted.center) / self.fitted.spread


def folder_of(path: str) -> Path | None:
    """Where a classical reward lies: `path` or `path`/model; None if `path` is something else."""
    places = (Path(path), Path(path) / "model")
    try:
        return next((place for place in places if (place / MARK).is_file()), None)
    except OSError:  # a sum of sources, longer than any file's name
        return None


def fit(kind: str, rows: Sequence[Any], model: str = "") -> Fitted:
    """Learn from preferences, rankings, ratings or good/bad rows.

    Args:
        kind: one of KINDS.
        model: a policy folder whose mean hidden states become features too.

    Raises:
        UsageError: an unknown kind. DataError: nothing can be learned from the rows.
    """
    if kind not in KINDS:
        raise UsageError(f"'{kind}' is no classical reward", fix=f"choices: {', '.join(KINDS)}")
    machine, target = KINDS[kind]
    found = examples(rows, target or "auto")
    blocks = Reader(embedder(model) if model else None)(found.answers)
    chosen = choose(machine, blocks, found)
    baseline = choose("ridge", blocks.only_length(), found)
    scaling = Scaling.of(blocks.take(found.used))
    X = scaling(blocks)
    solved = solve(machine, X, found, chosen.strength, scaling.variance(blocks.take(found.used)))
    raw = solved(X)
    report = {
        "cv/score": chosen.score,
        "cv/score_se": chosen.error,
        "cv/length_only": baseline.score,
        "cv/accuracy": chosen.accuracy,
        "cv/accuracy_length_only": baseline.accuracy,
        "cv/strength": chosen.strength.value,
        "cv/width": chosen.strength.width,
        "cv/tried": float(chosen.tried),
        "fit/landmarks": float(landmarks(machine, found)),
        "fit/accuracy": ordered(raw, found),
        "data/judgements": float(len(found)),
        "data/answers": float(len(found.answers)),
        "data/prompts": float(len(set(found.group.tolist()))),
    }
    report = {name: value for name, value in report.items() if np.isfinite(value)}
    return Fitted(kind, found.target, scaling, solved, float(raw.mean()), float(raw.std()) or 1.0, report, model)


def held_out(fitted: Fitted, rows: Sequence[Any]) -> dict[str, float]:
    """Pairs of rows that were not learned from in the right order, beside those that the longer answer wins."""
    found: Examples = examples(rows)
    reader = Classical(fitted)
    scores = reader.of(found.answers)
    length = np.array([float(len(answer)) for _, answer in found.answers])
    longer = ordered(length, found)
    told = {"eval/accuracy": ordered(scores, found), "eval/length_only": max(longer, 1 - longer)}
    return {name: value for name, value in told.items() if np.isfinite(value)} | {"eval/judgements": float(len(found))}


def _support(told: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Any:
    import scipy.sparse as sp

    if "support" not in told:
        return None
    parts = tuple(arrays[f"support.{name}"] for name in ("data", "indices", "indptr"))
    return sp.csr_matrix(parts, shape=tuple(told["support"]))
