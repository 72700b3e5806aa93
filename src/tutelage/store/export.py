"""Judgements as training rows: preferences, rankings, ratings and good/bad; what each weighs and where it is from.

A preference row says what the raters say together about two answers (`votes.pooled`), or about them in one question:
P(first better) comes from a model of the raters (`statistics.raters`), `chosen` is the likelier one and `weight` =
share · |2P − 1|, from 0 (nobody knows) to 1 (one certain pair); share is 1 for a pair and 1/(K−1) among K answers.
`margin` is the mean strength in thirds of a logit (Llama 2, table 27: 1/3 slightly … 1 significantly). Ties come out
separately: they have no better answer. They weigh share · (1 − |2P − 1|), and `tutelage reward --data PAIRS,TIES`
learns from them; "both bad" stands among them, is said so, and is no tie there.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tutelage.store.rows import text_json
from tutelage.store.votes import Vote, overall
from tutelage.types import Comparison, Judgement, Prompt, Sample

RowDict = dict[str, Any]


@dataclass(frozen=True)
class Exported:
    """Rows for training, the ties among them, and what was counted."""

    rows: list[RowDict]
    ties: list[RowDict] = field(default_factory=list)
    counts: Mapping[str, int] = field(default_factory=dict)
    """what came out and what was left out, with the reason as the key"""


def preferences(
    votes: Iterable[Vote],
    first: Mapping[str, float],
    tied: Mapping[str, float],
    *,
    weighted: bool = True,
    margins: bool = True,
    band: float = 0.1,
) -> Exported:
    """One row for each item of `votes`: prompt, chosen, rejected, weight, margin, group, meta.

    Args:
        first: item → P(the first answer is better).
        tied: item → weighted share of votes that say tie; above one half, the pair is a tie.
        weighted: False gives every row of a pair weight 1.
        band: |2P − 1| below this is a tie as well.
    """
    rows: list[RowDict] = []
    ties: list[RowDict] = []
    counts = Counter({"preferences": 0, "ties": 0, "both_bad": 0})
    for item, given in _by_item(votes).items():
        belief = 2 * first[item] - 1
        bad = 2 * sum(vote.both_bad for vote in given) > len(given)
        if bad or tied[item] > 0.5 or abs(belief) < band:
            counts["both_bad" if bad else "ties"] += 1
            ties.append(_tie(item, given, bad, given[0].share * (1 - abs(belief) if weighted else 1.0)))
            continue
        counts["preferences"] += 1
        weight = given[0].share * (abs(belief) if weighted else 1.0)
        margin = _margin(given, belief > 0) if margins else 0.0
        row = _preference(given[0], belief > 0, weight, margin)
        row["meta"] |= {"probability": round((1 + abs(belief)) / 2, 6)} | _tally(given, belief > 0)
        rows.append(row)
    return Exported(rows, ties, dict(counts))


def single_preferences(votes: Iterable[Vote], weights: Mapping[str, float], *, margins: bool = True) -> Exported:
    """One row for each vote, nothing merged; its weight is its rater's. Raters of weight 0 are left out and counted."""
    rows: list[RowDict] = []
    ties: list[RowDict] = []
    counts = Counter({"preferences": 0, "ties": 0})
    for vote in votes:
        if vote.choice == 0:
            counts["ties"] += 1
            ties.append(_tie(vote.item, [vote], vote.both_bad, vote.share * max(0.0, weights[vote.rater])))
        elif weights[vote.rater] <= 0:
            counts["votes of raters no better than chance"] += 1
        else:
            counts["preferences"] += 1
            margin = vote.strength / 3 if margins else 0.0
            row = _preference(vote, vote.choice > 0, vote.share * weights[vote.rater], margin)
            row["meta"]["rater"] = vote.rater
            rows.append(row)
    return Exported(rows, ties, dict(counts))


