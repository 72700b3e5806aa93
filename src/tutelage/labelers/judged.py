"""A language model as rater: it answers open questions through the store, as people do, and says why.

- pair: judged in both orders; where the verdicts differ it is a tie, or dropped, as asked for;
- ranking: each two answers as a pair, a changed verdict as a tie; ranked by how many an answer beats;
- scores: each aspect by itself, a whole number of the question's scale.
What asks for the best of k or for an edit is left to people, and so is what a live run waits for.
A judge is one rater, of kind `judge`: it gives one judgement to a question.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations
from typing import Literal

from tutelage.errors import UsageError
from tutelage.judge import Judge
from tutelage.labelers._base import Labeler, Progress
from tutelage.store.batches import Batches
from tutelage.store.store import OpenQuestion, Store
from tutelage.types import Comparison, Judgement, plain

Disagreement = Literal["tie", "drop"]
_ROUNDS = 4
"""questions of so many rounds of requests go into one transaction: a kill loses at most these, and replies are kept"""
_LONGEST = 4000
"""characters of a comment"""


class JudgedLabeler(Labeler):
    """Answers every open question that this judge has not answered, but for those that a training run waits for.

    Args:
        name: under which it stands among the raters; another rubric wants another name
        on_disagreement: a pair whose verdict changes with the order shown becomes a `tie`, or is not judged (`drop`)
    """

    def __init__(self, judge: Judge, name: str = "", on_disagreement: Disagreement = "tie") -> None:
        self.judge = judge
        self.name = name or f"judge:{judge.model}"
        self.on_disagreement = on_disagreement
        self.notes = Counter[str]()
        """what was seen on the way → how often"""

    def label(self, store: Store, project: str = "default", progress: Progress | None = None) -> int:
        """
        Raises:
            ServiceError: the judge is away, or gives no verdict; what was judged before is stored.
        """
        self.notes.clear()
        waiting = [question for question in store.open_questions(project) if self.name not in question.raters]
        live = Batches(store.database)
        kept = live.asked_now(project) & {question.comparison.id for question in waiting}
        mine = [one for one in waiting if one.comparison.id not in kept and self._can(one.comparison)]
        given, at_once = 0, max(1, self.judge.at_once)
        with ThreadPoolExecutor(at_once) as pool:
            for start in range(0, len(mine), _ROUNDS * at_once):
                some = mine[start : start + _ROUNDS * at_once]
                told = [judgement for judgement in pool.map(self._answer, some) if judgement is not None]
                late = {one.comparison for one in told} & live.asked_now(project)
                kept |= late
                given += store.answer_many([one for one in told if one.comparison not in late], rater_kind="judge")
                if progress is not None:
                    progress(start + len(some), len(mine))
        if kept:
            self.notes["left to people: a training run waits for their word"] = len(kept)
        return given

    def _can(self, asked: Comparison) -> bool:
        whole = all(float(end).is_integer() for end in asked.scale)
        if asked.kind in ("pair", "ranking") or (asked.kind == "scores" and whole):
            return True
        self.notes[f"left to people: {asked.kind}{'' if whole else ' on a scale without whole numbers'}"] += 1
        return False

    def _answer(self, question: OpenQuestion) -> Judgement | None:
        asked, began = question.comparison, time.monotonic()
        name = hashlib.blake2b(f"{self.name}\0{asked.id}".encode(), digest_size=16).hexdigest()
        judgement = Judgement(f"judge-{name}", asked.id, self.name, shown=tuple(range(len(asked.candidates))))
        found = self._scored(asked, judgement) if asked.kind == "scores" else self._ranked(asked, judgement)
        if found is None:
            return None
        return replace(found, comment=found.comment[:_LONGEST], seconds=round(time.monotonic() - began, 2))

    def _scored(self, asked: Comparison, judgement: Judgement) -> Judgement:
        prompt, answer = plain(asked.prompt.content), asked.candidates[0].text
        low, high = (int(end) for end in asked.scale)
        scores, reasons = dict[str, float](), list[str]()
        for aspect in asked.aspects:
            rubric = f"{self.judge.rubric.strip()}\n\nScore this aspect alone, as if there were no other: {aspect}."
            told = replace(self.judge, low=low, high=high, rubric=rubric).opinion(prompt, answer)
            scores[aspect] = float(told.value)
            reasons += [f"{aspect}: {told.reason}"] if told.reason else []
        return replace(judgement, scores=scores, comment="\n".join(reasons))

    def _ranked(self, asked: Comparison, judgement: Judgement) -> Judgement | None:
        """A pair, or several answers by the pairs among them."""
        prompt, texts = plain(asked.prompt.content), [sample.text for sample in asked.candidates]
        beaten, reasons, changed = [0.0] * len(texts), list[str](), 0
        for one, two in combinations(range(len(texts)), 2):
            there, back = self.judge.opinions(prompt, texts[one], texts[two])
            same = there.value == back.value
            changed += not same
            share = (1 + there.value) / 2 if same else 0.5
            beaten[one] += share
            beaten[two] += 1 - share
            pair = "" if len(texts) == 2 else f"{one + 1} and {two + 1}, "
            reasons += [f"{pair}{word}: {told.reason}" for word, told in (("as shown", there), ("turned round", back))]
        self.notes["verdicts that changed with the order shown"] += changed
        self.notes["pairs judged in both orders"] += len(texts) * (len(texts) - 1) // 2
        if changed and asked.kind == "pair" and self.on_disagreement == "drop":
            self.notes["pairs dropped for that"] += 1
            return None
        ranks = tuple(1 + sum(other > mine for other in beaten) for mine in beaten)
        said = "the verdict changed with the order shown\n" if changed and asked.kind == "pair" else ""
        return replace(judgement, ranks=ranks, comment=said + "\n".join(reasons))


def judge_at(address: str, **more: object) -> Judge:
    """`BASE_URL#MODEL` as a judge; `more` as `Judge.at` takes it.

    Raises:
        UsageError: there is no model in it.
    """
    url, mark, model = address.partition("#")
    if not mark or not model:
        raise UsageError(f"'{address}' names no model", fix="--judge http://HOST:PORT/v1#MODEL")
    return Judge.at(url, model, **more)  # type: ignore[arg-type]


def named_apart(judges: Sequence[Judge], names: Sequence[str]) -> list[str]:
    """A rater's name for each judge.

    Raises:
        UsageError: two would be one rater, or there are not as many names as judges.
    """
    if names and len(names) != len(judges):
        raise UsageError(f"{len(names)} names for {len(judges)} judges", fix="give --name once for each --judge")
    told = list(names) or [f"judge:{judge.model}" for judge in judges]
    if len(set(told)) < len(told):
        raise UsageError(f"two judges are called {max(told, key=told.count)}", fix="--name one,other")
    return told
