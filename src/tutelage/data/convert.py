"""One kind of data → another where nothing is made up; what cannot be carried over is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

from tutelage.errors import DataError, UsageError
from tutelage.types import Demonstration, Preference, Prompt, Ranking, Rated, Text, TextRow, Unpaired

LeftOut = Counter[str]
"""Reason → how many."""
_Rule = Callable[[Sequence[Any], float, LeftOut], list[Any]]


def convert(rows: Sequence[Any], source: str, target: str, *, min_gap: float = 0.0) -> tuple[list[Any], LeftOut]:
    """Rows of kind `source` as rows of kind `target`, and what was left out, by reason.

    Args:
        min_gap: for ratings → preferences: by more than what share of the scale (0–1) two scores must differ.

    Raises:
        UsageError: there is no such conversion.
        DataError: nothing is left.
    """
    left_out = Counter[str]()
    if source == target:
        return list(rows), left_out
    rule = RULES.get((source, target))
    if rule is None:
        ways = ", ".join(f"{start} → {end}" for start, end in RULES)
        raise UsageError(f"{source} data cannot become {target} data", fix=f"possible are {ways}")
    made = rule(rows, min_gap, left_out)
    if not made:
        reasons = "; ".join(f"{count} × {reason}" for reason, count in left_out.items()) or "no rows were given"
        raise DataError(f"no {target} row could be made of {len(rows)} {source} rows: {reasons}")
    return made, left_out


def to_dict(row: Any) -> dict[str, Any]:
    """A typed row as the JSON object that `formats.load` reads back to the same row."""
    if isinstance(row, TextRow):
        return {"text": row.text}
    if isinstance(row, Prompt):
        return {"id": row.id, "prompt": _json(row.content)} | _meta(row.meta)
    if isinstance(row, Demonstration):
        values: dict[str, Any] = {"completion": _json(row.completion)}
    elif isinstance(row, Preference):
        values = {"chosen": _json(row.chosen), "rejected": _json(row.rejected), "margin": row.margin}
        values |= {"weight": row.weight} | ({"group": row.group} if row.group else {})
        values |= {"tie": True} if row.tie else {}
    elif isinstance(row, Unpaired):
        values = {"completion": _json(row.completion), "label": row.label, "weight": row.weight}
    elif isinstance(row, Ranking):
        values = {"completions": [_json(answer) for answer in row.completions], "ranks": list(row.ranks)}
        values |= {"weight": row.weight} | ({"rater": row.rater} if row.rater else {})
    else:
        ratings = [
            {"rater": r.rater, "aspect": r.aspect, "score": r.score, "scale": list(r.scale)} for r in row.ratings
        ]
        values = {"completion": _json(row.completion), "ratings": ratings}
    return {"prompt": _json(row.prompt)} | values | _meta(row.meta)


def _json(content: Text) -> str | list[dict[str, str]]:
    if isinstance(content, str):
        return content
    return [{"role": message.role, "content": message.content} for message in content]


def _meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    return {"meta": dict(meta)} if meta else {}


def _prompts(rows: Sequence[Any], min_gap: float, left_out: LeftOut) -> list[Prompt]:
    made: dict[Text, Prompt] = {}
    for row in rows:
        if row.prompt in made:
            left_out["the prompt was there already"] += 1
        else:
            made[row.prompt] = Prompt(_name(row), row.prompt, {k: v for k, v in row.meta.items() if k != "id"})
    if len({prompt.id for prompt in made.values()}) == len(made):
        return list(made.values())
    return [Prompt(f"{index + 1}", prompt.content, prompt.meta) for index, prompt in enumerate(made.values())]


def _chosen(rows: Sequence[Preference], min_gap: float, left_out: LeftOut) -> list[Demonstration]:
    return [Demonstration(row.prompt, row.chosen, row.where, row.meta) for row in rows]


def _both(rows: Sequence[Preference], min_gap: float, left_out: LeftOut) -> list[Unpaired]:
    answers = ((row, answer, good) for row in rows for answer, good in ((row.chosen, True), (row.rejected, False)))
    return [Unpaired(row.prompt, answer, good, row.where, row.meta, row.weight) for row, answer, good in answers]


def _two_ranks(rows: Sequence[Preference], min_gap: float, left_out: LeftOut) -> list[Ranking]:
    return [Ranking(r.prompt, (r.chosen, r.rejected), (1, 2), "", r.weight, r.where, r.meta) for r in rows]


def _good(rows: Sequence[Unpaired], min_gap: float, left_out: LeftOut) -> list[Demonstration]:
    left_out["the answer is labelled bad"] += (bad := sum(not row.label for row in rows))
    if not bad:
        del left_out["the answer is labelled bad"]
    return [Demonstration(row.prompt, row.completion, row.where, row.meta) for row in rows if row.label]


def _all_pairs(rows: Sequence[Ranking], min_gap: float, left_out: LeftOut) -> list[Preference]:
    """Every untied pair of a ranking of K answers, weight 1/(K−1) each, so that each answer weighs one in all."""
    made = list[Preference]()
    for row in rows:
        weight = row.weight / (len(row.completions) - 1)
        for (left, left_rank), (right, right_rank) in combinations(zip(row.completions, row.ranks, strict=True), 2):
            if left_rank == right_rank:
                left_out["the two are tied"] += 1
                continue
            better, worse = (left, right) if left_rank < right_rank else (right, left)
            meta = dict(row.meta) | ({"rater": row.rater} if row.rater else {})
            made.append(Preference(row.prompt, better, worse, 0.0, weight, _name(row), row.where, meta))
    return made


def _rated_pairs(rows: Sequence[Rated], min_gap: float, left_out: LeftOut) -> list[Preference]:
    """Pairs that one rater scored on one prompt; a rater's aspects are averaged on their 0–1 scales; margin = gap."""
    scored: dict[tuple[Text, str], list[tuple[float, Rated]]] = {}
    for row in rows:
        for rater, score in _by_rater(row).items():
            scored.setdefault((row.prompt, rater), []).append((score, row))
    made = list[Preference]()
    for (prompt, rater), answers in scored.items():
        if len(answers) == 1:
            left_out["the rater scored only one answer to this prompt"] += 1
        for left, right in combinations(answers, 2):
            (high, better), (low, worse) = (left, right) if left[0] > right[0] else (right, left)
            gap = high - low
            if gap <= min_gap or better.completion == worse.completion:
                reason = "the two scores are too close" if gap <= min_gap else "the two answers are the same"
                left_out[reason] += 1
                continue
            weight, meta = 1 / (len(answers) - 1), dict(better.meta) | {"rater": rater}
            pair = (better.completion, worse.completion)
            made.append(Preference(prompt, *pair, gap, weight, _name(answers[0][1]), better.where, meta))
    return made


