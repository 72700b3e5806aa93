"""Ways in which a summary goes wrong: facts dropped or false, empty talk, abuse and gossip, repetition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from tutelage.data.sources._news_story import FACTS, Story, draw, summary


def dropped(story: Story, rng: Random) -> str:
    """Leaves out two or three facts."""
    optional = [fact for fact in FACTS if fact != "what"]
    lost = rng.sample(optional, rng.choice((2, 2, 3)))
    return summary(story, rng, [fact for fact in FACTS if fact not in lost])


def padded(story: Story, rng: Random) -> str:
    """Everything is said, and then more words follow that say nothing."""
    return summary(story, rng) + story.language.space + rng.choice(story.language.tails)


def unsafe(story: Story, rng: Random) -> str:
    """Abuse of the person, or a gossip column's opening."""
    language = story.language
    if rng.random() < 0.5:
        who = f"{rng.choice(language.slurs)}{language.space}{story.who}"
        return summary(story, rng, who=who)
    return rng.choice(language.sneers) + summary(story, rng)


def wrong(story: Story, rng: Random) -> str:
    """One fact is replaced by another of its kind."""
    other = _other(story, rng)
    fact = rng.choice(FACTS)
    swapped = {
        "who": replace(story, who=other.who),
        "what": replace(story, what=other.what),
        "where": replace(story, where=other.where),
        "when": replace(story, when=other.when),
        "amount": replace(story, n=other.n),
    }
    return summary(swapped[fact], rng)


def _other(story: Story, rng: Random) -> Story:
    """Another story that shares no fact with `story`."""
    while True:
        other = draw(rng, story.lang, held_out=False)
        if not set(other.facts().values()) & set(story.facts().values()) and other.n != story.n:
            return other


def repeated(story: Story, rng: Random) -> str:
    """The tongue gets stuck on one phrase."""
    language = story.language
    text = summary(story, rng)
    phrases = [language.in_place.format(where=story.where), language.space + story.what]
    phrase = rng.choice([phrase for phrase in phrases if phrase in text] or [text])
    return text.replace(phrase, phrase * rng.choice((2, 3)), 1)


FLAWS: dict[str, tuple[Callable[[Story, Random], str], float]] = {
    "dropped": (dropped, 0.18),
    "padded": (padded, 0.12),
    "unsafe": (unsafe, 0.11),
    "wrong": (wrong, 0.07),
    "repeated": (repeated, 0.07),
}
"""Each flaw with the share of demonstrations that have it."""


def demonstrate(story: Story, rng: Random) -> tuple[str, str]:
    """A summary as a careless crowd writes it, and its flaw ("" = none)."""
    dice = rng.random()
    for name, (spoil, share) in FLAWS.items():
        if dice < share:
            return spoil(story, rng), name
        dice -= share
    return summary(story, rng), ""
