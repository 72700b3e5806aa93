"""The grammar in which rewards are named, in a command or a file: names taken apart, nothing built.

    reward  :=  term " + " term …            term  :=  [NUMBER "*"] source

What a source's name becomes is told in `_named.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from tutelage.config import suggest
from tutelage.errors import MissingInputError, ServiceError, UsageError
from tutelage.rewards import classical
from tutelage.rewards._lack import PREFIX

T = TypeVar("T")

FORMS = {
    "FOLDER or hub id": "a reward model, neural or classical",
    "FOLDER@lcb=1.0": "an ensemble's mean less 1.0 times its spread",
    "package.module:function": "a function of (prompt, completion)",
    "taste:NAME": "a rule on the hidden facts of the prompt, such as taste:news",
    "human, people:DB_OR_JSONL[#ASPECT,…][?n=3&…]": "people's own scores, live (--db, --project) or recorded",
    "http(s)://HOST/PATH[#timeout=60&…]": "a scorer that speaks JSON",
    "judge:BASE_URL#MODEL[?rubric=FILE&…]": "a language model as judge",
    "normalise(REWARD), clip(REWARD, LOW, HIGH)": "on the scale of its own history; held within limits",
    "0.7*REWARD + 0.3*REWARD": "a weighted sum",
}
"""What a reward's name may look like, and what it means."""
TERM = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*\*\s*(.+)", re.DOTALL)
CALL = re.compile(r"\s*(normalise|clip)\((.*)\)\s*", re.DOTALL)
PEOPLE = re.compile(r"(?:people|human)(?=[:#?]|$):?([^#?]*)(?:#([^?]*))?(?:\?(.*))?", re.DOTALL)
"""people:SOURCE#ASPECT,…?OPTIONS; `human` is another word for it, and without SOURCE it is --db"""
LATE = ("wait", "train", "model", "stop")
NUMBERS: dict[Callable[[str], Any], str] = {int: "a whole number", float: "a number"}
"""reader of an option → what it wants, in words; Python's own words are no user's"""
WORDS = ("human", "people", "taste", "judge", "normalise", "clip")
"""what a mistyped name may have meant; a word without a colon is a folder's name or a hub's id else"""
LOWER = re.compile(r"(.+)@lcb(?:=(\d+\.?\d*|\.\d+))?", re.DOTALL)


def model_of(text: str) -> str | None:
    """The one neural reward model that `text` names, from which a critic may start; None if it is anything else."""
    if (lower := LOWER.fullmatch(text)) is not None and not exists(text):
        text = lower[1]
    if not text or classical.folder_of(text) is not None:
        return None
    if exists(text):
        return text
    if PEOPLE.fullmatch(text):
        return None
    plain = ":" not in text and " + " not in text and not TERM.fullmatch(text) and not CALL.fullmatch(text)
    return text if plain else None


def folders(text: str) -> list[str]:
    """The folders and files that a mixture names, for the run's family tree."""
    if not text or exists(text):
        return []
    if (lacked := text.removeprefix(PREFIX)) != text:
        return [lacked] if exists(lacked) else folders(lacked)
    inner = [CALL.fullmatch(name) for _, name in map(term, split(text, " + "))]
    names = [name.strip() for _, name in map(term, split(text, " + "))]
    found: list[str] = []
    for name, call in zip(names, inner, strict=True):
        if call is not None:
            first = split(call[2], ",")[0]
            found += [first.strip()] if exists(first.strip()) else folders(first)
        elif (people := PEOPLE.fullmatch(name)) is not None:
            model = dict(parse_qsl(people[3] or "")).get("model", "")
            found += [model] if model and exists(model) else folders(model)
        elif Path(name.partition("@lcb")[0]).is_dir():
            found.append(name.partition("@lcb")[0])
    return found


def unknown(what: str, hint: str | None = None) -> UsageError:
    """An error that lists the forms."""
    listed = "\n       ".join(f"{form:<48} {meaning}" for form, meaning in FORMS.items())
    return UsageError(what, fix=f"{hint + ' ' if hint else ''}a reward is one of\n       {listed}")


def hinted(name: str, load: Callable[[], T]) -> T:
    """What `load` makes of a reward model's name; where there is no such model, words near that name are suggested."""
    try:
        return load()
    except (MissingInputError, ServiceError) as error:
        hint = suggest(name, WORDS)
        if hint is None:
            raise
        raise type(error)(error.what, where=error.where, fix=f"{hint} Or {error.fix}" if error.fix else hint) from error


def exists(text: str) -> bool:
    """Whether there is such a file or folder; a sum may be longer than any file's name."""
    try:
        return Path(text).exists()
    except OSError:
        return False


def read_options(name: str, text: str | None, known: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
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
            why = f"'{value}' is not {NUMBERS[known[key]]}" if known[key] in NUMBERS else str(error)
            raise UsageError(f"{name}: {key}={value} cannot be read: {why}") from error
    if text and not found:
        raise UsageError(f"{name}: '{text}' is no list of options", fix="write key=value&key=value")
    return found


def people_options(name: str, text: str | None) -> dict[str, Any]:
    """The options of `people:…`; `deadline` is another word for `wait`, and `raters` may be how many (n) or who."""
    known: dict[str, Callable[[str], Any]] = {"n": int, "wait": float, "project": str, "raters": str, "taste": str}
    known |= {"seed": int, "join": one_of("mean", "max"), "zscore": switch, "shrinkage": float, "deadline": float}
    known |= {"late": one_of(*LATE), "model": str, "ask": one_of("scores", "pairs")}
    found = read_options(name, text, known)
    if "deadline" in found:
        found["wait"] = found.pop("deadline")
    if found.get("raters", "").isdecimal():
        found["n"] = int(found.pop("raters"))
    return found


def switch(value: str) -> bool:
    """An option that is on or off."""
    if value not in ("0", "1", "true", "false"):
        raise ValueError("write 1 or 0")
    return value in ("1", "true")


def one_of(*choices: str) -> Callable[[str], str]:
    """A reader of an option with a few choices."""

    def read(value: str) -> str:
        if value not in choices:
            raise ValueError(f"choices: {', '.join(choices)}")
        return value

    return read


def term(text: str) -> tuple[float | None, str]:
    """`0.7*REWARD` → (0.7, `REWARD`); a reward without a number → (None, itself)."""
    found = TERM.fullmatch(text)
    return (float(found[1]), found[2]) if found else (None, text)


def split(text: str, at: str) -> list[str]:
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


def short_name(name: str, taken: list[str]) -> str:
    """A name for a part that fits into the name of a metric, different from the others."""
    kind, colon, rest = name.partition(":")
    if call := CALL.fullmatch(name):
        short = call[1]
    elif PEOPLE.fullmatch(name):
        short = "people"
    elif kind in ("judge", "taste"):
        short = kind if kind != "taste" else f"taste-{rest}"
    elif kind in ("http", "https"):
        short = "remote"
    else:
        path = Path(name.partition("@lcb")[0].rstrip("/"))
        short = rest if colon and not path.exists() else path.parent.name if path.name == "model" else path.name
    short = re.sub(r"[^\w.-]+", "-", short).strip("-") or "part"
    number = 1 + sum(other == short or other.rpartition("-")[0] == short for other in taken)
    return short if number == 1 else f"{short}-{number}"
