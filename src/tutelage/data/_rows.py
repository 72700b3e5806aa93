"""One builder per kind of data: checked cells → typed rows."""

from __future__ import annotations

import os.path
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from tutelage.data._fields import Cells, kind_of, same_text
from tutelage.types import (
    Demonstration,
    Message,
    Preference,
    Prompt,
    Ranking,
    Rated,
    Rating,
    Text,
    TextRow,
    Unpaired,
)

_Builder = Callable[[Cells, Counter[str]], Sequence[Any]]
_IMPLICIT_MARKS = ("\n\nAssistant:", "\n\nassistant:")
_SCALE = (0.0, 5.0)
_UNKNOWN_SCALE = (float("-inf"), float("inf"))


def _text(cells: Cells, notes: Counter[str]) -> list[TextRow]:
    return [TextRow(cells.string("text"), cells.row.where)]


def _prompt(cells: Cells, notes: Counter[str]) -> list[Prompt]:
    if "prompt" in cells.values:
        content = _asked(cells, "prompt", cells.content("prompt"))
    else:
        messages = cells.messages("messages", cells.items("messages", 1))
        last = max((i for i, message in enumerate(messages) if message.role == "assistant"), default=len(messages))
        if last < len(messages):
            notes["the last answer was left out of the prompt"] += 1
        content = _asked(cells, "messages", messages[:last])
    name = cells.values.get("id")
    if isinstance(name, bool) or not isinstance(name, str | int | None):
        cells.fail("id", f"'id' is {kind_of(name)}", "write a string or remove it")
    cells.used.add("id")
    file = cells.row.where.rpartition(os.path.sep)[2]
    return [Prompt(file if name is None else str(name), content, cells.meta())]


def _demonstration(cells: Cells, notes: Counter[str]) -> list[Demonstration]:
    prompt, completion = _answered(cells)
    return [Demonstration(prompt, completion, cells.row.where, cells.meta())]


def _pair(cells: Cells, notes: Counter[str]) -> list[Preference]:
    chosen, rejected = cells.content("chosen"), cells.content("rejected")
    explicit = cells.content("prompt") if "prompt" in cells else None
    if explicit is None or _holds_prompt(explicit, chosen):
        prompt, chosen, rejected = _split_implicit(cells, chosen, rejected)
    else:
        prompt = _asked(cells, "prompt", explicit)
    tie = cells.values.get("tie") is True
    cells.used.add("tie")
    chosen, rejected = _reply(cells, "chosen", prompt, chosen), _reply(cells, "rejected", prompt, rejected)
    if same_text(chosen, rejected):
        cells.fail("rejected", "chosen and rejected are the same", "remove the row, or --on-bad skip")
    group = cells.string("group") if "group" in cells else ""
    margin, weight = cells.number("margin", 0.0), cells.number("weight", 1.0)
    return [Preference(prompt, chosen, rejected, margin, weight, group, cells.row.where, cells.meta(), tie)]


def _preference(cells: Cells, notes: Counter[str]) -> list[Preference]:
    if cells.values.get("tie") is True:
        fix = "remove it, or --on-bad skip; `tutelage reward` learns from ties"
        cells.fail("tie", "the pair is a tie, which prefers neither", fix)
    return _pair(cells, notes)


def _comparison(cells: Cells, notes: Counter[str]) -> list[Preference]:
    """Pairs that may be ties, also out of rankings: each pair of K answers, weight 1/(K−1), all in one group."""
    both_bad = cells.values.get("both_bad") is True
    cells.used.add("both_bad")
    if both_bad:
        notes["left out: both answers are bad, which is no tie"] += 1
        return []
    if "completions" not in cells:
        return _pair(cells, notes)
    cells.used.add("tie")
    group = cells.string("group") if "group" in cells else cells.row.where
    return [
        Preference(row.prompt, a, b, 0.0, row.weight / (len(row.ranks) - 1), group, row.where, row.meta, one == two)
        for row in _ranking(cells, notes)
        for (one, a), (two, b) in combinations(sorted(zip(row.ranks, row.completions, strict=True), key=_rank), 2)
        if not same_text(a, b)
    ]


def _rank(ranked: tuple[int, Text]) -> int:
    return ranked[0]


def _unpaired(cells: Cells, notes: Counter[str]) -> list[Unpaired]:
    label = cells.take("label")
    if not isinstance(label, bool):
        cells.fail("label", f"'label' is {label!r}, not true or false", "write true (good) or false (bad)")
    prompt, completion = _answered(cells)
    weight = cells.number("weight", 1.0)
    return [Unpaired(prompt, completion, label, cells.row.where, cells.meta(), weight)]


