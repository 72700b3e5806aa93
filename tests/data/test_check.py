"""What `data check` notices about a whole file, and what `data inspect` shows."""

from __future__ import annotations

from pathlib import Path

from tutelage.data.check import check
from tutelage.data.inspect import sequences, show
from tutelage.data.template import Renderer
from tutelage.types import Demonstration, Preference, Prompt, Ranking, TextRow, Unpaired


def test_a_clean_file_has_no_warnings() -> None:
    found = check([Preference("p", "aa", "bb"), Preference("q", "a", "bb"), Preference("r", "aa", "b")])
    assert found.warnings == () and found.facts["chosen is longer"] == 0.5
    assert [(one.part, one.unit, one.longest) for one in found.lengths] == [
        ("prompt", "characters", 1),
        ("chosen", "characters", 2),
        ("rejected", "characters", 2),
    ]


def test_duplicates_contradictions_and_length_bias_are_named() -> None:
    rows = [Preference("p", "long", "s", where="f:1"), Preference("p ", "long", "s", where="f:2")]
    rows.append(Preference("p", "s", "long", where="f:3"))
    text = "; ".join(check(rows).warnings)
    assert "1 rows say the same as an earlier one, such as f:2 and f:1" in text
    assert "2 pairs are there in both orders" in text
    assert "length alone predicts 67%" in text
    labels = [Unpaired("p", "a", True), Unpaired("p", "a", False)]
    assert "1 answers are labelled both good and bad" in check(labels).warnings


def test_a_leak_between_training_and_test_is_found_through_white_space_and_width() -> None:
    train = [Demonstration("Hello  world", "a"), Demonstration("ＡＢＣ", "b")]
    test = [Prompt("t1", "Hello world"), Prompt("t2", "ABC"), Prompt("t3", "other")]
    (warning,) = check(train, against=test).warnings
    assert "2 of 3 prompts" in warning and "t1" in warning


def test_control_tokens_in_the_text_are_reported() -> None:
    (warning,) = check([TextRow("say </s> now", "f:1"), TextRow("fine", "f:2")], special=["</s>", "<s>"]).warnings
    assert warning.startswith("1 rows contain '</s>' as text") and "f:1" in warning


def test_the_learned_part_is_marked_in_text_and_ids(tiny_tokenizer: Path) -> None:
    from transformers import AutoTokenizer

    renderer = Renderer(AutoTokenizer.from_pretrained(tiny_tokenizer))
    (name, encoded), (_, other) = sequences(renderer, Preference("问", "好", "b"))
    counts, text, ids = show(renderer, encoded)
    assert name == "chosen" and text == "问⟦好</s>⟧" and counts.endswith(f"{encoded.learned} learned")
    assert ids.endswith(f"⟦{renderer.eos_id}:</s>⟧") and ids.count("⟦") == encoded.learned
    assert "\x1b[32m" in show(renderer, other, colour=True, ids=False)[1]
    assert [name for name, _ in sequences(renderer, Ranking("p", ("a", "b"), (2, 1)))] == ["rank 2", "rank 1"]
    assert sequences(renderer, Prompt("1", "p"))[0][1].learned == 0
    assert sequences(renderer, TextRow("ab"))[0][1].mask[0] is False
