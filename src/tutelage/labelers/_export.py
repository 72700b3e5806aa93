"""Judgements as rows to train on, prompt by prompt, as they were at one moment: what an export streams.

preference · unpaired · per-rater    first all votes as small numbers (10 bytes each) to learn whom to believe,
                                     then once more, prompt by prompt, to make the rows
ranking · rated · demonstration      the same first reading for the raters' weights, then question by question
weights "none"                       one reading, nothing kept

A rater's weight is learned from all that was said about two answers, whatever kind of rows is made: it is the number
that `_consensus.report` tells.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from tutelage.errors import DataError
from tutelage.labelers._quality import GOLD
from tutelage.statistics.raters import TableModel, VoteTable, believe_table, head_count
from tutelage.store import export
from tutelage.store.export import Exported
from tutelage.store.people import People
from tutelage.store.store import Store
from tutelage.store.stream import Cut, Posed, Reader, cut_of, prompt_order
from tutelage.store.votes import Vote, pair_votes, pooled
from tutelage.types import QuestionKind

RowDict = dict[str, Any]
UNHEARD = 0.05
"""weight below which a rater is as good as left out, which an export says"""
Weighting = Literal["reliability", "none"]
KINDS = ("preference", "unpaired", "ranking", "rated", "demonstration", "per-rater")
"""kinds of rows that a model can be trained on"""


@dataclass(frozen=True)
class Wanted:
    """What is to be exported and how; see `tutelage rate export --help`."""

    kind: str = "preference"
    weights: Weighting = "reliability"
    pool: bool = True
    """one belief about two answers whatever question they stood in"""
    sources: Collection[QuestionKind] = ("pair", "ranking", "scores", "best")
    """kinds of question that votes are taken from"""
    margins: bool = True
    gap: float = 0.5


@dataclass
class Export:
    """One export under one cut; `rows` may be read several times and gives the same each time.

    Example:
        >>> made = Export(store, "news", Wanted("preference"))
        >>> pairs = [row for part, row in made.rows() if part == "rows"]
        >>> made.counts["preferences"] == len(pairs)
        True

    Args:
        cut: as it was then; None = now.
        without: raters whose judgements are left out.
    """

    store: Store
    project: str
    wanted: Wanted
    cut: Cut | None = None
    without: Collection[str] = ()
    weights: dict[str, float] = field(default_factory=dict[str, float])
    """rater → 0 (tells nothing) to 1 (never wrong)"""
    counts: Counter[str] = field(default_factory=Counter[str])
    """what came out and what was left out, with the reason as the key; complete when `rows` has ended"""
    judged: Counter[str] = field(default_factory=Counter[str])
    """rater → judgements that stand; complete when `rows` has ended"""

    def __post_init__(self) -> None:
        if self.wanted.kind not in KINDS:
            raise DataError(f"{self.wanted.kind[:40]!r} is no kind of export", fix=f"choices: {', '.join(KINDS)}")
        if self.cut is None:
            self.cut = cut_of(self.store.database)
        self._reader = Reader(self.store.database, self.project, self.cut, self.without)
        self._order: Sequence[Any] | None = None
        self._model: TableModel | None = None

    def rows(self) -> Iterator[tuple[str, RowDict]]:
        """("rows" or "ties", row), prompts in the order first asked."""
        self.counts.clear()
        self.judged.clear()
        if self.wanted.weights == "reliability" and self._model is None:
            self._model = believe_table(self._table(pool=True))
            self.weights = {name: rater.weight for name, rater in self._model.raters.items()}
            if not self.wanted.pool and self.wanted.kind in ("preference", "unpaired"):
                self._model = believe_table(self._table(pool=False))
        apart = self.wanted.kind in ("ranking", "rated", "demonstration")
        item = 0
        for posed in self._reader.in_order() if apart else self._reader.by_prompt(self._prompts()):
            ours = [judgement for judgement in posed.judgements if judgement.rater != GOLD]
            self.judged.update(judgement.rater for judgement in ours)
            if apart:
                made = self._single(Posed(posed.comparisons, ours))
            else:
                votes, decided = self._votes(posed, self.wanted.pool)
                made = self._voted(Posed(posed.comparisons, ours), votes, decided, item)
                item += len({vote.item for vote in votes})
            self.counts.update(made.counts)
            yield from (("rows", row) for row in made.rows)
            yield from (("ties", row) for row in made.ties)
        if self.wanted.weights == "none":
            self.weights = dict.fromkeys(sorted(self.judged), 1.0)

    def _prompts(self) -> Sequence[Any]:
        if self._order is None:
            self._order = prompt_order(self._reader)
        return self._order

    def unheard(self) -> dict[str, float]:
        """rater → weight, of those whose judgements weigh (next to) nothing; after `rows` has ended."""
        return {name: self.weights[name] for name in sorted(self.judged) if self.weights.get(name, 1.0) < UNHEARD}

    def unheard_lines(self) -> list[str]:
        """The same in words, each rater by the name that admins see, and by id."""
        told: list[str] = []
        names = {account.rater: account.name for account in People(self.store.database, b"").accounts()}
        for rater, weight in self.unheard().items():
            name, count = names.get(rater, rater), self.judged[rater]
            who = rater if name == rater else f"{name} ({rater})"
            what = "1 judgement weighs" if count == 1 else f"{count:,} judgements weigh"
            much = f"next to nothing ({weight:.2f} of 1: hardly better" if weight else "nothing (no better"
            told.append(f"{who}: {what} {much} than chance)")
        return told

    def _votes(self, posed: Posed, pool: bool) -> tuple[list[Vote], dict[str, Vote]]:
        """The votes of one prompt's raters, and item → the known answer."""
        votes = pair_votes(posed.comparisons, posed.judgements, gap=self.wanted.gap)
        votes = pooled(votes) if pool else votes
        gold = {vote.item: vote for vote in votes if vote.rater == GOLD}
        return [vote for vote in votes if vote.rater != GOLD], gold

    def _table(self, pool: bool) -> VoteTable:
        """All votes as numbers; items are counted in the order in which `rows` meets them."""
        item, rater, choice, left, known = array("i"), array("i"), array("b"), array("b"), array("b")
        raters: dict[str, int] = {}
        for posed in self._reader.by_prompt(self._prompts()):
            votes, gold = self._votes(posed, pool)
            places: dict[str, int] = {}
            for vote in votes:
                if vote.item not in places:
                    places[vote.item] = len(known)
                    known.append(gold[vote.item].choice if vote.item in gold else 0)
                item.append(places[vote.item])
                rater.append(raters.setdefault(vote.rater, len(raters)))
                choice.append(vote.choice)
                left.append(-1 if vote.left is None else int(vote.left))
        return VoteTable(
            np.frombuffer(item, np.int32) if item else np.zeros(0, np.int32),
            np.frombuffer(rater, np.int32) if rater else np.zeros(0, np.int32),
            np.frombuffer(choice, np.int8) if choice else np.zeros(0, np.int8),
            np.frombuffer(left, np.int8) if left else np.zeros(0, np.int8),
            list(raters),
            np.frombuffer(known, np.int8) if known else np.zeros(0, np.int8),
        )

    def _voted(self, posed: Posed, votes: list[Vote], decided: Mapping[str, Vote], start: int) -> Exported:
        """Rows of one prompt's votes, whose first item has the number `start`.

        Args:
            decided: item → the known answer, which stands above what the raters say together.
        """
        wanted = self.wanted
        weights = self.weights if self._model is not None else dict.fromkeys(self.judged, 1.0)
        heard = [vote for vote in votes if vote.kind in wanted.sources]
        if wanted.kind == "per-rater":
            return export.single_preferences(heard, weights, margins=wanted.margins)
        if self._model is None:
            first, ties = head_count(votes)
        else:
            names = list(dict.fromkeys(vote.item for vote in votes))
            first = {name: float(self._model.first[start + index]) for index, name in enumerate(names)}
            ties = {name: float(self._model.ties[start + index]) for index, name in enumerate(names)}
        told = {item: vote for item, vote in decided.items() if vote.kind != "scores"}  # scores stay what people gave
        first |= {item: (1 + vote.choice) / 2 for item, vote in told.items()}
        ties |= {item: float(vote.choice == 0) for item, vote in told.items()}
        votes = [vote._replace(both_bad=told[vote.item].both_bad) if vote.item in told else vote for vote in heard]
        if wanted.kind == "unpaired":
            asked = [comparison for comparison in posed.comparisons if comparison.kind in wanted.sources]
            return export.unpaired(votes, first, asked, posed.judgements, weights)
        return export.preferences(votes, first, ties, weighted=wanted.weights != "none", margins=wanted.margins)

    def _single(self, posed: Posed) -> Exported:
        """Rows of one question."""
        if self.wanted.kind == "ranking":
            return export.rankings(posed.comparisons, posed.judgements, self.weights)
        if self.wanted.kind == "rated":
            return export.ratings(posed.comparisons, posed.judgements, self.weights)
        return export.demonstrations(posed.comparisons, posed.judgements)


def origin(made: Export, settings: Mapping[str, Any], reasons: Mapping[str, str]) -> dict[str, Any]:
    """Who is in an export and who is not, so that it can be traced and made again; after `rows` has ended.

    Args:
        reasons: excluded rater → why.
    """
    assert made.cut is not None
    heard = {*made.weights, *made.judged}
    raters = {
        name: {"judgements": made.judged[name]}
        | ({"weight": round(made.weights[name], 6)} if name in made.weights else {})
        for name in sorted(heard)
    }
    return {
        "project": made.project,
        "newest_judgement": made.cut.newest["judgements"],
        "cut": made.cut.as_json(),
        "excluded": dict(reasons),
        "raters": raters,
        "settings": dict(settings),
    }
