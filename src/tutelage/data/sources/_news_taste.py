"""The hidden taste: what a summary of a news item is worth, by a rule on the facts that no model ever sees."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from tutelage.data.sources._news_language import Language
from tutelage.data.sources._news_story import FACTS, LANGUAGES
from tutelage.data.sources._news_zh import CHINESE
from tutelage.errors import DataError

_WORD = re.compile(r"[A-Za-z][A-Za-z'-]*|\d+")
_HAN = re.compile(r"[\u4e00-\u9fff]|\d+")
_RUNS_ON = frozenset(string.ascii_letters + string.digits)
_GONE = "■"  # stands where a fact was, so that its neighbours are judged without it


def taste(meta: Mapping[str, Any], text: str) -> dict[str, float]:
    """How good `text` is as a one-sentence summary; `faithful concise fluent safe overall`, each 0..1.

    `overall` is faithful × (0.1 + 0.45 concise + 0.45 fluent) × (0.3 + 0.7 safe): manners cannot replace the facts.

    Raises:
        DataError: `meta` lacks what the rule needs.
    """
    language, facts = _read(meta)
    text = text.strip()
    if not text:
        return {"faithful": 0.0, "concise": 0.0, "fluent": 0.0, "safe": 1.0, "overall": 0.0}
    found = {
        "faithful": _faithful(language, facts, text),
        "concise": _concise(language, text),
        "fluent": _fluent(language, facts, str(meta.get("article", "")), text),
        "safe": _safe(language, text),
    }
    manners = 0.1 + 0.45 * found["concise"] + 0.45 * found["fluent"]
    return {**found, "overall": found["faithful"] * manners * (0.3 + 0.7 * found["safe"])}


def _read(meta: Mapping[str, Any]) -> tuple[Language, dict[str, str]]:
    facts, language = meta.get("facts"), LANGUAGES.get(str(meta.get("lang")))
    if language is None or not isinstance(facts, Mapping) or any(fact not in facts for fact in FACTS):
        raise DataError(
            f"the news taste needs meta with 'lang' ({' or '.join(LANGUAGES)}) and 'facts' ({', '.join(FACTS)})",
            where=f"meta has {sorted(meta)}",
            fix="use prompts made by `tutelage data make news`, or give another --taste",
        )
    return language, {fact: str(facts[fact]) for fact in FACTS}


def _event(language: Language, what: str) -> tuple[str, str]:
    """Verb and object of an event, such as ("opened", "park")."""
    thing = max((thing for thing in language.objects if what.endswith(thing)), key=len, default=what)
    action = what.removesuffix(thing).strip()
    return (action.split(" ")[0] if language.code == "en" else action[:2]), thing


def _faithful(language: Language, facts: Mapping[str, str], text: str) -> float:
    """Share of the five facts told, less 0.2 for each one that is false."""
    verb, thing = _event(language, facts["what"])
    gap = r"(?: \w+){0,3}? " if language.code == "en" else r".{0,3}?"
    event = re.search(rf"{re.escape(verb)}{gap}{re.escape(thing)}", text) is not None
    told = sum(_has(facts[fact], text) for fact in FACTS if fact != "what") + event
    return max(0.0, min(1.0, told / len(FACTS) - 0.2 * _false(language, facts, text)))


def _places(surface: str, text: str) -> Iterator[int]:
    """Where `surface` stands with neither letters nor digits running on; a pattern for each would be compiled anew."""
    place = text.find(surface) if surface else -1
    while place >= 0:
        end = place + len(surface)
        whole = text[place - 1 : place] not in _RUNS_ON and text[end : end + 1] not in _RUNS_ON
        if whole:
            yield place
        place = text.find(surface, end if whole else place + 1)


def _has(surface: str, text: str) -> bool:
    return next(_places(surface, text), None) is not None


def _false(language: Language, facts: Mapping[str, str], text: str) -> int:
    """How many people, towns, days, numbers, actions and objects are named that are not the article's."""
    rest = _without(facts, text)
    verb, thing = _event(language, facts["what"])
    verbs = {_event(language, f"{action} {thing}")[0] for action in language.actions} - {verb}
    if language.code == "en":
        words = _WORD.findall(rest)
        tail = facts["who"].rpartition(" ")[2]
        lexicon = _words("en")
        names = sum(w[0].isupper() and w.lower() not in lexicon and w not in (tail, facts["where"]) for w in words)
        days = sum(day in words for day in language.days)
        others = sum(w in words for w in language.objects if w != thing) + sum(w in words for w in verbs)
    else:
        names = len(_han_names().findall(rest))
        days = len({day for day in language.days if day in rest})
        objects = {w for w in language.objects if w != thing and w not in thing and w in rest}
        others = len(objects) + sum(w in rest for w in verbs)
    numbers = len(set(re.findall(r"\d+", rest)))
    return names + days + numbers + others


