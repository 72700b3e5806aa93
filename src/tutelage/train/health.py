"""The alarms: what the numbers of a run say, in plain words, with the way out.

Thresholds are those that practice has settled on: SFT on summaries (Stiennon et al. 2020), PPO (Ouyang et al. 2022;
Huang et al. 2024, "The N+ implementation details"), DPO (Rafailov et al. 2023). Where two of them differ, the laxer
one stands here: an alarm that cries wolf is read once.

The metrics that are looked at: `policy/kl` (summed over an answer, in nats) with `policy/kl_se`, `policy/approx_kl`,
`policy/sampled_gap`, `policy/clipped`, `policy/entropy`, `policy/stop_rate`, `policy/logp_chosen` (change since the
reference), `answer/length` (tokens), `reward/std`, `groups/zero_variance`, `reward/accuracy`,
`value/explained_variance`, `gradient/policy`, `preflight/ratio_error`, `loss`; and against each other the reward
and the gold score, `eval/reward` with `eval/gold` and `reward/mean` with `gold/mean`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from statistics import fmean, median
from typing import Any

from torch import Tensor

from tutelage.batches import TokenBatch

_WINDOW = 5
_MEMORY = 20
_GOLD_FALL = 0.03
"""of a score between 0 and 1"""


@dataclass(frozen=True)
class Alarm:
    """Something that goes wrong.

    Example:
        >>> Alarm("entropy", 40, "token entropy fell to 0.21, …", "raise the KL coefficient …")
    """

    name: str
    step: int
    message: str
    """what was seen, with the number and the threshold"""
    advice: str


@dataclass(frozen=True)
class Rule:
    """When a metric's recent mean is wrong."""

    name: str
    metric: str
    wrong: Callable[[float, Seen], bool]
    message: str
    """format string of `now` (mean of the last values), `first` (mean of the first ones) and `limit`"""
    advice: str
    limit: float
    window: int = _WINDOW
    """how many values in a row make an alarm"""
    at_once: bool = False
    """looked at on the first batch only: what is wrong there was wrong before training began"""


@dataclass(frozen=True)
class Seen:
    """What a rule may look at beside the recent mean."""

    first: float
    """mean of the run's first values of this metric"""
    typical: float
    """median of the values before"""
    limit: float
    part: float
    """share of the run that is done, 0–1"""
    row: Mapping[str, float]
    """all metrics of this step"""