def rankings(
    comparisons: Iterable[Comparison], judgements: Iterable[Judgement], weights: Mapping[str, float]
) -> Exported:
    """One row for each ranking that a rater made: prompt, completions, ranks (1 = best, equal = tie), rater, weight."""
    asked = {comparison.id: comparison for comparison in comparisons if comparison.kind == "ranking"}
    rows: list[RowDict] = []
    for judgement in judgements:
        if judgement.comparison in asked:
            comparison = asked[judgement.comparison]
            rows.append(
                {
                    "prompt": text_json(comparison.prompt.content),
                    "completions": [_completion(comparison.prompt, sample) for sample in comparison.candidates],
                    "ranks": list(judgement.ranks),
                    "rater": judgement.rater,
                    "weight": round(weights.get(judgement.rater, 1.0), 6),
                    "meta": _origin(comparison.prompt, comparison.id, comparison.candidates),
                }
            )
    return Exported(rows, counts={"rankings": len(rows)})


def ratings(
    comparisons: Iterable[Comparison], judgements: Iterable[Judgement], weights: Mapping[str, float]
) -> Exported:
    """One row for each answer that was scored: prompt, completion, ratings [{rater, aspect, score, scale}]."""
    asked = {comparison.id: comparison for comparison in comparisons if comparison.kind == "scores"}
    given: dict[str, list[Judgement]] = {}
    for judgement in judgements:
        if judgement.comparison in asked:
            given.setdefault(judgement.comparison, []).append(judgement)
    rows: list[RowDict] = []
    for name, answers in given.items():
        comparison = asked[name]
        told = [
            {"rater": answer.rater, "aspect": aspect, "score": answer.scores[aspect], "scale": list(comparison.scale)}
            for answer in answers
            for aspect in comparison.aspects
        ]
        meta = _origin(comparison.prompt, name, comparison.candidates)
        meta["rater_weights"] = {answer.rater: round(weights.get(answer.rater, 1.0), 6) for answer in answers}
        completion = _completion(comparison.prompt, comparison.candidates[0])
        rows.append(
            {"prompt": text_json(comparison.prompt.content), "completion": completion, "ratings": told, "meta": meta}
        )
    return Exported(rows, counts={"answers": len(rows), "scores": sum(len(row["ratings"]) for row in rows)})


def demonstrations(comparisons: Iterable[Comparison], judgements: Iterable[Judgement]) -> Exported:
    """One row for each answer that a rater edited: prompt and completion, as the rater would have it."""
    asked = {comparison.id: comparison for comparison in comparisons if comparison.kind == "edit"}
    rows: list[RowDict] = []
    for judgement in judgements:
        if judgement.comparison in asked:
            prompt, edited = asked[judgement.comparison].prompt, asked[judgement.comparison].candidates[0]
            completion = _completion(prompt, replace(edited, text=judgement.edit))
            meta = _origin(prompt, judgement.comparison, [edited]) | {"rater": judgement.rater}
            rows.append({"prompt": text_json(prompt.content), "completion": completion, "meta": meta})
    return Exported(rows, counts={"demonstrations": len(rows)})


def unpaired(
    votes: Iterable[Vote],
    first: Mapping[str, float],
    comparisons: Iterable[Comparison],
    judgements: Iterable[Judgement],
    weights: Mapping[str, float],
) -> Exported:
    """One row for each answer: prompt, completion, label (good or bad) and weight = how clear that is, 0 to 1.

    An answer gains 2P − 1 for each pair it wins and loses as much when it loses; both lose when both are bad; a score
    counts by its distance from the middle of the scale. Answers where it adds up to nothing are left out, counted.
    """
    said: dict[str, Sample] = {}
    evidence: dict[str, list[float]] = {}

    def note(sample: Sample, amount: float) -> None:
        said[sample.id] = sample
        evidence.setdefault(sample.id, []).append(amount)

    for item, given in _by_item(vote for vote in votes if vote.kind != "scores").items():
        bad = 2 * sum(vote.both_bad for vote in given) > len(given)
        belief = 2 * first[item] - 1
        note(given[0].first, -1.0 if bad else belief)
        note(given[0].second, -1.0 if bad else -belief)
    asked = {comparison.id: comparison for comparison in comparisons if comparison.kind == "scores"}
    for judgement in judgements:
        if judgement.comparison in asked:
            comparison = asked[judgement.comparison]
            weight = weights.get(judgement.rater, 1.0)
            note(comparison.candidates[0], weight * (overall(comparison, judgement) - 2.5) / 2.5)
    rows: list[RowDict] = []
    counts = Counter({"good": 0, "bad": 0, "undecided": 0})
    for name, amounts in evidence.items():
        mean = sum(amounts) / len(amounts)
        counts["undecided" if abs(mean) < 0.05 else ("good" if mean > 0 else "bad")] += 1
        if abs(mean) >= 0.05:
            sample = said[name]
            row = {"prompt": text_json(sample.prompt.content), "completion": _completion(sample.prompt, sample)}
            meta = _origin(sample.prompt, "", [sample])
            rows.append(row | {"label": mean > 0, "weight": round(min(1.0, abs(mean)), 6), "meta": meta})
    return Exported(rows, counts=dict(counts))


