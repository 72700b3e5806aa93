"""Over-optimisation: when the reward still rises while a score that is not trained on falls (Gao et al. 2022).

A *look* is the mean reward and the mean watched score of one answer to each held-out prompt, the same prompts and draws
every time. Both are smoothed: the mean of the last three looks. The best look is the one of highest smoothed watched
score. A look is bad if, against the best look,

    the smoothed reward is higher   and   the smoothed watched score is lower by more than 2 standard errors

(of the watched score's mean over prompts; that the prompts are the same makes this cautious). After `patience` bad
looks in a row the reward is over-optimised (2210.10760, §3: gold turns over while the proxy goes on).

A run that ends between two looks gets a last one, so that the best of all its models is chosen. Should it be asked for
more later, that look is forgotten again: what a run becomes must not depend on where it was once meant to end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from tutelage.algorithms import WatchRule
from tutelage.train.health import Alarm

_SMOOTH = 3
_ERRORS = 2.0


@dataclass(frozen=True)
class Look:
    """One look, smoothed."""

    step: int
    reward: float
    watched: float


class Guard:
    """Remembers the looks of a run and says when it should end, and which step was the best.

    Example:
        >>> guard = Guard(WatchRule(every=10, patience=1, action="stop"))
        >>> guard.observe(10, {"eval/reward": 1.0, "eval/gold": 0.7, "eval/gold_se": 0.01})
        >>> guard.observe(20, {"eval/reward": 3.0, "eval/gold": 0.1, "eval/gold_se": 0.01}).name
        'over-optimised'
    """

    def __init__(self, rule: WatchRule) -> None:
        self.rule = rule
        self._looks: list[list[float]] = []
        self._bests: list[list[float]] = []
        self._bad = 0
        self._verdict: str | None = None
        self._before_last: dict[str, Any] | None = None
        """what was known before a last look off the beat"""

    @property
    def best(self) -> Look | None:
        """The look of highest smoothed watched score so far, the first of several."""
        return _look(self._bests[-1]) if self._bests else None

    @property
    def rolls_back(self) -> bool:
        """Whether the model that the run leaves is the best one, and not the last."""
        return self.rule.action == "rollback"

    @property
    def spared(self) -> set[int]:
        """Steps whose checkpoints must stay: the best and, should a newer checkpoint be damaged, the one before it."""
        return {int(best[0]) for best in self._bests[-2:]} if self.rolls_back else set()

    @property
    def verdict(self) -> str | None:
        """Why the run should end, in words; None = go on."""
        return self._verdict if self.rule.action != "warn" else None

    def due(self, done: int) -> bool:
        """Whether to look after `done` steps."""
        return self.rule.every > 0 and done % self.rule.every == 0

    def observe(self, done: int, row: Mapping[str, float], *, ends: bool = False) -> Alarm | None:
        """Take in a look, if `row` holds `eval/reward` and `eval/gold` and one is due; answers the alarm, once.

        With a beat of its own only looks on it count, and the last: other evaluations may be asked for or not, as one
        likes.

        Args:
            ends: the run ends here, whatever is seen
        """
        numbers = [row.get("eval/reward", math.nan), row.get("eval/gold", math.nan), row.get("eval/gold_se", 0.0)]
        off = self.rule.every > 0 and not self.due(done)
        if not all(map(math.isfinite, numbers)) or (off and not ends):
            return None
        if off:
            self._before_last = self.state()
        self._looks.append([float(done), *numbers])
        recent = self._looks[-_SMOOTH:]
        now = [float(done), fmean(look[1] for look in recent), fmean(look[2] for look in recent)]
        if not self._bests or now[2] > self._bests[-1][2]:
            self._bests.append(now)
        best = self._bests[-1]
        bad = now[1] > best[1] and now[2] < best[2] - _ERRORS * numbers[2]
        self._bad = self._bad + 1 if bad else 0
        if self._verdict is not None or self._bad < self.rule.patience:
            return None
        verdict = (
            f"the reward is over-optimised: on held-out prompts it rose from {best[1]:.3f} to {now[1]:.3f} while the "
            f"watched score fell from {best[2]:.3f} at step {best[0]:.0f} to {now[2]:.3f}"
        )
        self._verdict = None if off else verdict  # off the beat the run ends for another reason
        return Alarm("over-optimised", done, verdict, _ADVICE)

    def reopen(self) -> None:
        """The run goes on after all: a last look off the beat never was."""
        if self._before_last is not None:
            self.restore(self._before_last)

    def state(self) -> dict[str, Any]:
        """Everything seen so far, as JSON."""
        seen = {"looks": list(self._looks), "bests": list(self._bests), "bad": self._bad, "verdict": self._verdict}
        return seen | {"before_last": self._before_last}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave."""
        self._looks = [list(look) for look in state["looks"]]
        self._bests = [list(best) for best in state["bests"]]
        self._bad, self._verdict = state["bad"], state["verdict"]
        self._before_last = state.get("before_last")


_ADVICE = "stop earlier (--on-over-optimisation rollback), raise --kl, or let people judge fresh answers"


def _look(numbers: list[float]) -> Look:
    return Look(int(numbers[0]), numbers[1], numbers[2])
