"""The made news world as rated data: careless summaries, judged by simulated raters (a maker for tests)."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from tutelage.data.sources._news_flaws import demonstrate
from tutelage.data.sources._news_story import article, draw
from tutelage.data.sources.news import taste
from tutelage.labelers.simulated import DEFAULT, Simulated
from tutelage.types import Comparison, Preference, Prompt, Ranking, Rated, Rating, Sample

RATERS = tuple(rater for rater in DEFAULT if rater.name not in ("careless", "lefty", "adversary"))


def answers(prompts: int, each: int, seed: int) -> list[list[Sample]]:
    """For each prompt, `each` different answers; every second prompt is Chinese."""
    rng, found = Random(seed), list[list[Sample]]()
    for number in range(prompts):
        story = draw(rng, ("en", "zh")[number % 2], held_out=False)
        body = article(story, rng, held_out=False)
        content = story.language.ask_summary.format(article=body)
        meta = {"lang": story.lang, "facts": story.facts(), "article": body}
        prompt = Prompt(f"p{seed}-{number}", content, meta)
        texts = dict[str, None]()
        while len(texts) < each:
            texts[demonstrate(story, rng)[0]] = None
        found.append([Sample(f"{prompt.id}-{n}", prompt, text) for n, text in enumerate(texts)])
    return found


def truth(sample: Sample) -> float:
    """What the raters perceive, without their faults."""
    return taste(sample.prompt.meta, sample.text)["overall"]


def rated(prompts: int, each: int, seed: int, raters: int = 1) -> list[Rated]:
    """One row per answer, scored 0 to 5 on `overall` by the first `raters`."""
    labeler = Simulated(RATERS, taste, seed)
    rows = list[Rated]()
    for said in answers(prompts, each, seed):
        for sample in said:
            asked = Comparison(f"q-{sample.id}", "scores", sample.prompt, (sample,), ("overall",))
            given = [labeler.judge(asked, rater) for rater in RATERS[:raters]]
            marks = tuple(Rating(one.rater, "overall", one.scores["overall"]) for one in given)
            rows.append(Rated(sample.prompt.content, sample.text, marks))
    return rows


def preferred(prompts: int, seed: int) -> list[Preference]:
    """Two answers to each prompt, judged by one rater; ties are rows of their own."""
    labeler, rows = Simulated(RATERS, taste, seed), list[Preference]()
    for number, (one, two) in enumerate(answers(prompts, 2, seed)):
        judged = labeler.judge(Comparison(f"q{number}", "pair", one.prompt, (one, two)), RATERS[number % len(RATERS)])
        better, worse = (one, two) if judged.ranks[0] <= judged.ranks[1] else (two, one)
        row = Preference(one.prompt.content, better.text, worse.text, margin=judged.strength / 3)
        rows.append(replace(row, tie=judged.ranks == (1, 1)))
    return rows


def ranked(prompts: int, each: int, seed: int) -> list[Ranking]:
    """One ranking of `each` answers for each prompt."""
    labeler, rows = Simulated(RATERS, taste, seed), list[Ranking]()
    for number, said in enumerate(answers(prompts, each, seed)):
        asked = Comparison(f"q{number}", "ranking", said[0].prompt, tuple(said))
        judged = labeler.judge(asked, RATERS[number % len(RATERS)])
        rows.append(Ranking(said[0].prompt.content, tuple(one.text for one in said), judged.ranks, judged.rater))
    return rows


def true_pairs(prompts: int, seed: int) -> list[Preference]:
    """Pairs that nothing was learned from, the truly better one first."""
    rows = list[Preference]()
    for one, two in answers(prompts, 2, seed):
        better, worse = (one, two) if truth(one) >= truth(two) else (two, one)
        if abs(truth(one) - truth(two)) > 0.02:
            rows.append(Preference(one.prompt.content, better.text, worse.text))
    return rows