def held_out(row: RowDict, fraction: float) -> bool:
    """Whether a row is one to test on: all rows of a prompt are, or none, whatever else is exported."""
    text = json.dumps(row["prompt"], ensure_ascii=False, sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64 < fraction


def split_by_prompt(rows: Iterable[RowDict], fraction: float) -> tuple[list[RowDict], list[RowDict]]:
    """(train, test), by `held_out`."""
    parts: tuple[list[RowDict], list[RowDict]] = ([], [])
    for row in rows:
        parts[held_out(row, fraction)].append(row)
    return parts


def _by_item(votes: Iterable[Vote]) -> dict[str, list[Vote]]:
    found: dict[str, list[Vote]] = {}
    for vote in votes:
        found.setdefault(vote.item, []).append(vote)
    return found


def _preference(vote: Vote, first_wins: bool, weight: float, margin: float) -> RowDict:
    chosen, rejected = (vote.first, vote.second) if first_wins else (vote.second, vote.first)
    return {
        "prompt": text_json(vote.first.prompt.content),
        "chosen": _completion(vote.first.prompt, chosen),
        "rejected": _completion(vote.first.prompt, rejected),
        "weight": round(weight, 6),
        "margin": round(margin, 6),
        "group": vote.group,
        "meta": _origin(vote.first.prompt, vote.item, [chosen, rejected])
        | {"kind": vote.kind, "selection_probability": vote.probability},
    }


def _tie(item: str, given: Sequence[Vote], bad: bool, weight: float) -> RowDict:
    vote = given[0]
    return {
        "prompt": text_json(vote.first.prompt.content),
        "completions": [_completion(vote.first.prompt, sample) for sample in (vote.first, vote.second)],
        "ranks": [1, 1],
        "tie": True,
        "both_bad": bad,
        "weight": round(weight, 6),
        "group": vote.group,
        "meta": _origin(vote.first.prompt, item, [vote.first, vote.second]) | _tally(given, True),
    }


def _tally(given: Sequence[Vote], first_wins: bool) -> dict[str, Any]:
    sign = 1 if first_wins else -1
    votes = {
        "for": sum(vote.choice == sign for vote in given),
        "tie": sum(vote.choice == 0 for vote in given),
        "against": sum(vote.choice == -sign for vote in given),
    }
    return {"votes": votes, "raters": [vote.rater for vote in given]}


def _margin(given: Sequence[Vote], first_wins: bool) -> float:
    sign = 1 if first_wins else -1
    return max(0.0, sum(sign * vote.choice * vote.strength for vote in given) / len(given) / 3)


def _completion(prompt: Prompt, sample: Sample) -> Any:
    """Messages after a prompt of messages, else a string."""
    return sample.text if isinstance(prompt.content, str) else [{"role": "assistant", "content": sample.text}]


def _origin(prompt: Prompt, item: str, told: Sequence[Sample]) -> dict[str, Any]:
    return {
        "item": item,
        "prompt_id": prompt.id,
        "samples": [sample.id for sample in told],
        "models": [sample.model for sample in told],
        "checkpoints": [sample.checkpoint for sample in told],
        "prompt": dict(prompt.meta),
    }
