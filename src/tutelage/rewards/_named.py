"""How the name of a reward becomes a source; the grammar of names is `_grammar.py`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from tutelage._http import Service
from tutelage.config import suggest
from tutelage.errors import UsageError
from tutelage.judge import RUBRIC, Judge, rubric_of
from tutelage.rewards import classical
from tutelage.rewards._base import RewardSource
from tutelage.rewards._grammar import (
    CALL,
    FORMS,
    LOWER,
    PEOPLE,
    exists,
    folders,
    hinted,
    model_of,
    one_of,
    people_options,
    read_options,
    short_name,
    split,
    switch,
    term,
    unknown,
)
from tutelage.rewards._live import Desk, LiveHuman, LivePairs
from tutelage.rewards.clipped import Clipped
from tutelage.rewards.function import Function
from tutelage.rewards.human import Ask, Human, Join, Scales
from tutelage.rewards.judged import Judged, Mode
from tutelage.rewards.mixture import Mixture, Term
from tutelage.rewards.normalised import Normalised
from tutelage.rewards.remote import Remote
from tutelage.rewards.taste import TasteReward

__all__ = ["FORMS", "People", "Tools", "folders", "hinted", "model_of", "named"]

_JUDGE = re.compile(r"(https?://[^#?]+)#([^?]+)(?:\?(.*))?", re.DOTALL)


Late = Literal["wait", "train", "model", "stop"]


@dataclass(frozen=True)
class People:
    """What `people:…` asks for."""

    source: str
    """database or files"""
    aspects: tuple[str, ...] = ()
    n: int = 3
    """raters for each answer"""
    wait: float = 600.0
    """seconds to the deadline of each batch"""
    late: Late = "wait"
    """at the deadline: wait on, train on what is there, let a model stand in, or stop the run"""
    model: str = ""
    """the reward that stands in"""
    ask: Literal["scores", "pairs"] = "scores"
    """what people are asked: scores of each answer, or which of two is better"""
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
    people: Callable[[People], tuple[Ask | Desk, Scales | None]]
    kept: Path
    """folder for what a judge replied"""
    warn: Callable[[str], None] = print
    db: str = ""
    """where `human` without a database asks"""
    project: str = ""
    """in which project, unless the name says"""


def named(text: str, tools: Tools, *, watched: bool = False) -> RewardSource:
    """The source that `text` names.

    Args:
        watched: it is only looked at, so nothing may be learned from its history.

    Raises:
        UsageError: no such form; the message lists those there are. Others as the source itself raises them.
    """
    if not text.strip():
        raise unknown("no reward was named")
    terms = [term(part) for part in split(text, " + ")] if not exists(text) else [(None, text)]
    if len(terms) == 1 and terms[0][0] is None:
        return _source(terms[0][1].strip(), tools, watched)
    names: list[str] = []
    made: list[Term] = []
    for weight, name in terms:
        names.append(short_name(name.strip(), names))
        made.append(Term(names[-1], 1.0 if weight is None else weight, _source(name.strip(), tools, watched)))
    return Mixture(made)


def _source(name: str, tools: Tools, watched: bool) -> RewardSource:
    if (folder := classical.folder_of(name)) is not None:
        return classical.Classical.load(folder)
    if not name or exists(name):
        if not name:
            raise unknown("a part of the reward is empty")
        return tools.model(name, 0.0)
    if (call := CALL.fullmatch(name)) is not None:
        return _called(call[1], call[2], tools, watched)
    if (people := PEOPLE.fullmatch(name)) is not None:
        return _people(name, people, tools)
    kind, colon, rest = name.partition(":")
    if kind == "taste":
        return TasteReward.named(rest)
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
        hint = None if "." in kind else suggest(kind, ["taste", "people", "human", "judge", "https"])
        raise unknown(error.what, hint) from error


def _neural(name: str, tools: Tools) -> RewardSource:
    found = LOWER.fullmatch(name)
    if found is None:
        return hinted(name, lambda: tools.model(name, 0.0))
    return tools.model(found[1], float(found[2] or 1.0))


def _called(call: str, inside: str, tools: Tools, watched: bool) -> RewardSource:
    parts = split(inside, ",")
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


def _people(name: str, found: re.Match[str], tools: Tools) -> RewardSource:
    aspects = tuple(filter(None, (aspect.strip() for aspect in (found[2] or "").split(","))))
    options: dict[str, Any] = {"project": tools.project} if tools.project else {}
    options |= people_options(name, found[3])
    wanted = People(found[1] or tools.db or "ratings.db", aspects, **options)
    if wanted.n < 1 or wanted.wait < 0:
        raise UsageError(f"{name}: n is 1 or more, wait 0 or more")
    if bool(wanted.model) != (wanted.late == "model"):
        raise UsageError(f"{name}: late=model and model=REWARD belong together")
    if wanted.ask == "pairs" and (wanted.aspects or wanted.zscore or wanted.join != "mean"):
        raise UsageError(f"{name}: with ask=pairs there are no scores: no #ASPECT, join or zscore")
    if wanted.join == "max":
        tools.warn("join=max: the best of n scores overstates every answer, by more the more raters there are")
    stand_in = named(wanted.model, tools) if wanted.model else None
    asked, scales = tools.people(wanted)
    if isinstance(asked, Desk):
        if wanted.ask == "pairs":
            return LivePairs(asked, stand_in)
        return LiveHuman(asked, aspects, wanted.join, scales, stand_in)
    if wanted.ask == "pairs" or stand_in is not None:
        raise UsageError(f"{name}: nobody is asked about recorded scores: ask, late and model mean nothing")
    return Human(asked, aspects, wanted.join, scales)


def _judge(rest: str, tools: Tools) -> RewardSource:
    found = _JUDGE.fullmatch(rest)
    if found is None:
        raise unknown(f"'judge:{rest}' lacks an address or a model")
    known = {"rubric": rubric_of, "mode": one_of(*get_args(Mode)), "low": int, "high": int, "timeout": float}
    more = {"retries": int, "at_once": int, "cache": str}
    options = read_options(f"judge:{rest}", found[3], known | more)
    mode = options.pop("mode", "score")
    cache = Path(options.pop("cache", "") or tools.kept)
    rubric = options.pop("rubric", RUBRIC)
    return Judged(Judge.at(found[1], found[2], cache=cache, rubric=rubric, **options), mode)


def _remote(name: str) -> RewardSource:
    from os import environ

    url, _, told = name.partition("#")
    known = {"timeout": float, "retries": int, "batch": int, "meta": switch}
    options = read_options(name, told, known)
    own = {key: options.pop(key) for key in ("batch", "meta") if key in options}
    if own.get("batch", 1) < 1:
        raise UsageError(f"{name}: batch is 1 or more")
    return Remote(Service(url, key=environ.get("TUTELAGE_REWARD_KEY", ""), **options), **own)
