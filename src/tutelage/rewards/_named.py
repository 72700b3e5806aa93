"""How rewards are named in a command or file, and how the name becomes a source.

reward  :=  term " + " term …            term  :=  [NUMBER "*"] source
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args
from urllib.parse import parse_qsl

from tutelage._http import Service
from tutelage.config import suggest
from tutelage.errors import UsageError
from tutelage.judge import RUBRIC, Judge, rubric_of
from tutelage.rewards import classical
from tutelage.rewards._base import RewardSource
from tutelage.rewards._lack import PREFIX
from tutelage.rewards.clipped import Clipped
from tutelage.rewards.function import Function
from tutelage.rewards.human import Ask, Human, Join, Scales
from tutelage.rewards.judged import Judged, Mode
from tutelage.rewards.mixture import Mixture, Term
from tutelage.rewards.normalised import Normalised
from tutelage.rewards.remote import Remote
from tutelage.rewards.taste import TasteReward

FORMS = {
    "FOLDER or hub id": "a reward model, neural or classical",
    "FOLDER@lcb=1.0": "an ensemble's mean less 1.0 times its spread",
    "package.module:function": "a function of (prompt, completion)",
    "taste:NAME": "a rule on the hidden facts of the prompt, such as taste:news",
    "people:DB_OR_JSONL[#ASPECT,…][?n=3&wait=600&…]": "people's own scores, recorded or live",
    "http(s)://HOST/PATH[#timeout=60&…]": "a scorer that speaks JSON",
    "judge:BASE_URL#MODEL[?rubric=FILE&…]": "a language model as judge",
    "normalise(REWARD), clip(REWARD, LOW, HIGH)": "on the scale of its own history; held within limits",
    "0.7*REWARD + 0.3*REWARD": "a weighted sum",
}
"""What a reward's name may look like, and what it means."""
_TERM = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*\*\s*(.+)", re.DOTALL)
_CALL = re.compile(r"\s*(normalise|clip)\((.*)\)\s*", re.DOTALL)
_LOWER = re.compile(r"(.+)@lcb(?:=(\d+\.?\d*|\.\d+))?", re.DOTALL)
_PEOPLE = re.compile(r"([^#?]+)(?:#([^?]*))?(?:\?(.*))?", re.DOTALL)
_JUDGE = re.compile(r"(https?://[^#?]+)#([^?]+)(?:\?(.*))?", re.DOTALL)


@dataclass(frozen=True)
class People:
    """What `people:…` asks for."""

    source: str
    """database or files"""
    aspects: tuple[str, ...] = ()
    n: int = 3
    """raters for each answer"""
    wait: float = 600.0
    """seconds to wait for them"""
    project: str = "default"
    raters: str = ""
    """simulated raters in people's place: `default`, `fresh:N`; "" = people"""
    taste: str = "news"
    """their hidden taste"""
    seed: int = 0
    join: Join = "mean"
    """how n scores become one"""
    zscore: bool = False
    """take each rater's severity and spread out of the scores"""
    shrinkage: float = 10.0
    """scores by which a rater is taken for an ordinary one"""


@dataclass(frozen=True)
class Tools:
    """What only the floors above can make."""

    model: Callable[[str, float], RewardSource]
    """folder or hub id of a neural reward model, spreads of its ensemble to take off → source"""
    people: Callable[[People], tuple[Ask, Scales | None]]
    kept: Path
    """folder for what a judge replied"""
    warn: Callable[[str], None] = print


def named(text: str, tools: Tools, *, watched: bool = False) -> RewardSource:
    """The source that `text` names.

    Args:
        watched: it is only looked at, so nothing may be learned from its history.

    Raises:
        UsageError: no such form; the message lists those there are. Others as the source itself raises them.
    """
    if not text.strip():
        raise unknown("no reward was named")
    terms = [_term(part) for part in _split(text, " + ")] if not _exists(text) else [(None, text)]
    if len(terms) == 1 and terms[0][0] is None:
        return _source(terms[0][1].strip(), tools, watched)
    names: list[str] = []
    made: list[Term] = []
    for weight, name in terms:
        names.append(_short(name.strip(), names))
        made.append(Term(names[-1], 1.0 if weight is None else weight, _source(name.strip(), tools, watched)))
    return Mixture(made)