RULES = (
    Rule(
        "reward-constant", "reward/std", lambda now, seen: now < seen.limit,
        "all answers of a batch get the same reward (standard deviation {now:.2g}), from the first batch on",
        "nothing can be learned from it: check the reward source, the sampling temperature and --max-new-tokens",
        1e-6, 1, at_once=True,
    ),
    Rule(
        "stop-rate", "policy/stop_rate", lambda now, seen: now <= seen.limit,
        "{now:.0%} of the first answers end by themselves",
        "the model was never taught its stop token (`tutelage sft` does it; look at `tutelage data inspect`), or "
        "--max-new-tokens is too small", 0.02, 1, at_once=True,
    ),
    Rule(
        "zero-groups", "groups/zero_variance", lambda now, seen: now >= seen.limit,
        "in {now:.0%} of the first groups all answers get the same reward",
        "nothing can be learned from them: check the reward source, choose harder or easier prompts, or more answers "
        "per prompt", 0.999, 1, at_once=True,
    ),
    Rule(
        "labels-swapped", "eval/accuracy",
        lambda now, seen: (  # before the first step a new head ranks by chance, all pairs alike
            seen.part > 0 and now < 0.5 - max(seen.limit, 1.5 * seen.row.get("eval/pairs", 25.0) ** -0.5)
        ),
        "only {now:.0%} of the held-out pairs are ranked as people did, clearly fewer than by guessing",
        "chosen and rejected are swapped in one of the two files (or the reward's sign is): `tutelage data check`",
        0.1, 1,
    ),
    Rule(
        "kl-negative", "policy/kl",
        lambda now, seen: now < -seen.limit * max(seen.row.get("policy/kl_se", 0.0), 0.1),
        "the sequence KL to the reference is {now:.3f} nats, below zero by more than {limit:.0f} standard errors",
        "KL cannot be negative: sampling is truncated (top_p, top_k) or the mask is wrong", 3.0, 3,
    ),
    Rule(
        "kl-high", "policy/kl", lambda now, seen: now > seen.limit,
        "the sequence KL to the reference is {now:.1f} nats (usual: 2 to 20)",
        "raise the KL coefficient or lower --learning-rate; compare held-out quality with the reward", 30.0,
    ),
    Rule(
        "ratio", "preflight/ratio_error", lambda now, seen: now > seen.limit,
        "before the first update the probability ratio differs from 1 by {now:.2g} (limit {limit:g})",
        "sampler and trainer disagree: check temperature, dropout, truncation of sampling, stale weights", 0.01, 1,
    ),
    Rule(
        "sampled-gap", "policy/sampled_gap", lambda now, seen: now > seen.limit,
        "sampling and training give a token log-probabilities that lie {now:.2f} nats apart (limit {limit:g})",
        "what is sampled is not what is learned from: go on with --engine plain, and report the model's config.json",
        1.0, 3,
    ),
    Rule(
        "approx-kl", "policy/approx_kl", lambda now, seen: now > seen.limit,
        "one update moves the policy by {now:.3f} nats per token (usual: 0.001 to 0.02)",
        "lower --learning-rate or the number of epochs per batch", 0.1, 3,
    ),
    Rule(
        "clip-fraction", "policy/clipped", lambda now, seen: now > seen.limit,
        "{now:.0%} of the tokens are clipped (limit {limit:.0%})",
        "lower --learning-rate", 0.3, 3,
    ),
    Rule(
        "entropy", "policy/entropy", lambda now, seen: now < seen.limit * seen.first,
        "token entropy fell from {first:.3f} to {now:.3f}, below {limit:.0%} of the start",
        "the policy repeats itself: raise the KL coefficient, and read samples.jsonl for reward hacking", 0.3,
    ),
    Rule(
        "stop-rate", "policy/stop_rate", lambda now, seen: now < seen.limit,
        "only {now:.0%} of the answers end by themselves (wanted: 95%)",
        "check that the stop token is trained (`tutelage data inspect`), raise max_new_tokens or the missing-stop "
        "penalty", 0.8,
    ),
    Rule(
        "length", "answer/length",
        lambda now, seen: not seen.first / (1 + seen.limit) <= now <= seen.first * (1 + seen.limit),
        "answers went from {first:.1f} to {now:.1f} tokens on average",
        "read samples.jsonl: a reward that can be had by length is being hacked; add a length penalty or mend the "
        "reward model", 0.6,
    ),
    Rule(
        "reward-constant", "reward/std", lambda now, seen: now < seen.limit,
        "all answers of a batch get the same reward (standard deviation {now:.2g})",
        "nothing can be learned from it: check the reward source and the sampling temperature", 1e-6, 3,
    ),
    Rule(
        "zero-groups", "groups/zero_variance", lambda now, seen: now > seen.limit,
        "in {now:.0%} of the groups all answers get the same reward",
        "choose harder or easier prompts, or more answers per prompt", 0.5,
    ),
    Rule(
        "value", "value/explained_variance", lambda now, seen: seen.part > 0.3 and now < seen.limit,
        "the critic explains less than nothing of the returns ({now:.2f})",
        "check the critic's learning rate and the scale of the reward", -0.1, 10,
    ),
    Rule(
        "multiplier-swings", "cost/swings", lambda now, seen: now >= seen.limit,
        "the multiplier has turned round {now:.0f} times by a factor of 2 or more within 64 steps",
        "lower --multiplier-rate, or raise --cost-memory: harm's price chases its own noise", 4.0, 1,
    ),
    Rule(
        "multiplier-highest", "cost/multiplier_share",
        lambda now, seen: now >= seen.limit and seen.row.get("cost/excess", 1.0) > 0,
        "the multiplier stands at {now:.0%} of its highest value, and the mean cost still lies above its limit",
        "raise --cost-limit, --multiplier-max or --learning-rate: at this price the limit is not met", 0.999, 10,
    ),
    Rule(
        "accuracy", "reward/accuracy", lambda now, seen: seen.part < 0.3 and now >= seen.limit,
        "every pair is already right after {part:.0%} of the run",
        "too good: the answer leaks (marker, length, order), test rows are in training, or the reference is wrong",
        0.999, 10,
    ),
    Rule(
        "chosen-falls", "policy/logp_chosen", lambda now, seen: now < seen.limit,
        "the chosen answers became less likely by {now:.1f} nats",
        "add an SFT term, lower --learning-rate or raise beta", -10.0,
    ),
    Rule(
        "gradient", "gradient/policy", lambda now, seen: seen.part > 0.2 and now > seen.limit * seen.typical > 0,
        "the gradient norm is {now:.3g}, {limit:.0f} times its usual size",
        "one batch is unlike the others: look at its rows, or lower --max-grad-norm", 20.0, 1,
    ),
    Rule(
        "loss-rises", "loss",
        lambda now, seen: (  # a policy gradient's loss is no distance from anything: it may rise while all is well
            "loss/policy" not in seen.row and seen.first > 0 and now > seen.limit * seen.first + 0.1
        ),
        "the loss rose from {first:.3f} to {now:.3f}",
        "lower --learning-rate or lengthen --warmup", 1.5,
    ),
)  # fmt: skip


