"""Blind comparison of two models: the questions, and the win rate with its interval from people's judgements."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tutelage.eval._base import Measure, bootstrap_mean, percentiles, resamples, wilson
from tutelage.types import Comparison, Judgement, Sample, plain


@dataclass(frozen=True)
class WinRate:
    """How often one model beat the other.

    Example:
        >>> win_rate(comparisons, judgements, "runs/ppo/model").rate
        Measure(value=0.71, low=0.64, high=0.78, n=200, how='…')
    """

    rate: Measure
    """Share of judgements won, ties half, 0–1; the interval is the wider of bootstrap by prompt and Wilson."""
    by_rater_and_prompt: Measure
    """The same with raters drawn anew too: what other raters would say; wider, and no interval below 3 raters."""
    wins: int
    ties: int
    losses: int
    both_bad: int
    left: Measure
    """Share of decided pairs that the answer shown on the left won, 0–1; far from 0.5 = raters favour a side."""
    raters: Mapping[str, Measure]
    """rater → their own win rate (Wilson)."""


def questions(pairs: Sequence[tuple[Sample, Sample]], *, seed: int = 0, purpose: str = "eval") -> list[Comparison]:
    """One blind pair question for each (model, baseline) pair of answers to the same prompt.

    Which answer comes first is a coin flip from (seed, answer ids). Pairs whose texts are the same are asked too:
    they are honest ties.

    Raises:
        ValueError: the two answers belong to different prompts.
    """
    out: list[Comparison] = []
    for left, right in pairs:
        if left.prompt.id != right.prompt.id:
            raise ValueError(f"answers '{left.id}' and '{right.id}' belong to different prompts")
        digest = hashlib.sha256(f"{purpose}|{seed}|{left.id}|{right.id}".encode()).digest()
        candidates = (right, left) if digest[0] & 1 else (left, right)
        out.append(Comparison(f"{purpose}-{digest.hex()[:20]}", "pair", left.prompt, candidates))
    return out


def win_rate(
    comparisons: Sequence[Comparison], judgements: Sequence[Judgement], model: str, *, seed: int = 0
) -> WinRate:
    """Win rate of the answers whose `Sample.model` is `model`, over all judgements of `comparisons`.

    Judgements of other questions are ignored; `both bad` counts as a tie.

    Raises:
        ValueError: nobody judged these questions, or a question does not hold exactly one answer of `model`.
    """
    known = {comparison.id: comparison for comparison in comparisons}
    rows = [(known[one.comparison], one) for one in judgements if one.comparison in known]
    if not rows:
        raise ValueError(f"none of the {len(comparisons)} questions has been judged")
    points = [_points(comparison, judgement, model) for comparison, judgement in rows]
    prompts = [comparison.prompt.id for comparison, _ in rows]
    raters = [judgement.rater for _, judgement in rows]
    return WinRate(
        _widest(points, prompts, seed),
        _two_way(points, prompts, raters, seed),
        points.count(1.0),
        points.count(0.5),
        points.count(0.0),
        sum(judgement.both_bad for _, judgement in rows),
        _left(rows),
        _by_rater(points, raters),
    )


def told(comparisons: Sequence[Comparison], judgements: Sequence[Judgement]) -> list[dict[str, Any]]:
    """What raters saw and said, one JSON object per question, for `judgements.jsonl` and the report."""
    votes: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in judgements:
        vote = {"rater": one.rater, "ranks": list(one.ranks), "scores": dict(one.scores), "shown": list(one.shown)}
        votes[one.comparison].append(vote | {"both_bad": one.both_bad, "seconds": one.seconds, "comment": one.comment})
    return [
        {
            "id": comparison.id,
            "kind": comparison.kind,
            "prompt": plain(comparison.prompt.content),
            "candidates": [{"text": sample.text, "model": sample.model} for sample in comparison.candidates],
            "judgements": votes[comparison.id],
        }
        for comparison in comparisons
    ]


def _points(comparison: Comparison, judgement: Judgement, model: str) -> float:
    own = [index for index, sample in enumerate(comparison.candidates) if sample.model == model]
    if len(own) != 1 or len(comparison.candidates) != 2:
        raise ValueError(f"question '{comparison.id}' does not compare one answer of '{model}' with one other")
    if judgement.both_bad or len(judgement.ranks) != 2 or judgement.ranks[0] == judgement.ranks[1]:
        return 0.5
    return float(judgement.ranks[own[0]] < judgement.ranks[1 - own[0]])


def _widest(points: Sequence[float], prompts: Sequence[str], seed: int) -> Measure:
    """Bootstrap by prompt, but never narrower than Wilson on as many votes as there are prompts."""
    drawn = bootstrap_mean(points, prompts, seed=seed)
    low, high = wilson(drawn.value * drawn.n, drawn.n)
    how = f"{len(points)} blind judgements of {drawn.n} prompts, ties half; wider of bootstrap by prompt and Wilson"
    return Measure(
        drawn.value,
        low if drawn.low is None else min(low, drawn.low),
        high if drawn.high is None else max(high, drawn.high),
        drawn.n,
        how,
    )


def _two_way(points: Sequence[float], prompts: Sequence[str], raters: Sequence[str], seed: int) -> Measure:
    """Pigeonhole bootstrap (Owen 2007): prompts and raters are drawn independently, weights multiply."""
    prompt_at = {name: index for index, name in enumerate(dict.fromkeys(prompts))}
    rater_at = {name: index for index, name in enumerate(dict.fromkeys(raters))}
    value = sum(points) / len(points)
    how = f"{len(rater_at)} raters and {len(prompt_at)} prompts drawn anew"
    if len(prompt_at) < 2 or len(rater_at) < 3:
        return Measure(value, n=len(rater_at), how=how)
    top = np.zeros((len(prompt_at), len(rater_at)))
    bottom = np.zeros_like(top)
    for point, prompt, rater in zip(points, prompts, raters, strict=True):
        top[prompt_at[prompt], rater_at[rater]] += point
        bottom[prompt_at[prompt], rater_at[rater]] += 1
    by_prompt, by_rater = resamples(len(prompt_at), seed), resamples(len(rater_at), seed + 1)
    wins = ((by_prompt @ top) * by_rater).sum(1)
    votes = ((by_prompt @ bottom) * by_rater).sum(1)
    low, high = percentiles(wins[votes > 0] / votes[votes > 0])
    return Measure(value, low, high, len(rater_at), how)


def _left(rows: Sequence[tuple[Comparison, Judgement]]) -> Measure:
    how = "decided pairs won by the answer shown on the left; Wilson"
    decided = [one for _, one in rows if len(one.shown) == 2 and len(one.ranks) == 2 and one.ranks[0] != one.ranks[1]]
    if not decided:
        return Measure(0.5, how=how)
    wins = sum(one.ranks[one.shown[0]] < one.ranks[one.shown[1]] for one in decided)
    return Measure(wins / len(decided), *wilson(wins, len(decided)), len(decided), how)


def _by_rater(points: Sequence[float], raters: Sequence[str]) -> dict[str, Measure]:
    won: dict[str, float] = defaultdict(float)
    counts = Counter(raters)
    for point, rater in zip(points, raters, strict=True):
        won[rater] += point
    return {
        rater: Measure(won[rater] / n, *wilson(won[rater], n), n, "their own judgements, ties half; Wilson")
        for rater, n in sorted(counts.items())
    }
