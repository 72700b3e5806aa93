"""Pretraining: learn a language from plain text, from a new model (`--model new`) or from one that exists."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from tutelage.algorithms._base import Algorithm, Schedule, TrainConfig
from tutelage.algorithms._likelihood import held_out_loss, token_loss
from tutelage.batches import Loss, TokenBatch
from tutelage.data.pack import pack


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainConfig):
    """How pretraining learns, and what a new model is like."""

    model: str = "new"
    """`new`: a tokenizer and a small model are made from the text; or a folder or hub id to go on with"""
    learning_rate: float = 1e-3
    """peak learning rate"""
    schedule: Schedule = "cosine"
    """how the learning rate falls after the warm-up"""
    max_length: int = 256
    """documents are cut into sequences of this many tokens"""
    join: bool = True
    """run one document on into the next, so that all sequences are full; --no-join starts each on its own"""
    architecture: str = "qwen3"
    """of a new model: a transformers model type (qwen3, llama, mistral, gpt2 …)"""
    vocab_size: int = 2048
    """of a new model: tokens of its byte-level BPE"""
    hidden_size: int = 128
    """of a new model"""
    layers: int = 4
    """of a new model"""
    heads: int = 4
    """of a new model: attention heads"""
    key_value_heads: int = 2
    """of a new model: heads that keys and values have"""
    context: int = 512
    """of a new model: longest sequence, in tokens"""

    def sane(self) -> dict[str, bool]:
        sizes = ("vocab_size", "hidden_size", "layers", "heads", "key_value_heads", "context")
        return super().sane() | {name: getattr(self, name) >= 1 for name in sizes}


class Pretrain(Algorithm[PretrainConfig, TokenBatch]):
    """Every token of every document is learned, its end included."""

    Config = PretrainConfig
    kind = "text"

    def modules(self) -> dict[str, nn.Module]:
        return {"policy": self.parts.policy}

    def collect(self, step: int) -> TokenBatch:
        return pack(self.parts.documents.batch(step))

    def loss(self, batch: TokenBatch) -> Loss:
        return token_loss(self.parts.policy, batch)

    def evaluate(self) -> dict[str, float]:
        return held_out_loss(self.parts.policy, self.parts.documents.held_out)