def _by_rater(row: Rated) -> dict[str, float]:
    parts: dict[str, list[float]] = {}
    for rating in row.ratings:
        low, high = rating.scale
        parts.setdefault(rating.rater, []).append((rating.score - low) / (high - low) if high > low else 0.0)
    return {rater: sum(values) / len(values) for rater, values in parts.items()}


def _name(row: Any) -> str:
    name = row.meta.get("id")
    return str(name) if isinstance(name, str | int) else row.where.rpartition("/")[2]


def _flat(rows: Sequence[Demonstration], min_gap: float, left_out: LeftOut) -> list[TextRow]:
    """Only string prompts and completions: how messages become text is the chat template's business."""
    strings = [row for row in rows if isinstance(row.prompt, str) and isinstance(row.completion, str)]
    if len(strings) < len(rows):
        left_out["messages have no text without a chat template"] += len(rows) - len(strings)
    return [TextRow(f"{row.prompt}{row.completion}", row.where) for row in strings]


RULES: Mapping[tuple[str, str], _Rule] = {
    ("demonstration", "prompt"): _prompts,
    ("demonstration", "text"): _flat,
    ("preference", "prompt"): _prompts,
    ("preference", "demonstration"): _chosen,
    ("preference", "unpaired"): _both,
    ("preference", "ranking"): _two_ranks,
    ("unpaired", "prompt"): _prompts,
    ("unpaired", "demonstration"): _good,
    ("ranking", "prompt"): _prompts,
    ("ranking", "preference"): _all_pairs,
    ("rated", "prompt"): _prompts,
    ("rated", "preference"): _rated_pairs,
}
