"""A bilingual news world made by rule: articles with facts, noisy demonstrations, prompts, and a hidden taste."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from tutelage.data.sources._news_flaws import demonstrate
from tutelage.data.sources._news_story import Story, article, draw, headline, question, summary, translation
from tutelage.data.sources._news_taste import taste
from tutelage.errors import CannotCreateError, UsageError

__all__ = ["make", "taste"]

_LANGS = ("en", "zh")


def make(
    out: Path,
    *,
    seed: int,
    prompts: int = 1000,
    demonstrations: int = 2000,
    documents: int = 12000,
    rate_prompts: int = 800,
    test_prompts: int = 300,
) -> dict[str, int]:
    """Write the world's files into `out` and return file name → number of rows; the same seed gives the same bytes.

    `corpus.jsonl` (text), `sft.jsonl` (prompt, completion, kind, flaw), `prompts.{train,rate,test}.jsonl`
    (id, prompt, reference, meta). People, towns and events of the test are not in any other file.

    Raises:
        UsageError: a size below 1. CannotCreateError: `out` cannot be a folder.
    """
    sizes = {"documents": documents, "demonstrations": demonstrations, "prompts": prompts}
    sizes |= {"rate_prompts": rate_prompts, "test_prompts": test_prompts}
    for name, size in sizes.items():
        if size < 1:
            raise UsageError(f"{name} is {size}", fix=f"give {name} a number of at least 1")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotCreateError(f"cannot create the folder: {error.strerror}", where=str(out)) from error
    rows = {
        "corpus.jsonl": _documents(seed, documents),
        "sft.jsonl": _demonstrations(seed, demonstrations),
        "prompts.train.jsonl": _prompts(seed, prompts, "train"),
        "prompts.rate.jsonl": _prompts(seed, rate_prompts, "rate"),
        "prompts.test.jsonl": _prompts(seed, test_prompts, "test"),
    }
    return {name: _write(out / name, found) for name, found in rows.items()}


def _documents(seed: int, count: int) -> Iterable[dict[str, Any]]:
    rng = Random(f"{seed}:corpus")
    for i in range(count):
        yield {"text": _document(_LANGS[i % 2], rng)}


def _document(lang: str, rng: Random) -> str:
    """Radio bulletins of one day, an article with what stands around it, or one sentence in two languages.

    Each tells the same facts several times: that is what teaches a small model to copy names that it never saw.
    """
    dice = rng.random()
    if dice < 0.06:
        pair = translation(rng, held_out=False)
        return "\n".join(pair if lang == "en" else reversed(pair))
    if dice < 0.50:
        stories = [draw(rng, lang, held_out=False) for _ in range(rng.choice((1, 1, 2)))]
        return "\n".join(_bulletin(reading, stories, rng) for reading in stories[0].language.bulletins)
    story = draw(rng, lang, held_out=False)
    lines = [article(story, rng, held_out=False)]
    if rng.random() < 0.4:
        lines.insert(0, headline(story, rng))
    after = [rng.choice(story.language.recaps).format(summary=summary(story, rng))]
    after += ["\n".join(question(story, rng)) for _ in range(rng.choice((0, 1, 2)))]
    return "\n".join([*lines, *rng.sample(after, len(after))])


def _bulletin(reading: str, stories: list[Story], rng: Random) -> str:
    language = stories[0].language
    told = [headline(story, rng) if rng.random() < 0.2 else summary(story, rng)[:-1] for story in stories]
    return reading.format(headlines=language.comma.join(rng.sample(told, len(told))))


def _demonstrations(seed: int, count: int) -> Iterable[dict[str, Any]]:
    rng = Random(f"{seed}:sft")
    for i in range(count):
        yield _demonstration(_LANGS[i % 2], rng)


def _demonstration(lang: str, rng: Random) -> dict[str, Any]:
    story = draw(rng, lang, held_out=False)
    language = story.language
    kind = rng.choices(("summarise", "question", "headline", "translate"), (70, 12, 10, 8))[0]
    body, flaw = article(story, rng, held_out=False), ""
    if kind == "summarise":
        prompt = _ask(story, body)
        completion, flaw = demonstrate(story, rng)
    elif kind == "question":
        ask, completion = question(story, rng)
        prompt = language.ask_question.format(article=body, question=ask)
    elif kind == "headline":
        prompt, completion = language.ask_headline.format(article=body), headline(story, rng)
    else:
        english, chinese = translation(rng, held_out=False)
        source, completion = (english, chinese) if lang == "en" else (chinese, english)
        prompt = language.ask_translation.format(sentence=source)
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": completion}],
        "kind": kind,
        "flaw": flaw,
    }


def _prompts(seed: int, count: int, split: str) -> Iterable[dict[str, Any]]:
    rng, held_out = Random(f"{seed}:{split}"), split == "test"
    for i in range(count):
        story = draw(rng, _LANGS[i % 2], held_out)
        body = article(story, rng, held_out)
        yield {
            "id": f"{split}-{i:05d}",
            "prompt": [{"role": "user", "content": _ask(story, body)}],
            "reference": summary(story, rng),
            "meta": {"lang": story.lang, "facts": story.facts(), "article": body},
        }


def _ask(story: Story, body: str) -> str:
    return story.language.ask_summary.format(article=body)


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write all rows or, if anything goes wrong, none."""
    count, partial = 0, path.with_name(f".tmp-{path.name}")
    with partial.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    return count
