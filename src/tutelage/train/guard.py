"""Over-optimisation: when the reward still rises while a score that is not trained on falls (Gao et al. 2022).

A *look* is the mean reward and the mean watched score of one answer to each held-out prompt, the same prompts and draws
every time. Both are smoothed: the mean of the last three looks. The best look is the one of highest smoothed watched
score. A look is bad if, against the best look,

    the smoothed reward is higher   and   the smoothed watched score is lower by more than 2 standard errors

(of the watched score's mean over prompts; that the prompts are the same makes this cautious). After `patience` bad
looks in a row the reward is over-optimised (2210.10760, §3: gold turns over while the proxy goes on).
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

    def observe(self, done: int, row: Mapping[str, float]) -> Alarm | None:
        """Take in a look, if `row` holds `eval/reward` and `eval/gold` and one is due; answers the alarm, once.

        With a beat of its own only looks on it count: other evaluations may be asked for or not, as one likes.
        """
        numbers = [row.get("eval/reward", math.nan), row.get("eval/gold", math.nan), row.get("eval/gold_se", 0.0)]
        if not all(map(math.isfinite, numbers)) or (self.rule.every and not self.due(done)):
            return None
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
        self._verdict = (
            f"the reward is over-optimised: on held-out prompts it rose from {best[1]:.3f} to {now[1]:.3f} while the "
            f"watched score fell from {best[2]:.3f} at step {best[0]:.0f} to {now[2]:.3f}"
        )
        return Alarm("over-optimised", done, self._verdict, _ADVICE)

    def state(self) -> dict[str, Any]:
        """Everything seen so far, as JSON."""
        return {"looks": self._looks, "bests": self._bests, "bad": self._bad, "verdict": self._verdict}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave."""
        self._looks = [list(look) for look in state["looks"]]
        self._bests = [list(best) for best in state["bests"]]
        self._bad, self._verdict = state["bad"], state["verdict"]


_ADVICE = "stop earlier (--on-over-optimisation rollback), raise --kl, or let people judge fresh answers"


def _look(numbers: list[float]) -> Look:
    return Look(int(numbers[0]), numbers[1], numbers[2])