class Health:
    """Watches the metrics of a run; each alarm is raised once.

    Example:
        >>> health = Health(total=100)
        >>> health.check(1, {"policy/kl": -2.0})  # three in a row make the alarm
        []
    """

    def __init__(self, total: int, rules: tuple[Rule, ...] = RULES) -> None:
        self.total, self.rules = total, rules
        self.raised: list[Alarm] = []
        self._values: dict[str, list[float]] = {}
        self._first: dict[str, list[float]] = {}
        self._golds: dict[str, list[list[float]]] = {}

    def check(self, step: int, metrics: Mapping[str, float]) -> list[Alarm]:
        """The new alarms after `step` steps done."""
        row = {name: value for name, value in metrics.items() if math.isfinite(value)}
        for name in ({rule.metric for rule in self.rules} | {"reward/mean", "gold/mean"}) & row.keys():
            self._values[name] = [*self._values.get(name, []), row[name]][-_MEMORY:]
            if len(first := self._first.setdefault(name, [])) < _WINDOW:
                first.append(row[name])
        fresh = [alarm for rule in self.rules if (alarm := self._judge(rule, step, row))]
        if "eval/gold_se" not in row:  # where the error is known, the guard judges
            fresh += self._over_optimised("held out", step, row.get("eval/reward"), row.get("eval/gold"))
        if step % _MEMORY == 0:
            means = {name: fmean(values) for name, values in self._values.items()}
            fresh += self._over_optimised("in training", step, means.get("reward/mean"), means.get("gold/mean"))
        known = {alarm.name for alarm in self.raised}
        fresh = [alarm for alarm in fresh if alarm.name not in known]
        self.raised += fresh
        return fresh

    def add(self, alarm: Alarm) -> list[Alarm]:
        """Take in an alarm that another rule raised; answers it if its name is new."""
        if alarm.name in {known.name for known in self.raised}:
            return []
        self.raised.append(alarm)
        return [alarm]

    def state(self) -> dict[str, Any]:
        """Everything seen so far, as JSON."""
        return {
            "raised": [{field.name: getattr(alarm, field.name) for field in fields(alarm)} for alarm in self.raised],
            "values": self._values,
            "first": self._first,
            "golds": self._golds,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave."""
        self.raised = [Alarm(**alarm) for alarm in state["raised"]]
        self._values = {name: list(values) for name, values in state["values"].items()}
        self._first = {name: list(values) for name, values in state["first"].items()}
        self._golds = {where: [list(point) for point in points] for where, points in state["golds"].items()}

    def _judge(self, rule: Rule, step: int, row: Mapping[str, float]) -> Alarm | None:
        values = self._values.get(rule.metric, [])
        if rule.metric not in row or len(values) < rule.window or (rule.at_once and step > 1):
            return None
        now, first, part = fmean(values[-rule.window :]), fmean(self._first[rule.metric]), step / self.total
        typical = median(values[:-1]) if len(values) > _WINDOW else math.inf
        seen = Seen(first, typical, rule.limit, part, row)
        if not rule.wrong(now, seen):
            return None
        message = rule.message.format(now=now, first=first, limit=rule.limit, part=part)
        return Alarm(rule.name, step, message, rule.advice)

    def _over_optimised(self, where: str, step: int, reward: float | None, gold: float | None) -> list[Alarm]:
        """The reward rises while the gold score that it stands for falls (Gao et al. 2023)."""
        if reward is None or gold is None:
            return []
        points = self._golds.setdefault(where, [])
        points.append([step, reward, gold])
        best = max(points, key=lambda point: point[2])
        if gold > best[2] - _GOLD_FALL or reward <= best[1]:
            return []
        message = (
            f"{where}, the reward still rises ({best[1]:.3f} to {reward:.3f}) while the gold score falls "
            f"({best[2]:.3f} at step {best[0]:.0f} to {gold:.3f})"
        )
        advice = "stop earlier, raise the KL coefficient, or let people judge fresh answers"
        return [Alarm("over-optimised", step, message, advice)]


def culprit(batch: Any) -> str:
    """A batch as numbers only (no text): what to attach to a DivergedError with `add_note`.

    Works on any of the dataclasses of `batches.py`.
    """
    lines = [f"{type(batch).__name__} of {len(batch)}, sizes {batch.sizes()[:16]}"]
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, TokenBatch):
            lines.append(f"  {field.name}: {value.answer_lengths.tolist()[:16]} learned tokens")
        elif isinstance(value, Tensor) and value.numel():
            lines.append(f"  {field.name}: {_statistics(value)}")
    return "\n".join(lines)


def _statistics(value: Tensor) -> str:
    numbers = value.detach().double()
    good = numbers[numbers.isfinite()]
    spread = f"min {good.min():.4g} mean {good.mean():.4g} max {good.max():.4g}" if len(good) else "no finite value"
    return f"{tuple(value.shape)} {spread}, {value.numel() - len(good)} not finite"
