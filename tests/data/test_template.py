"""What is rendered, what is learned, and which tokenizers are mended or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tutelage.data.template import DEFAULT_TEMPLATE, Renderer, chunks, fix_tokenizer
from tutelage.errors import DataError, UsageError
from tutelage.types import Message

U, A, S = (lambda text, role=role: Message(role, text) for role in ("user", "assistant", "system"))
QWEN3 = (
    "{% for m in messages %}{{'<|im_start|>' + m.role + '\n'}}"
    "{% if m.role == 'assistant' and loop.last %}{{'<think>\n\n</think>\n\n'}}{% endif %}"
    "{{m.content + '<|im_end|>\n'}}{% endfor %}{% if add_generation_prompt %}{{'<|im_start|>assistant\n'}}{% endif %}"
)
CHATML = (
    "{% for m in messages %}{{'<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{'<|im_start|>assistant\n'}}{% endif %}"
)
LLAMA2 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content | trim + ' ' + eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}"
)
TEXTS = ["a1 b2 hello world, who are you?", "你好世界。今天天气如何？", "hello\n\nworld <|user|>"]


@pytest.fixture
def tokenizer(tiny_tokenizer: Path) -> Any:
    """Byte-level, with <pad> </s> <s> and the ChatML tokens, adding no BOS by itself."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_tokenizer)


def make_tokenizer(special: list[str], **named: str) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, **named)


def learned_text(tokenizer: Any, encoded: Any) -> str:
    return tokenizer.decode([t for t, m in zip(encoded.tokens, encoded.mask, strict=True) if m])