def model_of(text: str) -> str | None:
    """The one neural reward model that `text` names, from which a critic may start; None if it is anything else."""
    if (lower := _LOWER.fullmatch(text)) is not None and not _exists(text):
        text = lower[1]
    if not text or classical.folder_of(text) is not None:
        return None
    if _exists(text):
        return text
    plain = ":" not in text and " + " not in text and not _TERM.fullmatch(text) and not _CALL.fullmatch(text)
    return text if plain else None


def folders(text: str) -> list[str]:
    """The folders and files that a mixture names, for the run's family tree."""
    if not text or _exists(text):
        return []
    if (lacked := text.removeprefix(PREFIX)) != text:
        return [lacked] if _exists(lacked) else folders(lacked)
    inner = [_CALL.fullmatch(name) for _, name in map(_term, _split(text, " + "))]
    names = [name.strip() for _, name in map(_term, _split(text, " + "))]
    found: list[str] = []
    for name, call in zip(names, inner, strict=True):
        if call is not None:
            first = _split(call[2], ",")[0]
            found += [first.strip()] if _exists(first.strip()) else folders(first)
        elif Path(name.partition("@lcb")[0]).is_dir():
            found.append(name.partition("@lcb")[0])
    return found


def unknown(what: str, hint: str | None = None) -> UsageError:
    """An error that lists the forms."""
    listed = "\n       ".join(f"{form:<48} {meaning}" for form, meaning in FORMS.items())
    return UsageError(what, fix=f"{hint + ' ' if hint else ''}a reward is one of\n       {listed}")


def _source(name: str, tools: Tools, watched: bool) -> RewardSource:
    if (folder := classical.folder_of(name)) is not None:
        return classical.Classical.load(folder)
    if not name or _exists(name):
        if not name:
            raise unknown("a part of the reward is empty")
        return tools.model(name, 0.0)
    if (call := _CALL.fullmatch(name)) is not None:
        return _called(call[1], call[2], tools, watched)
    kind, colon, rest = name.partition(":")
    if kind == "taste":
        return TasteReward.named(rest)
    if kind == "people":
        return _people(rest, tools)
    if kind == "judge":
        return _judge(rest, tools)
    if kind in ("http", "https"):
        return _remote(name)
    if not colon:
        if "(" in name or "*" in name:
            raise unknown(f"'{name}' names no reward")
        return _neural(name, tools)
    try:
        return Function.named(name)
    except UsageError as error:
        hint = None if "." in kind else suggest(kind, ["taste", "people", "judge", "https"])
        raise unknown(error.what, hint) from error


def _neural(name: str, tools: Tools) -> RewardSource:
    found = _LOWER.fullmatch(name)
    if found is None:
        return tools.model(name, 0.0)
    return tools.model(found[1], float(found[2] or 1.0))


def _called(call: str, inside: str, tools: Tools, watched: bool) -> RewardSource:
    parts = _split(inside, ",")
    if call == "normalise":
        if watched:
            raise UsageError("normalise(…) follows what is trained on; a watched reward is only looked at")
        return Normalised(named(inside, tools, watched=watched))
    try:
        low, high = (float(part) for part in parts[-2:])
    except ValueError:
        raise unknown(f"'clip({inside})' needs a reward and two numbers") from None
    if len(parts) < 3:
        raise unknown(f"'clip({inside})' needs a reward and two numbers")
    return Clipped(named(",".join(parts[:-2]), tools, watched=watched), low, high)


def _people(rest: str, tools: Tools) -> RewardSource:
    found = _PEOPLE.fullmatch(rest)
    if found is None:
        raise unknown(f"'people:{rest}' names no database or file")
    aspects = tuple(filter(None, (aspect.strip() for aspect in (found[2] or "").split(","))))
    known = {"n": int, "wait": float, "project": str, "raters": str, "taste": str, "seed": int}
    more = {"join": _one_of(*get_args(Join)), "zscore": _switch, "shrinkage": float}
    options = _options(f"people:{rest}", found[3], known | more)
    wanted = People(found[1], aspects, **options)
    if wanted.n < 1 or wanted.wait < 0:
        raise UsageError(f"people:{rest}: n is 1 or more, wait 0 or more")
    if wanted.join == "max":
        tools.warn("join=max: the best of n scores overstates every answer, by more the more raters there are")
    ask, scales = tools.people(wanted)
    return Human(ask, aspects, wanted.join, scales)


