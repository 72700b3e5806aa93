"""The news world: the same seed gives the same bytes, nothing leaks into the test, and the taste sees each flaw."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

import pytest

from tutelage.data.sources import news
from tutelage.data.sources._news_flaws import FLAWS, demonstrate
from tutelage.data.sources._news_story import LANGUAGES, Story, article, draw, summary
from tutelage.data.sources._news_taste import units
from tutelage.errors import CannotCreateError, DataError, UsageError

ASPECTS = ("faithful", "concise", "fluent", "safe", "overall")


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _told(lang: str, seed: int, held_out: bool = True) -> tuple[Story, dict[str, Any], Random]:
    rng = Random(seed)
    story = draw(rng, lang, held_out)
    meta = {"lang": lang, "facts": story.facts(), "article": article(story, rng, held_out)}
    return story, meta, rng


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("news")
    news.make(out, seed=0, prompts=400, demonstrations=800, documents=1500, rate_prompts=100, test_prompts=200)
    return out


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    sizes = {"prompts": 20, "demonstrations": 20, "documents": 20, "rate_prompts": 20, "test_prompts": 20}
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert set(news.make(tmp_path / name, seed=seed, **sizes).values()) == {20}
    for file in sorted(path.name for path in (tmp_path / "a").iterdir()):
        a, b, c = ((tmp_path / name / file).read_bytes() for name in "abc")
        assert a == b != c


def test_half_the_rows_are_english_and_half_chinese(world: Path) -> None:
    langs = [row["meta"]["lang"] for row in _rows(world / "prompts.test.jsonl")]
    assert langs.count("en") == langs.count("zh") == 100


def test_no_person_town_or_event_of_the_test_is_in_any_other_file(world: Path) -> None:
    seen = "\n".join(
        (world / name).read_text(encoding="utf-8")
        for name in ("corpus.jsonl", "sft.jsonl", "prompts.train.jsonl", "prompts.rate.jsonl")
    )
    for row in _rows(world / "prompts.test.jsonl"):
        facts = row["meta"]["facts"]
        assert not [facts[fact] for fact in ("who", "what", "where") if facts[fact] in seen]


def test_every_piece_of_a_held_out_name_is_seen_in_training(world: Path) -> None:
    seen = (world / "corpus.jsonl").read_text(encoding="utf-8")
    for language in LANGUAGES.values():
        for kind in (language.people, language.cities, language.events):
            missing = [piece for pieces in kind.pieces for piece in pieces if piece.strip() not in seen]
            assert not missing


def test_prompts_carry_the_article_and_a_perfect_reference(world: Path) -> None:
    for row in _rows(world / "prompts.test.jsonl"):
        assert row["meta"]["article"] in row["prompt"][0]["content"]
        assert news.taste(row["meta"], row["reference"])["overall"] >= 0.95


def test_articles_tell_every_fact_in_its_exact_wording(world: Path) -> None:
    for row in _rows(world / "prompts.train.jsonl"):
        meta = row["meta"]
        assert all(fact in meta["article"] for fact in meta["facts"].values())


def test_demonstrations_are_of_four_kinds_and_about_half_of_the_summaries_are_flawed(world: Path) -> None:
    rows = _rows(world / "sft.jsonl")
    assert {row["kind"] for row in rows} == {"summarise", "question", "headline", "translate"}
    flawed = [bool(row["flaw"]) for row in rows if row["kind"] == "summarise"]
    assert 0.45 <= mean(flawed) <= 0.65
    assert all(row["completion"][0]["content"] for row in rows)


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("flaw", FLAWS)
def test_the_taste_marks_down_each_flaw_by_much(lang: str, flaw: str) -> None:
    clean, spoilt = [], []
    for seed in range(150):
        story, meta, rng = _told(lang, seed)
        clean.append(news.taste(meta, summary(story, rng))["overall"])
        spoilt.append(news.taste(meta, FLAWS[flaw][0](story, rng))["overall"])
    assert mean(clean) >= 0.95
    assert mean(spoilt) <= 0.70
    assert mean(good > bad for good, bad in zip(clean, spoilt, strict=True)) >= 0.97


@pytest.mark.parametrize(
    ("flaw", "aspect"),
    [("dropped", "faithful"), ("wrong", "faithful"), ("padded", "concise"), ("repeated", "fluent"), ("unsafe", "safe")],
)
@pytest.mark.parametrize("lang", LANGUAGES)
def test_each_flaw_hurts_its_own_aspect(lang: str, flaw: str, aspect: str) -> None:
    found = []
    for seed in range(60):
        story, meta, rng = _told(lang, seed)
        found.append(news.taste(meta, FLAWS[flaw][0](story, rng))[aspect])
    assert mean(found) <= 0.65


@pytest.mark.parametrize("lang", LANGUAGES)
def test_length_alone_does_not_tell_which_of_two_demonstrations_is_better(lang: str) -> None:
    longer_wins = []
    for seed in range(1500):
        story, meta, rng = _told(lang, seed)
        one, two = (demonstrate(story, rng)[0] for _ in range(2))
        gap = news.taste(meta, one)["overall"] - news.taste(meta, two)["overall"]
        more = len(units(LANGUAGES[lang], one)) - len(units(LANGUAGES[lang], two))
        if abs(gap) > 0.02:
            longer_wins.append(0.5 if more == 0 else float((gap > 0) == (more > 0)))
    assert len(longer_wins) > 500
    assert 0.38 <= mean(longer_wins) <= 0.62


def test_a_summary_worked_by_hand() -> None:
    story = Story(
        "en", "Anna Barton", "opened the new park", "Port Alder", "Friday", 240, LANGUAGES["en"].quantities[0]
    )
    meta = {"lang": "en", "facts": story.facts(), "article": "Anna Barton opened the new park in Port Alder on Friday."}
    whole = "Anna Barton opened the new park in Port Alder on Friday; 240 guests came."
    assert news.taste(meta, whole) == dict.fromkeys(ASPECTS, 1.0)
    assert news.taste(meta, whole.replace("Friday", "Monday"))["faithful"] == pytest.approx(4 / 5 - 0.2)
    assert news.taste(meta, whole.replace("240", "250"))["faithful"] == pytest.approx(4 / 5 - 0.2)
    assert news.taste(meta, whole.replace("Alder", "Briar"))["faithful"] == pytest.approx(4 / 5 - 0.2)
    assert news.taste(meta, whole.replace("Port", "Lake"))["faithful"] == pytest.approx(4 / 5 - 0.2)
    assert news.taste(meta, whole.replace("Anna", "Ben"))["faithful"] == pytest.approx(4 / 5 - 0.2)
    assert news.taste(meta, whole.replace(" on Friday", ""))["faithful"] == pytest.approx(4 / 5)
    assert news.taste(meta, whole.replace("came", "cmae"))["fluent"] == pytest.approx(0.75)
    assert news.taste(meta, whole.rstrip("."))["fluent"] == pytest.approx(0.6)
    assert news.taste(meta, "That liar " + whole)["safe"] == 0.0


def test_a_chinese_summary_worked_by_hand() -> None:
    story = Story("zh", "李明", "启用了新公园", "青山市", "周五", 240, LANGUAGES["zh"].quantities[0])
    meta = {"lang": "zh", "facts": story.facts(), "article": "周五，李明在青山市启用了新公园。共有240名来宾到场。"}
    whole = "李明周五在青山市启用了新公园，240名来宾到场。"
    assert news.taste(meta, whole) == dict.fromkeys(ASPECTS, 1.0)
    assert news.taste(meta, whole.replace("周五", "周六"))["faithful"] == pytest.approx(4 / 5 - 0.2)
    assert news.taste(meta, whole.replace("青山市", "云海市"))["faithful"] == pytest.approx(4 / 5 - 0.2)
    assert news.taste(meta, whole.replace("公园", "学校"))["faithful"] == pytest.approx(4 / 5 - 0.2)
    assert news.taste(meta, whole.replace("来宾到场", "宾来场到"))["fluent"] < 0.8
    assert news.taste(meta, "大骗子" + whole)["safe"] == 0.0


@pytest.mark.parametrize("text", ["", "   ", "。", "a", "\x00", "👍" * 50, "the " * 300, "周" * 300, "[(*+?\\"])
@pytest.mark.parametrize("lang", LANGUAGES)
def test_any_text_gets_finite_scores_between_zero_and_one_and_junk_gets_nothing(lang: str, text: str) -> None:
    found = news.taste(_told(lang, 0)[1], text)
    assert tuple(found) == ASPECTS
    assert all(0.0 <= value <= 1.0 for value in found.values())
    assert found["overall"] <= 0.1


def test_the_taste_refuses_prompts_of_another_world() -> None:
    with pytest.raises(DataError, match="--taste"):
        news.taste({"topic": "weather"}, "Hello.")


def test_an_impossible_size_and_an_impossible_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="documents is 0"):
        news.make(tmp_path, seed=0, documents=0)
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(CannotCreateError, match="file"):
        news.make(tmp_path / "file", seed=0)