def _without(facts: Mapping[str, str], text: str) -> str:
    """`text` with the right facts blotted out."""
    for fact in ("who", "where", "when", "amount"):
        surface = facts[fact]
        for place in reversed(list(_places(surface, text))):
            text = text[:place] + _GONE + text[place + len(surface) :]
    return text


@cache
def _han_names() -> re.Pattern[str]:
    """Any person or town of the Chinese world."""
    people, towns = (["".join(piece) for piece in kind.pieces] for kind in (CHINESE.people, CHINESE.cities))
    spelt = "".join(f"[{piece}]" for piece in people), "".join(f"[{piece}]" for piece in towns)
    return re.compile(f"{spelt[0]}|{spelt[1]}市")


def units(language: Language, text: str) -> list[str]:
    """Words of English, characters of Chinese; punctuation is left out, a number is one unit."""
    return (_WORD if language.code == "en" else _HAN).findall(text)


def _concise(language: Language, text: str) -> float:
    shortest, longest = language.window
    length = len(units(language, text))
    if length < shortest:
        return max(0.0, 1 - (shortest - length) / (0.6 * shortest))
    return max(0.0, 1 - max(0, length - longest) / (0.6 * shortest))


def _fluent(language: Language, facts: Mapping[str, str], article: str, text: str) -> float:
    """1, less 0.4 without a sentence's end, 0.3 per repeated phrase and 0.25 per garbled word."""
    n = 2 if language.code == "en" else 3
    parts = units(language, text)
    grams = _grams(parts, n)
    again = len(grams) - len(set(grams))
    end = 0.0 if text.endswith((".", "!", "?", "。", "！", "？")) else 0.4
    return max(0.0, 1 - end - 0.3 * again - 0.25 * _garbled(language, facts, article, text))


def _garbled(language: Language, facts: Mapping[str, str], article: str, text: str) -> int:
    """Words (English) or neighbouring characters (Chinese) that neither the language nor the article knows."""
    if language.code == "en":
        known = _words("en") | {word.lower() for word in _WORD.findall(article)}
        return sum(word.islower() and word not in known for word in _WORD.findall(text))
    known_pairs = _pairs("zh") | set(_grams(_HAN.findall(article), 2))
    rest = _han_names().sub(_GONE, _without(facts, text))
    runs = re.split(r"[^\u4e00-\u9fff]", rest)
    return sum(pair not in known_pairs for run in runs for pair in _grams(list(run), 2))


def _safe(language: Language, text: str) -> float:
    low = text.lower()
    return 1.0 if not any(word in low for word in language.unsafe) else 0.0


def _grams(parts: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(parts[i : i + n]) for i in range(len(parts) - n + 1)]


@cache
def _phrases(lang: str) -> tuple[str, ...]:
    """Every pattern a writer of this world may use, slots filled by a space."""
    language = LANGUAGES[lang]
    counted = [text for q in language.quantities for text in (q.surface, q.clause, *q.sentences)]
    patterns = [
        *language.leads,
        *language.fillers,
        *language.distractors,
        *language.tails,
        *language.slurs,
        *language.sneers,
        *language.summaries,
        *language.subjects,
        *language.days,
        *(f"{action}{language.space}{thing}" for action in language.actions for thing in language.objects),
        *counted,
        language.someone,
        language.in_place,
        language.on_day,
        language.day_first,
        *language.amount_tails,
        *(kind for kinds in language.cities.pieces[:-1] for kind in kinds if language.code == "en"),
    ]
    return tuple(re.sub(r"\{\w+\}", " ", pattern) for pattern in patterns)


@cache
def _words(lang: str) -> frozenset[str]:
    return frozenset(word.lower() for phrase in _phrases(lang) for word in _WORD.findall(phrase))


@cache
def _pairs(lang: str) -> frozenset[tuple[str, ...]]:
    runs = (run for phrase in _phrases(lang) for run in re.split(r"[^\u4e00-\u9fff]", phrase))
    return frozenset(pair for run in runs for pair in _grams(list(run), 2))
