"""What a report says about quality: agreement by several measures, faults of raters, items to look at again."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tutelage.statistics.agreement import Agreement, Coefficient, Level, Row, measure, rank_agreement
from tutelage.statistics.intervals import FEWEST
from tutelage.statistics.quality import RaterEvidence, RaterQuality, quality, to_adjudicate
from tutelage.store.standing import GOLD as GOLD
from tutelage.store.votes import Vote

if TYPE_CHECKING:
    from tutelage.labelers._consensus import Consensus

_DRAWS = 200
_QUEUE = 100


def agreement(found: Consensus) -> list[dict[str, Any]]:
    """Pairs and rankings as votes, and each aspect scored; every undefined with why.

    Every interval is over prompts, and has no ends where fewer than three carry it (`prompts`, `tau_b_prompts`).
    """
    lines: list[dict[str, Any]] = []
    for kind in ("pair", "ranking", "best"):
        votes = [vote for vote in found.votes if vote.kind == kind]
        if votes:
            rows = [(vote.item, vote.rater, float(vote.choice)) for vote in votes]
            line = _line(kind, rows, "nominal", {vote.item: vote.first.prompt.id for vote in votes})
            if kind == "ranking":
                alike = _rankings(found)
                line |= _named("tau_b", alike) | {"tau_b_prompts": alike.clusters}
            lines.append(line)
    asked = {comparison.id: comparison for comparison in found.comparisons if comparison.kind == "scores"}
    scores: dict[str, list[tuple[str, str, float]]] = defaultdict(list)
    for judgement in found.judgements:
        for aspect in asked[judgement.comparison].aspects if judgement.comparison in asked else ():
            scores[aspect].append((judgement.comparison, judgement.rater, judgement.scores[aspect]))
    prompts: dict[Hashable, Hashable] = {name: comparison.prompt.id for name, comparison in asked.items()}
    return lines + [_line(f"scores: {aspect}", rows, "ordinal", prompts) for aspect, rows in scores.items()]


def _rankings(found: Consensus) -> Agreement:
    asked = {comparison.id: comparison for comparison in found.comparisons if comparison.kind == "ranking"}
    given = [judgement for judgement in found.judgements if judgement.comparison in asked]
    rows = [(judgement.comparison, judgement.rater, judgement.ranks) for judgement in given]
    return rank_agreement(rows, clusters={name: asked[name].prompt.id for name in asked}, draws=_DRAWS)


def _line(kind: str, rows: Sequence[Row], level: Level, prompts: Mapping[Any, Hashable]) -> dict[str, Any]:
    alpha = measure(rows, "alpha", level, clusters=prompts, draws=_DRAWS)
    line: dict[str, Any] = {"question": kind, "shared_items": alpha.items, "level": level}
    line |= {"undefined": alpha.undefined, "prompts": alpha.clusters}
    names: tuple[tuple[str, Coefficient], ...] = (("agreement", "percent"), ("fleiss", "fleiss"), ("ac1", "ac1"))
    for name, coefficient in names:
        line |= _named(name, measure(rows, coefficient, clusters=prompts, draws=_DRAWS))
    return line | _named("alpha", alpha)


def _named(name: str, found: Agreement) -> dict[str, Any]:
    told: list[float | None] = [None, None, None]
    if found.interval is not None:
        told = [round(number, 4) for number in found.interval]
        told[1:] = told[1:] if found.clusters >= FEWEST else [None, None]
    return dict(zip((name, f"{name}_low", f"{name}_high"), told, strict=True))


def rater_quality(
    found: Consensus,
    with_others: Mapping[str, Sequence[bool]],
    again: Mapping[str, Sequence[bool]],
    gold: Mapping[str, Sequence[bool]],
) -> dict[str, RaterQuality]:
    """rater → what is known of its work and which faults are proven.

    Args:
        again, gold: answers to repeats and to hidden gold. What an admin decided afterwards, because raters differed,
            checks nobody: they were not asked alike.
    """
    asked = {comparison.id: comparison for comparison in found.comparisons}
    seen: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for judgement in found.judgements:
        comparison = asked[judgement.comparison]
        mine = seen[judgement.rater]
        mine["seconds"].append(judgement.seconds)
        mine["letters"].append(sum(len(sample.text) for sample in comparison.candidates))
        low, high = comparison.scale
        mine["scores"] += [(score - low) / (high - low) for score in judgement.scores.values()]
    for vote in found.votes:
        if vote.kind == "pair" and vote.choice and vote.left is not None:
            seen[vote.rater]["left"].append((vote.choice > 0) == vote.left)
    for name in seen.keys() & gold.keys():
        seen[name]["gold"] += gold[name]
    return {
        name: quality(RaterEvidence(**mine, with_others=with_others.get(name, ()), again=again.get(name, ())))
        for name, mine in seen.items()
    }


def adjudication(found: Consensus, skips: Iterable[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Questions that people should look at again and nobody has decided, the most doubtful first, at most 100.

    One line for each question, with the least certain of its pairs of answers, however many of them are in doubt.

    Scores that differ are no doubt about a question: there is no side to decide for.

    Args:
        skips: rows of `store.work.Work.skipped`.
    """
    asked = {comparison.id: comparison for comparison in found.comparisons}
    items: dict[str, list[Vote]] = defaultdict(list)
    for vote in found.votes:
        if vote.kind != "scores":
            items[vote.item].append(vote)
    flags = Counter(judgement.comparison for judgement in found.judgements if judgement.flags)
    left_out = Counter(str(row["question"]) for row in skips)
    doubts = to_adjudicate(
        {item: found.model.first[item] for item in items if item not in found.gold},
        {item: len(votes) for item, votes in items.items()},
        skips=left_out,
        flags=flags,
    )
    judged = Counter(judgement.comparison for judgement in found.judgements)
    sure: dict[str, float] = {}
    for item in items:
        name, first = item.rpartition(":")[0], found.model.first[item]
        sure[name] = min(sure.get(name, 1.0), max(first, 1 - first))
    lines: dict[str, dict[str, Any]] = {}
    for doubt in doubts:
        name = doubt.item.rpartition(":")[0] if doubt.item in items else doubt.item
        if name in asked and name not in found.decided:
            told = {"item": doubt.item, "question": name, "reason": doubt.reason, "votes": judged[name]}
            told |= {"certainty": round(sure.get(name, doubt.certainty), 4), "prompt": asked[name].prompt.id}
            lines.setdefault(name, told)
    return list(lines.values())[:_QUEUE]
