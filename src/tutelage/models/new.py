"""A model from nothing: a tokenizer trained on text and a small causal LM from a stock transformers config."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tutelage.data.template import DEFAULT_TEMPLATE
from tutelage.errors import UsageError

SPECIAL = {"pad": "<|pad|>", "bos": "<|begin|>", "eos": "<|end|>"}
_ROLES = ("<|system|>", "<|user|>", "<|assistant|>")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The size of a new model."""

    architecture: str = "qwen3"
    """a transformers model type: qwen3, llama, mistral, gpt2 …"""
    vocab_size: int = 2048
    hidden_size: int = 128
    layers: int = 4
    heads: int = 4
    key_value_heads: int = 2
    context: int = 512
    """longest sequence, in tokens"""


def hush() -> None:
    """No bars for small loads, and no warning that a new scoring head is new: that is what is asked for."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)


def new_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """A byte-level BPE (Sennrich et al. 2016) that can write any text; pad, begin and end are three distinct tokens."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    # Every Chinese character stands alone: joined ones would glue the end of a name to whatever follows it. So does
    # every number, apart from the space before it: one token for it in all languages is copied sooner than two.
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("[\u3400-\u4dbf\u4e00-\u9fff]|[0-9]+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    special = [*SPECIAL.values(), *_ROLES]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=SPECIAL["pad"],
        bos_token=SPECIAL["bos"],
        eos_token=SPECIAL["eos"],
        additional_special_tokens=list(_ROLES),
        chat_template=DEFAULT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def new_model(shape: Shape, tokenizer: Any, seed: int) -> Any:
    """A randomly initialised causal LM of `shape`; the same seed gives the same weights.

    Weights begin at N(0, 1/hidden size), so that a small model's first logits have unit variance, which
    transformers' fixed 0.02 gives only to models of some 2,500 hidden units (docs/LOG.md: not compared cleanly).

    Raises:
        UsageError: transformers knows no such architecture, or the sizes do not fit each other.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.for_model(shape.architecture)
    except ValueError as error:
        raise UsageError(
            f"transformers knows no architecture '{shape.architecture}'", fix="qwen3, llama, mistral, gpt2 …"
        ) from error
    if shape.hidden_size % shape.heads or shape.heads % shape.key_value_heads:
        raise UsageError(
            f"hidden size {shape.hidden_size} does not divide into {shape.heads} heads, or these not into "
            f"{shape.key_value_heads} key-value heads",
            fix="hidden size must be a multiple of heads, heads a multiple of key-value heads",
        )
    kind: Any = type(config)
    config = kind(
        vocab_size=len(tokenizer),
        initializer_range=shape.hidden_size**-0.5,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **_sizes(shape),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config)


def _sizes(shape: Shape) -> dict[str, Any]:
    if shape.architecture == "gpt2":
        return {
            "n_embd": shape.hidden_size,
            "n_layer": shape.layers,
            "n_head": shape.heads,
            "n_positions": shape.context,
        }
    return {
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.hidden_size * 8 // 3 // 32 * 32 or 32,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads,
        "head_dim": shape.hidden_size // shape.heads,
        "max_position_embeddings": shape.context,
        "tie_word_embeddings": True,
    }


def save_new(folder: Path, texts: Iterable[str], shape: Shape, seed: int) -> None:
    """Write a fresh tokenizer and model to `folder`."""
    hush()
    tokenizer = new_tokenizer(texts, shape.vocab_size)
    model = new_model(shape, tokenizer, seed)
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
