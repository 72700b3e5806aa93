"""What the raters of a project say together, how far each can be believed, and how well they agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from tutelage.labelers._quality import GOLD, adjudication, agreement, rater_quality
from tutelage.statistics.intervals import FEWEST, Interval, Weights, bootstrap, wilson
from tutelage.statistics.quality import RaterQuality
from tutelage.statistics.ranking import Battle, bradley_terry
from tutelage.statistics.raters import PairModel, PairRater, believe_everyone, believe_raters
from tutelage.store.checks import Checks, checks
from tutelage.store.store import Store
from tutelage.store.votes import Vote, overall, pair_votes, pooled
from tutelage.types import Comparison, Judgement

Weighting = Literal["reliability", "none"]


@dataclass(frozen=True)
class Consensus:
    """A project read once: its questions, judgements, votes and what the votes say together."""

    comparisons: list[Comparison]
    judgements: list[Judgement]
    votes: list[Vote]
    model: PairModel
    raters: Mapping[str, PairRater]
    """how far each can be believed: learned from all that was said about two answers, as exports learn it"""
    gold: Mapping[str, int] = field(default_factory=dict[str, int])
    """item → the known choice, as the rater `gold` told it"""
    decided: frozenset[str] = frozenset()
    """questions whose answer is known, whatever their kind"""
    left_out: frozenset[str] = frozenset()
    """raters whose judgements are here to be looked at, and say nothing of the others'"""

    @property
    def weights(self) -> dict[str, float]:
        """rater → 0 (tells nothing, or is left out) to 1 (never wrong)"""
        return {name: 0.0 if name in self.left_out else rater.weight for name, rater in self.raters.items()}


def consensus(
    store: Store,
    project: str = "default",
    weighting: Weighting = "reliability",
    *,
    pool: bool = True,
    gap: float = 0.5,
    at: float | None = None,
    without: Collection[str] = (),
) -> Consensus:
    """Read a project and estimate what is true of each pair of answers.

    Args:
        weighting: `reliability` learns from their votes how far each rater can be believed; `none` counts heads.
        pool: believe all that was said about two answers together; False keeps questions apart. How far each rater can
            be believed is learned from all of it either way.
        gap: difference of mean scores (0–5) below which two answers are tied.
        at: as it was at that time (seconds since 1970).
        without: raters whose judgements are left out.
    """
    comparisons, judgements = store.comparisons(project), store.judgements(project, at, everybody=True)
    judgements = [judgement for judgement in judgements if judgement.rater not in without]
    apart = pair_votes(comparisons, judgements, gap=gap)
    together = pooled(apart)
    decided = frozenset(judgement.comparison for judgement in judgements if judgement.rater == GOLD)
    judgements = [judgement for judgement in judgements if judgement.rater != GOLD]
    model = _believed(together, weighting)
    raters, votes = model.raters, together if pool else apart
    model = model if pool else _believed(apart, weighting)
    heard = [vote for vote in votes if vote.rater != GOLD]
    return Consensus(comparisons, judgements, heard, model, raters, _known(votes), decided)


def _believed(votes: Sequence[Vote], weighting: Weighting) -> PairModel:
    heard = [vote for vote in votes if vote.rater != GOLD]
    return believe_raters(heard, gold=_known(votes)) if weighting == "reliability" else believe_everyone(heard)


def _known(votes: Iterable[Vote]) -> dict[str, int]:
    return {vote.item: vote.choice for vote in votes if vote.rater == GOLD}


