"""What one person's judgements were worth: against the other raters and the hidden taste, on the same pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from tutelage.labelers.simulated import Taste
from tutelage.statistics.intervals import wilson
from tutelage.store.store import Store
from tutelage.store.work import Work
from tutelage.types import Comparison, Judgement


@dataclass(frozen=True)
class Share:
    """How often two preferences were the same.

    Example:
        >>> share([True, True, False]).value
        0.6666666666666666
    """

    same: int
    of: int
    """Where both preferred one of the two answers: a tie says nothing about who is right."""
    value: float | None
    """None: there was nothing to compare."""
    low: float | None
    """Wilson's interval, 95%."""
    high: float | None


@dataclass(frozen=True)
class Worth:
    """A person's judgements of pairs, and what others said of the same pairs."""

    rater: str
    judged: int
    ties: int
    skipped: int
    with_others: Share
    """each of theirs against each of the others' on the same pair"""
    with_taste: Share
    """theirs against the hidden taste"""
    others_together: Share
    """the others among themselves"""
    others_with_taste: Share
    """the others, taken together, against the hidden taste"""

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)

    def lines(self) -> list[str]:
        """In words."""
        if not self.judged:
            return [f"{self.rater}: no pair judged"]
        return [
            f"{self.rater}: {self.judged} pairs judged ({self.ties} ties, {self.skipped} skipped)",
            f"  as the other raters: {said(self.with_others)}; they among themselves: {said(self.others_together)}",
            f"  as the hidden taste: {said(self.with_taste)}; the other raters: {said(self.others_with_taste)}",
        ]


def worth(store: Store, project: str, rater: str, taste: Taste) -> Worth:
    """Compare what `rater` said of pairs with the others and with `taste`; where somebody tied nothing is compared.

    Raters who are excluded and the known answers of `gold` are not among the others.
    """
    asked = {one.id: one for one in store.comparisons(project, ("pair",))}
    out = store.left_out(project) - {rater}
    given = [
        one for one in store.judgements(project, everybody=True) if one.comparison in asked and one.rater not in out
    ]
    own = {one.comparison: _choice(one) for one in given if one.rater == rater}
    others: dict[str, list[int]] = {question: [] for question in own}
    for one in given:
        if one.rater != rater and one.comparison in own:
            others[one.comparison].append(_choice(one))
    better = {question: _better(asked[question], taste) for question in own}
    skipped = [row for row in Work(store.database).skipped(project) if row["rater"] == rater]
    return Worth(
        rater,
        len(own),
        sum(choice == 0 for choice in own.values()),
        len({row["question"] for row in skipped} - set(own)),
        _alike((own[question], other) for question, said_ in others.items() for other in said_),
        _alike((choice, better[question]) for question, choice in own.items()),
        _alike(pair for said_ in others.values() for pair in combinations(said_, 2)),
        _alike((other, better[question]) for question, said_ in others.items() for other in said_),
    )


def said(one: Share | Mapping[str, Any]) -> str:
    """`14 of 16 (88%, 95% interval 64% to 97%)`."""
    told = asdict(one) if isinstance(one, Share) else one
    if told["value"] is None:
        return "nothing to compare"
    return f"{told['same']} of {told['of']} ({told['value']:.0%}, 95% interval {told['low']:.0%} to {told['high']:.0%})"


def share(alike: Sequence[bool]) -> Share:
    """The share of True."""
    found = wilson(sum(alike), len(alike))
    return Share(sum(alike), len(alike), *((None, None, None) if found is None else found))


def _alike(choices: Iterable[tuple[int, int]]) -> Share:
    return share([one == two for one, two in choices if one and two])


def _choice(judgement: Judgement) -> int:
    """+1: the first is better, −1: the second, 0: neither."""
    first, second = judgement.ranks
    return 0 if judgement.both_bad else (second > first) - (second < first)


def _better(asked: Comparison, taste: Taste) -> int:
    first, second = (float(taste(asked.prompt.meta, one.text)["overall"]) for one in asked.candidates)
    return (first > second) - (first < second)
