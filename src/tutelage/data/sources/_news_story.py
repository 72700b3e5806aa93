"""One event of the news world, and the article, summary, headline, questions and translation that tell it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from random import Random

from tutelage.data.sources._news_en import ENGLISH
from tutelage.data.sources._news_language import Language, Quantity
from tutelage.data.sources._news_zh import CHINESE

LANGUAGES: Mapping[str, Language] = {"en": ENGLISH, "zh": CHINESE}
FACTS = ("who", "what", "where", "when", "amount")


@dataclass(frozen=True)
class Story:
    """What happened.

    Example:
        >>> Story("en", "Anna Barton", "opened the new park", "Port Alder", "Friday", 45, ENGLISH.quantities[0])
    """

    lang: str
    who: str
    what: str
    where: str
    when: str
    n: int
    quantity: Quantity

    @property
    def language(self) -> Language:
        return LANGUAGES[self.lang]

    def facts(self) -> dict[str, str]:
        """The five facts in the exact wording that an answer must use."""
        amount = self.quantity.surface.format(n=self.n)
        return {"who": self.who, "what": self.what, "where": self.where, "when": self.when, "amount": amount}


@cache
def _pool(lang: str, held_out: bool) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    language = LANGUAGES[lang]
    kinds = (language.people, language.events, language.cities)
    people, events, cities = (tuple(kind.words(held_out)) for kind in kinds)
    return people, events, cities


def draw(rng: Random, lang: str, held_out: bool) -> Story:
    """A random event; person, event and city all stem from the split that `held_out` names."""
    people, events, cities = _pool(lang, held_out)
    language = LANGUAGES[lang]
    return Story(
        lang,
        rng.choice(people),
        rng.choice(events),
        rng.choice(cities),
        rng.choice(language.days),
        draw_number(rng),
        rng.choice(language.quantities),
    )


def draw_number(rng: Random) -> int:
    """Two digits, the second 0 or 5."""
    return rng.randrange(15, 100, 5)


def article(story: Story, rng: Random, held_out: bool) -> str:
    """A news item of three or four sentences: the event, the amount, and talk around them."""
    language = story.language
    lead = rng.choice(language.leads).format(who=story.who, what=story.what, where=story.where, when=story.when)
    counted = rng.choice(story.quantity.sentences).format(n=story.n)
    others = rng.sample(language.fillers, 2)
    if rng.random() < 0.2:
        other = draw(rng, story.lang, held_out)
        others[1] = rng.choice(language.distractors).format(who=other.who, where=other.where)
    if rng.random() < 0.4:
        others.pop(0)
    middle = [counted, *others]
    rng.shuffle(middle)
    return language.space.join([lead, *middle])


def summary(story: Story, rng: Random, keep: Iterable[str] = FACTS, who: str = "") -> str:
    """One sentence with the facts named in `keep` (the event itself is always told); `who` overrides the subject."""
    language, kept = story.language, set(keep)
    subject = who or (story.who if "who" in kept else language.someone)
    amount = story.quantity.clause.format(n=story.n)
    tail = rng.choice(language.amount_tails).format(amount=amount)
    slots = {
        "who": subject,
        "what": story.what,
        "where": language.in_place.format(where=story.where) if "where" in kept else "",
        "when": language.on_day.format(when=story.when) if "when" in kept else "",
        "first": language.day_first.format(when=story.when) if "when" in kept else "",
        "amount": tail if "amount" in kept else "",
    }
    text = rng.choice(language.summaries).format(**slots)
    return text[0].upper() + text[1:]


def headline(story: Story, rng: Random) -> str:
    """A short title without a full stop."""
    return rng.choice(story.language.headlines).format(who=story.who, what=story.what, where=story.where)


def question(story: Story, rng: Random) -> tuple[str, str]:
    """A question about one fact, and its answer."""
    language = story.language
    patterns = [*language.questions, (story.quantity.question, "{amount}" + language.stop)]
    ask, answer = rng.choice(patterns)
    return ask.format(**story.facts()), answer.format(**story.facts())


def translation(rng: Random, held_out: bool) -> tuple[str, str]:
    """The same short sentence without names in English and in Chinese."""
    english = draw(rng, "en", held_out)
    action, _, thing = english.what.rpartition(" ")
    at = (ENGLISH.actions.index(action), ENGLISH.objects.index(thing))
    chinese = replace(
        english,
        lang="zh",
        what=CHINESE.actions[at[0]] + CHINESE.objects[at[1]],
        when=CHINESE.days[ENGLISH.days.index(english.when)],
        quantity=CHINESE.quantities[ENGLISH.quantities.index(english.quantity)],
    )
    subject = rng.randrange(len(ENGLISH.subjects))
    keep, order = ("who", "when", "amount"), rng.random()
    halves = ((english, ENGLISH), (chinese, CHINESE))
    # the same seed for both halves gives both the same word order
    one, two = (summary(story, Random(order), keep, words.subjects[subject]) for story, words in halves)
    return one, two