def _ranking(cells: Cells, notes: Counter[str]) -> list[Ranking]:
    prompt = _asked(cells, "prompt", cells.content("prompt"))
    count = len(cells.items("completions", 2))
    answers = tuple(_reply(cells, "completions", prompt, cells.content("completions", i), i) for i in range(count))
    if "votes" in cells:
        notes["one ranking per vote"] += 1
        return _from_votes(cells, prompt, answers)
    ranks = cells.items("ranks", 2)
    if len(ranks) != count:
        cells.fail("ranks", f"{count} completions but {len(ranks)} ranks", "give each completion a rank")
    for index, rank in enumerate(ranks):
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            cells.fail("ranks", f"the rank {rank!r} is not 1, 2, 3 …", "1 is the best, equal ranks are ties", index)
    for left in range(count):
        for right in range(left):
            if ranks[left] != ranks[right] and same_text(answers[left], answers[right]):
                cells.fail("completions", f"completions {right} and {left} are the same, their ranks differ", "mend")
    rater = cells.string("rater") if "rater" in cells else ""
    weight = cells.number("weight", 1.0)
    return [Ranking(prompt, answers, tuple(ranks), rater, weight, cells.row.where, cells.meta())]


def _rated(cells: Cells, notes: Counter[str]) -> list[Rated]:
    prompt, completion = _answered(cells)
    scale = _UNKNOWN_SCALE
    if "rating_scale" in cells:
        low, high = cells.items("rating_scale", 2)[:2]
        scale = (_score(cells, low, _UNKNOWN_SCALE, "rating_scale", 0), _score(cells, high, scale, "rating_scale", 1))
    if isinstance(cells.values.get("scores"), list):
        notes["each rater's score is taken, the row's mean ratings are kept in meta"] += 1
        ratings = _from_scores(cells, scale)
    elif isinstance(cells.values.get("ratings"), Mapping):
        ratings = [
            Rating("mean", aspect, _score(cells, score, scale, "ratings", aspect), scale)
            for aspect, score in cells.take("ratings").items()
        ]
    else:
        ratings = [_rating(cells, item, index) for index, item in enumerate(cells.items("ratings", 1))]
    if not ratings:
        cells.fail("ratings", "there is no rating", "remove the row, or --on-bad skip")
    return [Rated(prompt, completion, tuple(ratings), cells.row.where, cells.meta())]


def same_scale(rows: Sequence[Rated], notes: list[str]) -> list[Rated]:
    """Give aspects whose file does not state a scale the range that was seen, and note it."""
    seen: dict[str, list[float]] = {}
    for row in rows:
        for rating in row.ratings:
            if rating.scale == _UNKNOWN_SCALE:
                seen.setdefault(rating.aspect, []).append(rating.score)
    scales = {aspect: (min(scores), max(scores)) for aspect, scores in seen.items()}
    notes += [f"no scale is given for '{aspect}': {low:g}–{high:g} was seen" for aspect, (low, high) in scales.items()]
    return [
        replace(
            row,
            ratings=tuple(
                replace(rating, scale=scales[rating.aspect]) if rating.scale == _UNKNOWN_SCALE else rating
                for rating in row.ratings
            ),
        )
        if scales
        else row
        for row in rows
    ]


def _answered(cells: Cells) -> tuple[Text, Text]:
    """Prompt and completion; of `messages`, the completion starts at the first assistant turn."""
    if "prompt" in cells.values:
        prompt = _asked(cells, "prompt", cells.content("prompt"))
        return prompt, _reply(cells, "completion", prompt, cells.content("completion"))
    messages = cells.messages("messages", cells.items("messages", 1))
    first = next((i for i, message in enumerate(messages) if message.role == "assistant"), None)
    if first is None:
        cells.fail("messages", "there is no assistant turn to learn", "add one or remove the row")
    if first == 0:
        cells.fail("messages", "the conversation starts with an assistant turn", "put a user turn before it", 0)
    if messages[-1].role != "assistant":
        cells.fail("messages", "the conversation does not end with an assistant turn", "remove what follows the answer")
    return messages[:first], messages[first:]


def _asked(cells: Cells, name: str, prompt: Text) -> Text:
    if isinstance(prompt, tuple) and prompt[-1].role == "assistant":
        cells.fail(name, "the prompt ends with an assistant turn", "end it with a user turn", len(prompt) - 1)
    if isinstance(prompt, tuple) and prompt[-1].role == "system":
        cells.fail(name, "the prompt has no user turn", "add one after the system message", len(prompt) - 1)
    return prompt


def _reply(cells: Cells, name: str, prompt: Text, answer: Text, *path: int) -> Text:
    """An answer in the style of its prompt: messages after messages, a string after a string."""
    if isinstance(answer, str):
        return answer if isinstance(prompt, str) else (Message("assistant", answer),)
    if isinstance(prompt, str):
        fix = "give both as strings or both as messages"
        cells.fail(name, f"the prompt is a string but '{name}' is messages that do not begin with it", fix, *path)
    if answer[0].role != "assistant" or answer[-1].role != "assistant":
        fix = "it must start and end with an assistant turn, and not repeat the prompt"
        cells.fail(name, f"'{name}' starts with a {answer[0].role} and ends with a {answer[-1].role} turn", fix, *path)
    return answer


