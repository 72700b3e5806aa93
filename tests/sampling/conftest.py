"""Models of every family that our own engines know."""

from __future__ import annotations

import functools

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory, tiny_tokenizer):
    """`folder_of("llama")` → two layers, heads 32 wide (gpt2: 16), two to a key-value head where that can be."""

    def make(family: str, **more):
        tokenizer = AutoTokenizer.from_pretrained(tiny_tokenizer)
        sizes = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128} if family == "gpt2" else {
            "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "head_dim": 32, "intermediate_size": 96, "max_position_embeddings": 128,
        }  # fmt: skip
        ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        config = AutoConfig.for_model(family, vocab_size=len(tokenizer), **(sizes | ends | more))
        config.initializer_range = 0.15
        path = tmp_path_factory.mktemp(family)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            AutoModelForCausalLM.from_config(config).save_pretrained(path)
        tokenizer.save_pretrained(path)
        return path

    return functools.cache(make)