def report(
    store: Store,
    project: str = "default",
    without: Collection[str] = (),
    skips: Iterable[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Counts, agreement per kind of question, raters, the ceiling for a reward model, and the models' leaderboard.

    Args:
        without: raters who count for nothing; they keep their line among `raters`, without a weight.
        skips: rows of `store.work.Work.skipped`, for the questions to look at again.

    Returns:
        JSON-able; a number that is undefined is None. `ceiling` is how often one rater's choice is what the others say
        together: a reward model that is measured against such labels can hardly be better.
    """
    found = consensus(store, project, pool=False, without=without)
    lines = rater_lines(_with_excluded(found, store, project, without), checks(store.database, project))
    return {
        "project": project,
        **store.stats(project),
        "agreement": agreement(found),
        "ceiling": _ceiling(found),
        "raters": [line | {"weight": None} if line["rater"] in without else line for line in lines],
        "models": leaderboard(found),
        "adjudicate": adjudication(found, skips),
        "votes_per_pair": round(found.model.overlap, 3),
    }


def _with_excluded(found: Consensus, store: Store, project: str, without: Collection[str]) -> Consensus:
    """Everybody's judgements, each rater who counts believed as far as without the others."""
    if not without:
        return found
    everybody = consensus(store, project, pool=False)
    return replace(everybody, raters={**everybody.raters, **found.raters}, left_out=frozenset(without))


def rater_lines(found: Consensus, hidden: Mapping[str, Checks] | None = None) -> list[dict[str, Any]]:
    """One line per rater: how much, how right, which side, how severe, how constant, how quick.

    Args:
        hidden: what raters answered to gold and repeats.
    """
    severity, constant = _severity(found), _constancy(found.votes)
    for name, told in (hidden or {}).items():
        constant[name].extend(told.again)
    others = _against_others(found)
    work = rater_quality(found, others, constant, {name: told.gold for name, told in (hidden or {}).items()})
    left: dict[str, list[bool]] = defaultdict(list)
    for vote in found.votes:
        if vote.kind == "pair" and vote.choice and vote.left is not None:
            left[vote.rater].append((vote.choice > 0) == vote.left)
    seconds: dict[str, list[float]] = defaultdict(list)
    for judgement in found.judgements:
        seconds[judgement.rater].append(judgement.seconds)
    lines: list[dict[str, Any]] = []
    for name in sorted(seconds):
        rater = found.raters.get(name)
        chosen = wilson(sum(left[name]), len(left[name]))
        lines.append(
            {
                "rater": name,
                "judgements": len(seconds[name]),
                "accuracy": rater and round(rater.accuracy, 4),
                "weight": rater and round(rater.weight, 4),
                "agrees_with_others": _share(others.get(name, [])),
                "left": chosen and round(chosen.value, 4),
                "left_low": chosen and round(chosen.low, 4),
                "left_high": chosen and round(chosen.high, 4),
                "ties": rater and round(rater.ties, 4),
                "severity": _rounded(severity.get(name)),
                "self_consistency": _share(constant.get(name, [])),
                "gold": (gold := work[name].gold) and round(gold.value, 4),
                "median_seconds": round(float(np.median(seconds[name])), 1),
                "faults": list(work[name].faults),
                "detail": _detail(work[name]),
            }
        )
    return lines


def _detail(work: RaterQuality) -> dict[str, Any]:
    """What a rater's own page shows beside the line: intervals, reading speed, use of the scale."""
    return {
        "agrees": _named(work.agrees),
        "consistent": _named(work.consistent),
        "gold": _named(work.gold),
        "letters_per_second": _rounded(work.letters_per_second),
        "score_mean": _rounded(work.score_mean),
        "score_deviation": _rounded(work.score_deviation),
    }


def leaderboard(found: Consensus) -> dict[str, Any] | None:
    """Strengths of the models that wrote the answers, in log odds; None when there is only one."""
    weights = found.weights
    battles = [
        Battle(
            vote.first.model,
            vote.second.model,
            vote.choice,
            vote.left,
            vote.share * weights[vote.rater] / vote.probability,
            vote.first.prompt.id,
        )
        for vote in found.votes
        if vote.first.model != vote.second.model
    ]
    board = bradley_terry(battles)
    if board is None:
        return None
    prompts = len({battle.cluster for battle in battles if battle.weight > 0})
    strengths = [{"model": name, **_over(prompts, interval)} for name, interval in board.strengths.items()]
    return {
        "strengths": strengths,
        "tie": round(board.tie, 4),
        "side": _over(prompts, board.side),
        "votes": board.battles,
        "prompts": prompts,
    }


def _against_others(found: Consensus) -> dict[str, list[bool]]:
    """rater → for each choice it made, whether the others, by their weight, say the same; undecided ones left out."""
    agreed: dict[str, list[bool]] = defaultdict(list)
    for _, rater, same in _choices(found):
        agreed[rater].append(same)
    return agreed


def _choices(found: Consensus) -> Iterable[tuple[str, str, bool]]:
    """Prompt, rater, and whether the others say the same."""
    weights = found.weights
    items: dict[str, list[Vote]] = defaultdict(list)
    for vote in found.votes:
        items[vote.item].append(vote)
    for votes in items.values():
        total = sum(vote.choice * weights[vote.rater] for vote in votes)
        for vote in votes:
            rest = total - vote.choice * weights[vote.rater]
            if vote.choice and abs(rest) > 1e-9:
                yield vote.first.prompt.id, vote.rater, (rest > 0) == (vote.choice > 0)


def _ceiling(found: Consensus) -> dict[str, Any] | None:
    """How often a choice is what the others say, with its interval over prompts."""
    same: dict[str, list[bool]] = defaultdict(list)
    for prompt, _, equal in _choices(found):
        same[prompt].append(equal)
    if not same:
        return None
    right = np.array([sum(values) for values in same.values()], dtype=np.float64)
    count = np.array([len(values) for values in same.values()], dtype=np.float64)

    def share(drawn: Weights) -> float | None:
        everything = float(drawn @ count)
        return float(drawn @ right) / everything if everything else None

    interval = bootstrap(share, len(count), draws=500)
    return interval and _over(len(count), interval) | {"prompts": len(count)}


def _severity(found: Consensus) -> dict[str, float]:
    """rater → points (0–5) that it gives less than the others to the same answers."""
    asked = {comparison.id: comparison for comparison in found.comparisons if comparison.kind == "scores"}
    given: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for judgement in found.judgements:
        if judgement.comparison in asked:
            given[judgement.comparison].append((judgement.rater, overall(asked[judgement.comparison], judgement)))
    gaps: dict[str, list[float]] = defaultdict(list)
    for scores in given.values():
        for rater, score in scores:
            if others := [other for name, other in scores if name != rater and name not in found.left_out]:
                gaps[rater].append(sum(others) / len(others) - score)
    return {rater: sum(values) / len(values) for rater, values in gaps.items()}


def _constancy(votes: Sequence[Vote]) -> defaultdict[str, list[bool]]:
    """rater → whether it chose the same again, for answers it met in more than one question."""
    chosen: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for vote in votes:
        one, two = vote.first.id, vote.second.id
        if vote.choice:
            key = (vote.rater, min(one, two), max(one, two))
            chosen[key].append(vote.choice if one < two else -vote.choice)
    again: dict[str, list[bool]] = defaultdict(list)
    for (rater, _, _), choices in chosen.items():
        again[rater].extend(choice == choices[0] for choice in choices[1:])
    return again


def _over(prompts: int, interval: Interval) -> dict[str, Any]:
    """A bootstrap by name; without ends where it has drawn so few prompts that they say nothing."""
    told: dict[str, Any] = {**(_named(interval) or {})}
    return told if prompts >= FEWEST else told | {"low": None, "high": None}


def _named(interval: Interval | None) -> Mapping[str, float] | None:
    return interval and {name: round(value, 4) for name, value in interval._asdict().items()}


def _share(values: Sequence[bool]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