def _judge(rest: str, tools: Tools) -> RewardSource:
    found = _JUDGE.fullmatch(rest)
    if found is None:
        raise unknown(f"'judge:{rest}' lacks an address or a model")
    known = {"rubric": rubric_of, "mode": _one_of(*get_args(Mode)), "low": int, "high": int, "timeout": float}
    more = {"retries": int, "at_once": int, "cache": str}
    options = _options(f"judge:{rest}", found[3], known | more)
    mode = options.pop("mode", "score")
    cache = Path(options.pop("cache", "") or tools.kept)
    rubric = options.pop("rubric", RUBRIC)
    return Judged(Judge.at(found[1], found[2], cache=cache, rubric=rubric, **options), mode)


def _remote(name: str) -> RewardSource:
    from os import environ

    url, _, told = name.partition("#")
    known = {"timeout": float, "retries": int, "batch": int, "meta": _switch}
    options = _options(name, told, known)
    own = {key: options.pop(key) for key in ("batch", "meta") if key in options}
    if own.get("batch", 1) < 1:
        raise UsageError(f"{name}: batch is 1 or more")
    return Remote(Service(url, key=environ.get("TUTELAGE_REWARD_KEY", ""), **options), **own)


def _exists(text: str) -> bool:
    """Whether there is such a file or folder; a sum may be longer than any file's name."""
    try:
        return Path(text).exists()
    except OSError:
        return False


def _options(name: str, text: str | None, known: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """`key=value&key=value`, each read by its type."""
    found: dict[str, Any] = {}
    for key, value in parse_qsl(text or "", keep_blank_values=True):
        if key not in known:
            hint = suggest(key, list(known)) or ""
            raise UsageError(f"{name}: unknown option '{key}'", fix=f"{hint} choices: {', '.join(known)}".strip())
        try:
            found[key] = known[key](value)
        except UsageError:
            raise
        except ValueError as error:
            raise UsageError(f"{name}: {key}={value} cannot be read: {error}") from error
    if text and not found:
        raise UsageError(f"{name}: '{text}' is no list of options", fix="write key=value&key=value")
    return found


def _switch(value: str) -> bool:
    if value not in ("0", "1", "true", "false"):
        raise ValueError("write 1 or 0")
    return value in ("1", "true")


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value not in choices:
            raise ValueError(f"choices: {', '.join(choices)}")
        return value

    return read


def _term(text: str) -> tuple[float | None, str]:
    found = _TERM.fullmatch(text)
    return (float(found[1]), found[2]) if found else (None, text)


def _split(text: str, at: str) -> list[str]:
    """`text` cut at `at` outside parentheses."""
    parts, depth, start, place = list[str](), 0, 0, 0
    while place < len(text):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0 and text.startswith(at, place):
            parts.append(text[start:place])
            place += len(at)
            start = place
            continue
        place += 1
    return [*parts, text[start:]]


def _short(name: str, taken: list[str]) -> str:
    """A name for a part that fits into the name of a metric, different from the others."""
    kind, colon, rest = name.partition(":")
    if call := _CALL.fullmatch(name):
        short = call[1]
    elif kind in ("people", "judge", "taste"):
        short = kind if kind != "taste" else f"taste-{rest}"
    elif kind in ("http", "https"):
        short = "remote"
    else:
        path = Path(name.partition("@lcb")[0].rstrip("/"))
        short = rest if colon and not path.exists() else path.parent.name if path.name == "model" else path.name
    short = re.sub(r"[^\w.-]+", "-", short).strip("-") or "part"
    number = 1 + sum(other == short or other.rpartition("-")[0] == short for other in taken)
    return short if number == 1 else f"{short}-{number}"