def _holds_prompt(prompt: Text, chosen: Text) -> bool:
    """Whether `chosen` is the whole conversation, its prompt included."""
    if isinstance(chosen, str):
        return False
    if isinstance(prompt, str):
        return len(chosen) > 1 and chosen[0].role == "user" and chosen[0].content.strip() == prompt.strip()
    return len(chosen) > len(prompt) and chosen[: len(prompt)] == prompt


def _split_implicit(cells: Cells, chosen: Text, rejected: Text) -> tuple[Text, Text, Text]:
    """The prompt is what chosen and rejected share at the start (TRL's implicit prompt)."""
    if isinstance(chosen, str) and isinstance(rejected, str):
        shared = os.path.commonprefix([chosen, rejected])
        marks = [shared.rfind(mark) + len(mark) for mark in _IMPLICIT_MARKS if mark in shared]
        cut = max(marks) if marks else len(shared.rstrip())
    elif isinstance(chosen, tuple) and isinstance(rejected, tuple):
        pairs = zip(chosen[:-1], rejected[:-1], strict=False)
        cut = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(chosen), len(rejected)) - 1)
        while cut and chosen[cut - 1].role == "assistant":
            cut -= 1
    else:
        cells.fail("rejected", "one of chosen and rejected is a string, the other messages", "give both alike")
    if not cut:
        fix = "add a column 'prompt', or begin both with the same prompt"
        cells.fail("chosen", "there is no prompt: chosen and rejected share no beginning", fix)
    if not chosen[cut:] or not rejected[cut:]:
        cells.fail("rejected", "one of chosen and rejected is only the other's beginning", "remove the row")
    return chosen[:cut], chosen[cut:], rejected[cut:]


def _from_votes(cells: Cells, prompt: Text, answers: tuple[Text, ...]) -> list[Ranking]:
    ranks = {"a": (1, 2), "b": (2, 1), "tie": (1, 1)}
    votes = cells.items("votes", 1)
    raters = cells.items("raters", len(votes)) if "raters" in cells else [f"rater{i + 1}" for i in range(len(votes))]
    for index, vote in enumerate(votes):
        if vote not in ranks:
            cells.fail("votes", f"the vote {vote!r} is none of a, b, tie", "mend it", index)
    meta = cells.meta()
    pairs = zip(votes, raters, strict=False)
    return [Ranking(prompt, answers, ranks[v], str(rater), 1.0, cells.row.where, meta) for v, rater in pairs]


def _from_scores(cells: Cells, scale: tuple[float, float]) -> list[Rating]:
    scores = cells.items("scores", 1)
    raters = cells.items("raters", len(scores)) if "raters" in cells else [f"rater{i + 1}" for i in range(len(scores))]
    return [
        Rating(str(rater), "score", _score(cells, score, scale, "scores", index), scale)
        for index, (score, rater) in enumerate(zip(scores, raters, strict=False))
    ]


def _rating(cells: Cells, item: Any, index: int) -> Rating:
    if not isinstance(item, Mapping) or "score" not in item:
        fix = 'write {"rater": "r1", "aspect": "fluent", "score": 4, "scale": [0, 5]}'
        cells.fail("ratings", f"rating {index} is not an object with a score", fix, index)
    scale = item.get("scale", list(_SCALE))
    if not isinstance(scale, list) or len(scale) != 2:
        cells.fail("ratings", "a scale is not [lowest, highest]", 'write "scale": [0, 5]', index, "scale")
    low, high = (_score(cells, end, _UNKNOWN_SCALE, "ratings", index, "scale") for end in scale)
    if low >= high:
        cells.fail("ratings", f"the scale {low:g}–{high:g} is empty", 'write "scale": [0, 5]', index, "scale")
    score = _score(cells, item["score"], (low, high), "ratings", index, "score")
    return Rating(str(item.get("rater", "")), str(item.get("aspect", "overall")), score, (low, high))


def _score(cells: Cells, value: Any, scale: tuple[float, float], name: str, *path: str | int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        cells.fail(name, f"a score is {kind_of(value)}, not a number", "write a number or remove the row", *path)
    if not scale[0] <= value <= scale[1]:
        fix = "mend the score or state the scale"
        cells.fail(name, f"the score {value:g} lies outside its scale {scale[0]:g}–{scale[1]:g}", fix, *path)
    return float(value)


BUILDERS: Mapping[str, _Builder] = {
    "text": _text,
    "prompt": _prompt,
    "demonstration": _demonstration,
    "preference": _preference,
    "unpaired": _unpaired,
    "ranking": _ranking,
    "rated": _rated,
}
COMPARISONS: _Builder = _comparison
"""Preferences for those who can learn from ties."""
