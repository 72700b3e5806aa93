"""Judgements of every kind as votes between two answers: what rater statistics, exports and leaderboards count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from tutelage.types import Comparison, Judgement, QuestionKind, Sample, same_words


class Vote(NamedTuple):
    """One rater's choice between two answers to one prompt."""

    item: str
    """the same for every vote on the same two answers in the same question"""
    rater: str
    choice: int
    """+1 the first is better, 0 tie, −1 the second"""
    left: bool | None
    """whether the first stood left of (before) the second on the screen; None = not known"""
    first: Sample
    second: Sample
    group: str
    """the question it stems from (for scores, the prompt): votes of one group are not independent"""
    kind: QuestionKind
    share: float
    """1 for a pair; 1/(K−1) in a ranking of K, so that its K(K−1)/2 votes together count K/2 (InstructGPT §3.5)"""
    strength: int = 0
    both_bad: bool = False
    probability: float = 1.0
    """with which the question was selected"""


def pair_votes(comparisons: Iterable[Comparison], judgements: Iterable[Judgement], *, gap: float = 0.5) -> list[Vote]:
    """All votes that `judgements` contain, in their order.

    A ranking gives a vote for each of its pairs. Scores are compared within one rater and one prompt, by the mean over
    aspects on a scale of 0 to 5, so that severity drops out; a difference below `gap` is a tie. Answers that read the
    same give no vote: nobody can prefer one.
    """
    asked = {comparison.id: comparison for comparison in comparisons}
    found: list[Vote] = []
    scored: dict[tuple[str, str], list[tuple[Comparison, Judgement]]] = {}
    for judgement in judgements:
        comparison = asked.get(judgement.comparison)
        if comparison is None or comparison.kind == "edit":  # an edited answer prefers nothing
            continue
        if comparison.kind == "scores":
            scored.setdefault((comparison.prompt.id, judgement.rater), []).append((comparison, judgement))
        else:
            found.extend(_from_ranks(comparison, judgement))
    for (prompt, _), given in scored.items():
        found.extend(_from_scores(prompt, given, gap))
    return found


def pooled(votes: Iterable[Vote]) -> list[Vote]:
    """The same votes, those on the same two answers put under one item, whatever question they stem from.

    What pairs, rankings and scores say about two answers then becomes one belief (measured on the ten default raters:
    9% of consensus labels wrong apart, 5% together). The group is the prompt; share is 1/(K−1) for its K answers.
    """
    turned = [_turn(vote) if vote.first.id > vote.second.id else vote for vote in votes]
    answers: dict[str, set[str]] = {}
    for vote in turned:
        answers.setdefault(vote.first.prompt.id, set()).update((vote.first.id, vote.second.id))
    found: list[Vote] = []
    for vote in turned:
        prompt = vote.first.prompt.id
        item = f"{vote.first.id}|{vote.second.id}"
        found.append(vote._replace(item=item, group=prompt, share=1 / (len(answers[prompt]) - 1)))
    return found


def _turn(vote: Vote) -> Vote:
    """The same vote told from the other side."""
    left = None if vote.left is None else not vote.left
    return vote._replace(first=vote.second, second=vote.first, choice=-vote.choice, left=left)


def overall(comparison: Comparison, judgement: Judgement) -> float:
    """The mean score over the aspects, on a scale of 0 to 5."""
    low, high = comparison.scale
    scores = [judgement.scores[aspect] for aspect in comparison.aspects]
    return 5 * (sum(scores) / len(scores) - low) / (high - low)


def _from_ranks(comparison: Comparison, judgement: Judgement) -> list[Vote]:
    place = {candidate: position for position, candidate in enumerate(judgement.shown)}
    share = 1 / (len(comparison.candidates) - 1)
    votes: list[Vote] = []
    for one, two in combinations(range(len(comparison.candidates)), 2):
        if same_words(comparison.candidates[one].text, comparison.candidates[two].text):
            continue
        if comparison.kind == "best" and 1 not in (judgement.ranks[one], judgement.ranks[two]):
            continue  # nothing was said of those that were not chosen
        difference = judgement.ranks[two] - judgement.ranks[one]
        votes.append(
            Vote(
                item=f"{comparison.id}:{one}-{two}",
                rater=judgement.rater,
                choice=(difference > 0) - (difference < 0),
                left=place[one] < place[two] if place else None,
                first=comparison.candidates[one],
                second=comparison.candidates[two],
                group=comparison.id,
                kind=comparison.kind,
                share=share,
                strength=judgement.strength if comparison.kind == "pair" else 0,
                both_bad=judgement.both_bad,
                probability=comparison.probability,
            )
        )
    return votes


def _from_scores(prompt: str, given: Sequence[tuple[Comparison, Judgement]], gap: float) -> list[Vote]:
    """Votes between the answers to one prompt that one rater has scored."""
    ordered = sorted(given, key=lambda pair: pair[0].candidates[0].id)
    totals: Mapping[str, float] = {comparison.id: overall(comparison, judgement) for comparison, judgement in ordered}
    votes: list[Vote] = []
    for (one, judgement), (two, _) in combinations(ordered, 2):
        difference = totals[one.id] - totals[two.id]
        first, second = one.candidates[0], two.candidates[0]
        if same_words(first.text, second.text):
            continue
        votes.append(
            Vote(
                item=f"scores:{first.id}|{second.id}",
                rater=judgement.rater,
                choice=0 if abs(difference) < gap - 1e-9 else (1 if difference > 0 else -1),
                left=None,
                first=first,
                second=second,
                group=f"scores:{prompt}",
                kind="scores",
                share=1 / max(1, len(ordered) - 1),
                probability=min(one.probability, two.probability),
            )
        )
    return votes
