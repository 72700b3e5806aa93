"""`tutelage reward --kind ridge …`: a classical reward in a run folder, without a neural network and in seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tutelage.data import formats
from tutelage.data._labels import barren, require_lesson
from tutelage.data.check import leaked
from tutelage.errors import UsageError
from tutelage.labelers._database import is_database
from tutelage.rewards import classical
from tutelage.rewards._examples import examples, readable
from tutelage.toolbox import Given, Say
from tutelage.train.fit import Fit, run_fit
from tutelage.train.run import Run


def fit(config: Any, run: AbstractContextManager[Run], say: Say, given: Given | None) -> Path:
    """Fit, export and finish; on a folder that is done already, nothing."""
    with run as opened:
        if opened.done:
            opened.say(f"already complete: {config.out}")
            return Path(config.out)
        work = _Work(config, opened.say, given)
        run_fit(opened, Fit(work.fit, work.measure))
        say(work.sentence())
    return Path(config.out)


def rehearse(config: Any, say: Say, given: Given | None) -> Path:
    """Read and check the rows, and stop."""
    found = examples(_Work(config, say, given, rehearsing=True).rows(), classical.KINDS[config.kind][1] or "auto")
    say(f"dry run: {config.kind} would learn from {len(found)} judgements of {len(found.answers)} answers")
    return Path(config.out)


class _Work:
    """Rows in, a fitted reward and its numbers out."""

    def __init__(self, config: Any, say: Say, given: Given | None, *, rehearsing: bool = False) -> None:
        self.rehearsing = rehearsing
        self.config, self.say, self.given = config, say, given
        self.fitted: classical.Fitted | None = None
        self.learned: Sequence[Any] = ()
        self.held_out: Mapping[str, float] = {}

    def rows(self) -> Sequence[Any]:
        """What is learned from."""
        if self.config.ensemble > 1 or self.config.aspects:
            raise UsageError(f"--kind {self.config.kind} has one head", fix="leave --ensemble and --aspects out")
        given = self.given.rows if self.given else None
        rows = self._load(self.config.data) if given is None else given
        require_lesson(rows, self.config.data)
        return rows

    def fit(self) -> tuple[classical.Fitted, Mapping[str, float]]:
        self.learned = self.rows()
        self.fitted = classical.fit(self.config.kind, self.learned, self.config.model)
        return self.fitted, self.fitted.report

    def measure(self, fitted: classical.Fitted) -> dict[str, float]:
        if not self.config.eval_data:
            return {}
        rows = self._load(self.config.eval_data)
        if reason := barren(rows):
            self.say(f"{self.config.eval_data}: {reason}, and nothing is measured on them")
        if seen := leaked(self.learned, rows):
            self.say(f"{len(seen)} of {len(rows)} prompts of --eval-data are learned on too: eval/… will flatter")
        self.held_out = classical.held_out(fitted, rows)
        return dict(self.held_out)

    def sentence(self) -> str:
        """What cross-validation chose, beside what length alone would do; then the same on `--eval-data`."""
        if self.fitted is None:
            return f"{self.config.kind}: fitted before"
        told = self.fitted.report
        unit = {"score": "R²", "class": "accuracy of good or bad"}.get(self.fitted.target, "accuracy")
        return (
            f"{self.config.kind}: cross-validated {unit} {told['cv/score']:.3f} ± {told['cv/score_se']:.3f}, "
            f"by length alone {told['cv/length_only']:.3f}; strength {told['cv/strength']:g} chosen among "
            f"{told['cv/tried']:.0f} by folds of whole prompts{self._kernel()}{self._beyond()}"
        )

    def _beyond(self) -> str:
        """On rows that nothing was chosen by; empty where there are none."""
        if "eval/accuracy" not in self.held_out:
            return ""
        found, length = self.held_out["eval/accuracy"], self.held_out.get("eval/length_only")
        beside = "" if length is None else f", by length alone {length:.3f}"
        return f"; on {self.config.eval_data}: {found:.3f} of pairs in the right order{beside}"

    def _kernel(self) -> str:
        count = self.fitted.report["fit/landmarks"] if self.fitted else 0
        return f"; kernel approximated through {count:.0f} answers (Nyström), since there are many" if count else ""

    def _load(self, paths: str) -> Sequence[Any]:
        if is_database(paths):
            from tutelage.labelers._feedback import load as feedback

            folder = None if self.rehearsing else Path(self.config.out)
            loaded: Any = feedback(paths, "preference", on_bad=self.config.on_bad, ties=True, folder=folder)
        else:
            kind = readable(formats.detect_kind(paths))
            loaded = formats.load(paths, kind, on_bad=self.config.on_bad, ties=True)
        for note in loaded.report.lines():
            self.say(note)
        return loaded
