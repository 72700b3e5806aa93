"""Text metrics against hand-worked cases and against sacrebleu's own sentence BLEU."""

from __future__ import annotations

import math
import random

import pytest
from sacrebleu.metrics.bleu import BLEU

from tutelage.eval import text


def test_chinese_is_cut_into_characters_and_english_into_words() -> None:
    assert text.tokens("GPT-4 在北京发布。Hello, it's 3 o'clock") == [
        *["gpt", "4", "在", "北", "京", "发", "布", "hello", "it", "s", "3", "o", "clock"]
    ]


@pytest.mark.parametrize(
    ("written", "lang"),
    [("这是中文", "zh"), ("plain English", "en"), ("OpenAI 发布了新版", "zh"), ("", "en"), ("a 中 x", "en")],
)
def test_the_language_is_seen_from_the_text(written: str, lang: str) -> None:
    assert text.language(written) == lang


def test_rouge_of_chinese_counts_characters() -> None:
    scores = text.rouge(["北京下雨"], ["北京下雪"])
    assert math.isclose(scores["rouge1"][0], 0.75)
    assert math.isclose(scores["rouge2"][0], 2 / 3)
    assert math.isclose(scores["rougeL"][0], 0.75)


def test_rouge_l_of_english_follows_the_longest_common_subsequence() -> None:
    scores = text.rouge(["police killed the gunman"], ["police kill the gunman"])
    assert math.isclose(scores["rougeL"][0], 0.75) and math.isclose(scores["rouge2"][0], 1 / 3)


def test_bleu_of_chinese_does_not_depend_on_spaces() -> None:
    assert math.isclose(text.bleu(["今天北京下了大雨"], ["今天北京下了大雨"], "zh"), 100.0)
    assert text.bleu(["今天上海下了大雨"], ["今天北京下了大雨"], "zh") > 20


def test_equal_texts_have_full_chrf() -> None:
    assert math.isclose(text.chrf(["a small cat", "小猫"], ["a small cat", "小猫"]), 100.0)


def test_distinct_counts_different_ngrams() -> None:
    assert text.distinct(["a b a b"], 1) == 0.5
    assert math.isclose(text.distinct(["a b a b"], 2), 2 / 3)
    assert text.distinct([""], 2) == 0.0


def test_self_bleu_equals_sacrebleu_against_all_others() -> None:
    rng = random.Random(0)
    rows = [" ".join(rng.choices("abcdefg", k=rng.randint(1, 12))) for _ in range(40)]
    metric = BLEU(tokenize="none", effective_order=True)
    slow = [metric.sentence_score(row, rows[:i] + rows[i + 1 :]).score for i, row in enumerate(rows)]
    assert math.isclose(text.self_bleu(rows), sum(slow) / len(slow), rel_tol=1e-9)


def test_self_bleu_is_100_for_copies_and_0_for_strangers() -> None:
    assert math.isclose(text.self_bleu(["one two three four five"] * 3), 100.0)
    assert text.self_bleu(["a b", "c d", "e f"]) == 0.0
    assert text.self_bleu(["only one"]) == 0.0


def test_all_measures_of_a_bilingual_set() -> None:
    found = text.measures(
        ["the cat sat", "猫坐下了", ""],
        languages=["en", "zh", "en"],
        finishes=["stop", "stop", "length"],
        references=["the cat sat", "猫坐着", "a dog"],
        clusters=["p1", "p2", "p3"],
    )
    assert math.isclose(found["stop_rate"].value, 2 / 3) and found["stop_rate"].low is not None
    assert math.isclose(found["empty"].value, 1 / 3)
    assert math.isclose(found["length"].value, 7 / 3)
    assert {"bleu", "bleu/en", "bleu/zh", "chrf", "rouge1", "rougeL", "self_bleu", "distinct_2"} <= set(found)


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 answers"):
        text.measures(["a", "b"], languages=["en"], finishes=["stop", "stop"])
