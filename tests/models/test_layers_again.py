"""Layers computed again in the backward pass: without dropout, and as they were, whatever is asked in between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from tests_support import batch_of, random_rows
from tutelage.batches import TokenBatch
from tutelage.models.load import load_policy
from tutelage.models.lora import LoRA
from tutelage.models.policy import Engine, Policy
from tutelage.models.reference import Reference


def learned(policy: Policy, batch: TokenBatch, again: bool, ask: Callable[[], Tensor] | None = None) -> list[Tensor]:
    """The gradients of a step in which `ask` comes between the two passes."""
    policy.zero_grad()
    policy.room.recompute = again
    gain = policy.logprobs(batch).logprobs
    held = ask() if ask is not None else torch.zeros_like(gain)
    (gain - held).square().sum().backward()
    return [weight.grad.clone() for weight in policy.parameters() if weight.grad is not None]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return bool(one) and all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def test_a_layer_that_drops_out_by_itself_drops_nothing_while_it_is_computed_again(
    tiny_tokenizer: Path, tmp_path: Path
) -> None:
    """OPT's layers do, and ask whether they are in training, as checkpointing asks them to be."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_tokenizer)
    tokenizer.save_pretrained(tmp_path)
    sizes = {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"word_embed_proj_dim": 32, "max_position_embeddings": 128, "vocab_size": len(tokenizer)}
    tokens = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    config = AutoConfig.for_model("opt", **sizes, **tokens, dropout=0.5)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    policy = load_policy(str(tmp_path), device="cpu")
    batch = batch_of(random_rows((40, 3, 17)))
    assert policy.recomputes
    assert same(learned(policy, batch, again=False), learned(policy, batch, again=True))


@pytest.mark.parametrize("engine", ["auto", "plain"])
def test_the_reference_may_be_asked_between_the_passes_its_adapter_off(
    model_folder: Callable[[str], Path], engine: Engine
) -> None:
    folder, lora = str(model_folder("qwen3")), LoRA(rank=4)
    policy = load_policy(folder, device="cpu", dtype="bfloat16", engine=engine, lora=lora)
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_B" in name:
                weight.add_(torch.randn_like(weight), alpha=0.3)
    reference = Reference(policy)
    prompt, *answers = random_rows((30, 5, 9, 14))
    batch = batch_of([prompt + answer for answer in answers], prompt=len(prompt))
    found = [
        learned(policy, batch, again, ask=lambda: reference.logprobs(batch).logprobs) for again in (False, True, False)
    ]
    assert same(found[0], found[1]) and same(found[0], found[2])
    assert not any(module.training for module in policy.modules()), "nothing is left behind on the model"
