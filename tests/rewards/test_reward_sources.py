"""Rewards: a function, a model, a hidden taste; each says one number per answer, or says what is wrong."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tutelage.batches import TokenBatch
from tutelage.data.template import Renderer
from tutelage.errors import DivergedError, ServiceError, UsageError
from tutelage.models.heads import Heads
from tutelage.models.load import load_scorer
from tutelage.rewards.function import Function
from tutelage.rewards.learned import Learned
from tutelage.rewards.taste import TasteReward
from tutelage.types import Message, Prompt, Sample


def samples(*texts: str, prompt: Any = "Say it.") -> list[Sample]:
    return [Sample(f"s{n}", Prompt(f"p{n}", prompt, {"wanted": n}), text) for n, text in enumerate(texts)]


def test_a_function_hears_plain_text_whatever_form_the_prompt_has() -> None:
    heard: list[tuple[str, str]] = []

    def score(prompt: str, completion: str) -> float:
        heard.append((prompt, completion))
        return len(completion)

    turns = (Message("system", "Be short."), Message("user", "你好"))
    asked = [*samples("a"), *samples("bc", prompt=(Message("user", "hi"),)), *samples("", prompt=turns)]
    assert Function(score).score(asked).value.tolist() == [1.0, 2.0, 0.0]
    assert heard == [("Say it.", "a"), ("hi", "bc"), ("system: Be short.\nuser: 你好", "")]
    assert Function(score).score([]).value.shape == (0,)


@pytest.mark.parametrize("one", [1, True, np.float32(1), np.int64(1), np.array(1.0), torch.tensor(1.0)], ids=repr)
def test_anything_that_is_one_number_is_a_reward(one: Any) -> None:
    assert Function(lambda prompt, completion: one).score(samples("a")).value.tolist() == [1.0]


@pytest.mark.parametrize(
    "answer", [math.nan, math.inf, 1e300, None, "0.5", [1.0], np.array([1.0, 2.0]), 10**400], ids=lambda a: str(a)[:12]
)
def test_what_is_no_finite_number_is_refused_with_the_answer_it_was_given_for(answer: Any) -> None:
    def odd(prompt: str, completion: str) -> Any:
        return answer if completion == "b" else 0.0

    with pytest.raises(DivergedError, match=r"odd answered[\s\S]*sample s1: 'b'[\s\S]*finite number"):
        Function(odd).score(samples("a", "b"))


def test_a_function_that_raises_is_named_with_its_line() -> None:
    def broken(prompt: str, completion: str) -> float:
        return {}["facts"]

    with pytest.raises(
        DivergedError, match=r"broken raised KeyError: 'facts'[\s\S]*test_reward_sources.py:\d+, sample s0"
    ) as caught:
        Function(broken).score(samples("a"))
    assert isinstance(caught.value.__cause__, KeyError), "--debug shows where it came from"


def test_an_error_of_ours_and_ctrl_c_pass_through_a_function() -> None:
    def silent(prompt: str, completion: str) -> float:
        raise ServiceError("the judge does not answer")

    def stopped(prompt: str, completion: str) -> float:
        raise KeyboardInterrupt

    with pytest.raises(ServiceError):
        Function(silent).score(samples("a"))
    with pytest.raises(KeyboardInterrupt):
        Function(stopped).score(samples("a"))


def test_a_function_is_found_by_name() -> None:
    assert Function.named("operator:eq").score(samples("Say it.", "b")).value.tolist() == [1.0, 0.0]
    for name, said in [
        ("operator:nothing", "no attribute 'nothing'"),
        ("no_such_module:f", "cannot import"),
        ("math:pi", "not a function"),
    ]:
        with pytest.raises(UsageError, match=said):
            Function.named(name)


def test_a_learned_reward_is_the_models_score_at_the_stop_token(tiny_model: Path) -> None:
    scorer = load_scorer(str(tiny_model))
    renderer = Renderer(scorer.tokenizer)
    texts = ["A bridge.", "周一", "A longer answer, of several words."]
    reward = Learned(scorer, renderer, rows_at_once=2)
    found = reward.score(samples(*texts))
    for text, value in zip(texts, found.value, strict=True):
        row = renderer.answer("Say it.", text)
        assert row.tokens[-1] in renderer.stop_ids
        with torch.no_grad():
            alone = scorer.scores(TokenBatch.of([(row.tokens, row.mask)]))
        torch.testing.assert_close(value, alone[0], atol=1e-5, rtol=0)
    shifted = Learned(scorer, renderer, center=0.5).score(samples(*texts))
    torch.testing.assert_close(shifted.value, found.value - 0.5, atol=1e-5, rtol=0)
    assert set(found.parts) == {"learned"} and not found.value.requires_grad


def test_an_answer_without_words_has_a_score_too(tiny_model: Path) -> None:
    scorer = load_scorer(str(tiny_model))
    found = Learned(scorer, Renderer(scorer.tokenizer)).score(samples("", "x"))
    assert bool(found.value.isfinite().all()) and found.value[0] != found.value[1]


def test_an_answer_that_the_template_trims_to_nothing_has_a_score_too(tiny_chat_model: Path) -> None:
    scorer = load_scorer(str(tiny_chat_model))
    scorer.tokenizer.chat_template = scorer.tokenizer.chat_template.replace(
        "message['content'] }}", "message['content'] | trim }}"
    )
    asked = samples("", " \n", "<|im_end|>", prompt=(Message("user", "hi"),))
    found = Learned(scorer, Renderer(scorer.tokenizer)).score(asked).value
    assert found[0] == found[1] and bool(found.isfinite().all())


def test_an_answer_that_was_cut_off_is_scored_as_the_text_that_raters_see(tiny_model: Path) -> None:
    scorer = load_scorer(str(tiny_model))
    whole = samples("A bridge")
    found = Learned(scorer, Renderer(scorer.tokenizer)).score([*whole, replace(whole[0], finish="length")]).value
    assert found[0] == found[1]


def test_a_taste_reads_what_is_known_about_the_prompt_and_keeps_its_aspects() -> None:
    def taste(meta: Any, text: str) -> dict[str, float]:
        return {"faithful": float(meta["wanted"] == len(text)), "concise": 0.5, "overall": meta["wanted"] / 10}

    found = TasteReward(taste).score(samples("", "a", "a"))
    torch.testing.assert_close(found.value, torch.tensor([0.0, 0.1, 0.2]))
    assert {name: part.tolist() for name, part in found.parts.items()} == {"faithful": [1, 1, 0], "concise": [0.5] * 3}
    with pytest.raises(UsageError, match="did you mean 'news'"):
        TasteReward.named("newz")
    assert TasteReward.named("news").taste.__name__ == "taste"


def test_an_ensembles_lower_bound_is_its_mean_less_the_spread_and_its_parts_are_shown(tiny_model: Path) -> None:
    scorer = load_scorer(str(tiny_model), heads=Heads((("faithful", 1.0), ("concise", 0.5)), ensemble=3), seed=2)
    renderer, asked = Renderer(scorer.tokenizer), samples("A bridge.", "", "周一，桥。")
    mean = Learned(scorer, renderer).score(asked)
    assert set(mean.parts) == {"learned", "faithful", "concise", "spread"} and mean.parts["spread"].min() > 0
    torch.testing.assert_close(mean.value, mean.parts["faithful"] + 0.5 * mean.parts["concise"])
    cautious = Learned(scorer, renderer, lower=2.0).score(asked)
    torch.testing.assert_close(cautious.value, mean.value - 2 * mean.parts["spread"])
    torch.testing.assert_close(cautious.parts["learned"], mean.value)
    with pytest.raises(UsageError, match="--ensemble 4"):
        Learned(load_scorer(str(tiny_model)), renderer, lower=1.0)
