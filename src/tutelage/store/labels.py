"""Labels that people made elsewhere (preferences, rankings, ratings) as questions and judgements of the store."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tutelage.store.rows import text_json
from tutelage.types import Comparison, Judgement, Preference, Prompt, Ranking, Rated, Sample, Text, plain

Labels = tuple[list[Comparison], list[Judgement]]


def digest(*parts: Any) -> str:
    """A short name for what is said: the same content has the same name in every process."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def from_preferences(rows: Sequence[Preference], project: str, rater: str) -> Labels:
    """Pairs with `chosen` ranked first, by the rater that `meta` names; a pair met again is by another one."""
    labels: Labels = ([], [])
    seen: Counter[tuple[str, str]] = Counter()
    for row in rows:
        prompt = _prompt(row.prompt, row.meta)
        both = sorted((_sample(prompt, row.chosen), _sample(prompt, row.rejected)), key=lambda sample: sample.id)
        first_wins = both[0].text == plain(row.chosen)
        question = Comparison(digest(project, "pair", *(sample.id for sample in both)), "pair", prompt, tuple(both))
        strength = min(3, max(0, round(row.margin * 3)))
        ranks = (1, 2) if first_wins else (2, 1)
        _add(labels, seen, question, row.meta.get("rater") or rater, ranks=ranks, strength=strength)
    return labels


def from_rankings(rows: Sequence[Ranking], project: str, rater: str) -> Labels:
    """Rankings as they are, by the row's rater."""
    labels: Labels = ([], [])
    seen: Counter[tuple[str, str]] = Counter()
    for row in rows:
        prompt = _prompt(row.prompt, row.meta)
        said = [_sample(prompt, completion) for completion in row.completions]
        order = sorted(range(len(said)), key=lambda index: said[index].id)
        candidates = tuple(said[index] for index in order)
        best = min(row.ranks)
        ranks = tuple(row.ranks[index] - best + 1 for index in order)
        name = digest(project, "ranking", *(sample.id for sample in candidates))
        question = Comparison(name, "ranking", prompt, candidates)
        _add(labels, seen, question, row.rater or rater, ranks=ranks)
    return labels


def from_ratings(rows: Sequence[Rated], project: str) -> Labels:
    """Scores: one question per answer and set of aspects on one scale, one judgement per rater."""
    labels: Labels = ([], [])
    seen: Counter[tuple[str, str]] = Counter()
    for row in rows:
        prompt = _prompt(row.prompt, row.meta)
        sample = _sample(prompt, row.completion)
        given: dict[tuple[str, tuple[float, float]], dict[str, float]] = {}
        for rating in row.ratings:
            given.setdefault((rating.rater, rating.scale), {})[rating.aspect] = rating.score
        for (rater, scale), scores in given.items():
            aspects = tuple(sorted(scores))
            name = digest(project, "scores", sample.id, aspects, scale)
            _add(labels, seen, Comparison(name, "scores", prompt, (sample,), aspects, scale), rater, scores=scores)
    return labels


def _add(labels: Labels, seen: Counter[tuple[str, str]], question: Comparison, rater: str, **answer: Any) -> None:
    """Append; the n-th answer of one rater to one question is by `rater (n)`, so that none hides another."""
    comparisons, judgements = labels
    again = seen[(question.id, rater)]
    seen[(question.id, rater)] += 1
    name = rater if not again else f"{rater} ({again + 1})"
    comparisons.append(question)
    judgements.append(Judgement(digest("imported", question.id, name), question.id, name, **answer))


def _prompt(content: Text, meta: Any) -> Prompt:
    return Prompt(f"prompt-{digest(text_json(content))}", content, dict(meta))


def _sample(prompt: Prompt, content: Text) -> Sample:
    text = plain(content)
    return Sample(f"answer-{digest(prompt.id, text)}", prompt, text, model="imported")