def test_a_string_prompt_has_no_template_and_the_end_token_is_learned(tokenizer: Any) -> None:
    encoded = Renderer(tokenizer).answer("who are", " you?")
    assert tokenizer.decode(encoded.tokens) == "who are you?</s>"
    assert learned_text(tokenizer, encoded) == " you?</s>"
    assert encoded.tokens[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize(
    "template", [DEFAULT_TEMPLATE, CHATML, QWEN3, LLAMA2], ids=["default", "chatml", "qwen3", "llama2"]
)
def test_the_prompt_of_an_answer_is_what_the_sampler_sees(tokenizer: Any, template: str) -> None:
    tokenizer.chat_template = template
    renderer = Renderer(tokenizer)
    for text in TEXTS:
        prompt = (U("你是谁？"),)
        encoded = renderer.answer(prompt, text)
        asked = renderer.prompt(prompt)
        assert encoded.tokens[: len(asked)] == asked and not any(encoded.mask[: len(asked)])
        assert all(encoded.mask[len(asked) :]) and encoded.tokens[-1] == renderer.turn_end
        assert text.strip() in learned_text(tokenizer, encoded)


def test_the_mask_of_a_conversation_equals_the_one_written_by_hand(tokenizer: Any) -> None:
    talk = [S("s"), U("a"), A("b"), U("c"), A("d")]
    by_hand = {
        DEFAULT_TEMPLATE: (
            "<s><|system|>\ns\n<|user|>\na\n<|assistant|>\n⟦b</s>⟧\n<|user|>\nc\n<|assistant|>\n⟦d</s>⟧"
        ),
        CHATML: (
            "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n⟦b<|im_end|>⟧\n"
            "<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n⟦d<|im_end|>⟧"
        ),
        QWEN3: (
            "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"
            "⟦<think>\n\n</think>\n\nb<|im_end|>⟧\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n"
            "⟦<think>\n\n</think>\n\nd<|im_end|>⟧"
        ),
    }
    for template, wanted in by_hand.items():
        tokenizer.chat_template = template
        assert _shown(tokenizer, Renderer(tokenizer).conversation(talk)) == wanted


def _shown(tokenizer: Any, encoded: Any) -> str:
    text, at = "", 0
    while at < len(encoded.tokens):
        end = at
        while end < len(encoded.tokens) and encoded.mask[end] == encoded.mask[at]:
            end += 1
        part = tokenizer.decode(encoded.tokens[at:end])
        text += f"⟦{part}⟧" if encoded.mask[at] else part
        at = end
    return text


def test_only_the_answer_is_learned_when_the_prompt_holds_earlier_answers(tokenizer: Any) -> None:
    tokenizer.chat_template = CHATML
    encoded = Renderer(tokenizer).answer((U("a"), A("b"), U("c")), (A("d"),))
    assert learned_text(tokenizer, encoded) == "d<|im_end|>"


def test_the_turn_end_is_found_where_it_is_not_the_end_token(tokenizer: Any) -> None:
    assert Renderer(tokenizer).stop_ids == (tokenizer.eos_token_id,)
    tokenizer.chat_template = CHATML
    assert Renderer(tokenizer).stop_ids == (tokenizer.convert_tokens_to_ids("<|im_end|>"), tokenizer.eos_token_id)


def test_a_merge_across_the_border_never_changes_the_prompt() -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"</s>": 0, "<unk>": 1, "a": 2, "b": 3, "ab": 4}
    core = Tokenizer(models.BPE(vocabulary, [("a", "b")], unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", unk_token="<unk>")
    assert tokenizer("ab")["input_ids"] == [4]
    encoded = Renderer(tokenizer).answer("a", "b")
    assert encoded.tokens == [2, 3, 0] and encoded.mask == [False, True, True]


def test_there_is_exactly_one_bos_where_the_tokenizer_adds_one(shared: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared / "data" / "tiny_model" / "hf")
    fix_tokenizer(tokenizer)
    renderer = Renderer(tokenizer)
    for encoded in (
        renderer.answer("Once upon", " a time"),
        renderer.answer("<s>Once", " upon"),
        renderer.answer("", "Once"),
        renderer.answer((U("Hi"),), "Hello"),
        renderer.conversation([U("a"), A("b"), U("c"), A("d")]),
    ):
        assert encoded.tokens.count(1) == 1 and encoded.tokens[0] == 1
        assert encoded.tokens[-1] == 2 and encoded.mask[-1] and not encoded.mask[0]
    assert renderer.document("Once").count(1) == 1


def test_an_empty_prompt_starts_with_a_token_that_is_not_learned(tokenizer: Any) -> None:
    encoded = Renderer(tokenizer).answer("", "hello")
    assert encoded.tokens[0] == tokenizer.bos_token_id and encoded.mask[:2] == [False, True]


def test_what_is_too_long_is_refused_not_cut(tokenizer: Any) -> None:
    renderer = Renderer(tokenizer, max_length=10)
    with pytest.raises(DataError, match="more than the limit of 10"):
        renderer.answer("who are", " you " * 20)
    with pytest.raises(DataError, match="more than the limit of 10"):
        renderer.prompt("who are you " * 20)
    assert len(renderer.answer("a", "b")) <= 10


def test_empty_and_unfit_answers_are_refused(tokenizer: Any) -> None:
    renderer = Renderer(tokenizer)
    with pytest.raises(DataError, match="empty"):
        renderer.answer("a", "")
    with pytest.raises(DataError, match="empty"):
        renderer.answer((U("a"),), "")
    with pytest.raises(DataError, match="no assistant turn"):
        renderer.conversation([U("a")])
    with pytest.raises(DataError, match="string but the completion is"):
        renderer.answer("a", (A("b"),))


def test_a_template_that_refuses_a_role_says_which(tokenizer: Any) -> None:
    tokenizer.chat_template = LLAMA2
    with pytest.raises(DataError, match=r"refuses the roles \[system, user\].*only user and assistant"):
        Renderer(tokenizer).prompt((S("be brief"), U("a")))


def test_pad_as_end_token_is_replaced_by_a_spare_one_without_growing() -> None:
    named = {"eos_token": "</s>", "pad_token": "</s>"}
    for special, expected in (
        (["</s>", "<pad>"], "<pad>"),
        (["</s>", "<|reserved_special_token_0|>"], "<|reserved_special_token_0|>"),
        (["</s>", "<unk>"], "<unk>"),
    ):
        unknown = {"unk_token": "<unk>"} if "<unk>" in special else {}
        tokenizer = make_tokenizer(special, **named, **unknown)
        size = len(tokenizer)
        notes = fix_tokenizer(tokenizer)
        assert tokenizer.pad_token == expected and tokenizer.pad_token_id != tokenizer.eos_token_id
        assert len(tokenizer) == size and "pad token was the end token" in notes[-1]
        assert fix_tokenizer(tokenizer) == []


def test_where_nothing_is_spare_the_way_out_is_named_or_taken() -> None:
    tokenizer = make_tokenizer(["<|endoftext|>"], eos_token="<|endoftext|>", bos_token="<|endoftext|>")
    with pytest.raises(UsageError, match="pad token is missing") as caught:
        fix_tokenizer(tokenizer, rows=len(tokenizer))
    assert "resize_token_embeddings" in str(caught.value) and caught.value.exit_code == 2
    size = len(tokenizer)
    fix_tokenizer(tokenizer, rows=size + 1)
    assert tokenizer.pad_token_id == size


def test_a_tokenizer_without_an_end_is_refused() -> None:
    with pytest.raises(UsageError, match="no end token"):
        fix_tokenizer(make_tokenizer(["<pad>"], pad_token="<pad>"))


def test_every_token_but_the_first_is_learned_once_in_chunks() -> None:
    joined = chunks([[1, 2, 3], [4, 5, 6, 7]], 3)
    assert [chunk.tokens for chunk in joined] == [[1, 2, 3], [3, 4, 5], [5, 6, 7]]
    learned = [t for chunk in joined for t, m in zip(chunk.tokens, chunk.mask, strict=True) if m]
    assert learned == [2, 3, 4, 5, 6, 7]
    apart = chunks([[1, 2, 3], [4, 5, 6, 7], [8]], 3, join=False)
    assert [chunk.tokens for chunk in apart] == [[1, 2, 3], [4, 5, 6], [6, 7]]
    with pytest.raises(UsageError, match="at least 2"):
        chunks([[1, 2]], 1)
