"""A language model as a policy: log-probabilities of the learned tokens of packed sequences, and nothing else."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from tutelage.batches import TokenBatch, load, onto, parts
from tutelage.errors import UsageError
from tutelage.models import kept
from tutelage.models._products import Copies
from tutelage.models.attention import Packing, SlotCache
from tutelage.models.body import Body, UnfitError
from tutelage.models.digest import weights_digest
from tutelage.models.heads import Heads
from tutelage.models.tree import Tree, tree_of
from tutelage.ops import native, varlen
from tutelage.ops.allocator import keep_memory
from tutelage.ops.attention import Segments
from tutelage.ops.logprobs import linear_logprobs
from tutelage.ops.memory import Room, ran_out

Engine = Literal["auto", "fast", "plain"]
logger = logging.getLogger(__name__)
_CHECKPOINT = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)


@dataclass(frozen=True)
class TokenScores:
    """What a policy says of the learned tokens of a batch."""

    logprobs: Tensor
    """float32 [B, R]: log p(token | everything before it), 0 beyond the mask"""
    entropy: Tensor
    """float32 [B, R]: of the distribution each token was drawn from, in nats; without gradient"""


class Backbone(nn.Module):
    """A transformers model without its head: packed tokens in, hidden states out. Shared by policy and scorer."""

    def __init__(self, model: Any, tokenizer: Any, name: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.compute_dtype = dtype
        self.notes: list[str] = []
        """what loading had to change, one sentence each"""
        self.derived = False
        """whether loading changed the weights (an adapter folded in, a pad token added): no folder holds them then"""
        self.engine: Engine = "plain"
        self.room = Room()
        """tokens that one pass without gradient takes; learning cuts alike"""
        self._body: Body | None = None
        self._frozen: dict[str, bytes] = {}
        self._recomputing = False

    @property
    def copies(self) -> Copies | None:
        """Weights in the type of the products, where our own loops keep them so."""
        return None if self._body is None else self._body.copies

    @property
    def core(self) -> Any:
        """The stock transformers model, under whatever adapter wraps it."""
        return self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def max_positions(self) -> int | None:
        """The longest sequence that the model can read, or None if it has no limit of its own."""
        return getattr(self.core.config, "max_position_embeddings", None)

    def choose(self, engine: Engine) -> None:
        """Compute by `engine` from now on: `plain` PyTorch; `fast`, our own loops; `auto`, those that fit the model.

        Raises:
            UsageError: `fast`, and the model cannot be computed so.
        """
        self.engine, self._body = engine, None
        if engine == "plain":
            return
        if self.device.type == "cuda":
            self._require_kernels(engine)
            return
        if self.device.type == "cpu":
            keep_memory()
        try:
            self._body = Body(self.core)
            if native.threads() > 1 and not native.threaded("body"):
                self.notes.append("its layers are computed on one thread: the C++ compiler knows no OpenMP")
        except UnfitError as error:
            if engine == "fast":
                raise UsageError(
                    f"the fast engine cannot train {type(self.core).__name__}: {error}",
                    where=self.name,
                    fix="--engine auto",
                ) from error
            if self.device.type == "cpu":
                self.notes.append(f"its layers are computed by PyTorch, which is slower than our own way: {error}")

    def _require_kernels(self, engine: Engine) -> None:
        config = self.core.config
        depth = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        reason = varlen.why_not(self.device, self.compute_dtype, depth)
        if reason and engine == "fast":
            raise UsageError(
                f"the fast engine cannot compute attention: {reason}", where=self.name, fix="--engine auto"
            )
        if reason:
            self.notes.append(f"attention pads each batch to its longest sequence, which wastes work: {reason}")

    @property
    def recomputes(self) -> bool:
        """Whether its layers can be computed again in the backward pass, where `room` asks for that."""
        layers = (isinstance(each, GradientCheckpointingLayer) for each in self.core.modules())
        return self._body is not None or any(layers)

    @property
    def shares_prompts(self) -> bool:
        """Whether a prompt that rows of a batch share is computed once."""
        return self._body is not None

    def forget_copies(self) -> None:
        """Let go of the copies of weights that products are computed with, until they are wanted again."""
        if self._body is not None:
            self._body.copies.forget()

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Matrix products in bfloat16 where that was chosen; weights and losses stay float32."""
        if self.compute_dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.compute_dtype)

    def hidden(self, batch: TokenBatch, cache: SlotCache | None = None) -> Tensor:
        """Hidden states `[T, H]`; the one at index i has seen token i and what precedes it in its own sequence.

        Raises:
            UsageError: a sequence is longer than the model's positions.
        """
        self._require_room(batch)
        device, fast = self.device, self.engine != "plain"
        segments = Segments.of(batch.sizes()) if fast and cache is None and device.type == "cpu" else None
        if self._body is not None and segments is not None:
            return self._computed(self._body, batch, segments)
        on_gpu = fast and device.type == "cuda"
        packing = Packing.of(batch.lengths, batch.rows, batch.positions, device, segments, bounds=on_gpu)
        return self.forward_body(batch.tokens, batch.positions, packing=packing, cache=cache)

    def states(self, batch: TokenBatch, places: Tensor) -> Tensor:
        """Hidden states `[N, H]` after the tokens at `places`, int64 [N]; a prompt that rows share is computed once."""
        if self._body is None:
            return self.hidden(batch)[onto(places, self.device)]
        self._require_room(batch)
        tree = tree_of(batch)
        if tree is None:
            segments = Segments.of(batch.sizes())
            return self._computed(self._body, batch, segments, places)
        read, back = tree.where[places].unique(return_inverse=True)  # the end of a shared prompt is read by every row
        return self._computed(self._body, tree, tree.segments, read).index_select(0, back)

    def _computed(self, body: Body, laid: TokenBatch | Tree, segments: Segments, read: Tensor | None = None) -> Tensor:
        how = self.compute_dtype, read
        return body.hidden(laid.tokens, laid.positions, segments, *how, recompute=self.room.recompute)

    def in_parts(
        self, batch: TokenBatch, what: object, ask: Callable[[TokenBatch], tuple[Tensor, ...]], *, keep: bool = False
    ) -> tuple[Tensor, ...]:
        """What `ask` says of every row, `[B, …]` each; where no gradient is wanted in parts that fit the room.

        Learning cuts a batch in the same way, so that both find the same bits: probability ratios begin at exactly 1.

        Args:
            what: is asked, at which settings
            keep: the next that is asked with a gradient is this: where the batch is one part, its pass waits for that
        """
        if torch.is_grad_enabled():
            found = kept.take(self, batch, what)
            return ask(batch) if found is None else found
        cuts = list(parts(batch, self.room.tokens, shared=self.room.shared))
        if keep:
            kept.drop(self)  # its memory is wanted
            found = self._to_keep(batch, ask) if len(cuts) <= 1 else None
            if found is not None:
                return kept.put(self, batch, what, found)
        if len(cuts) <= 1:
            return _asked(ask, batch)
        found = [_asked(ask, batch.select(rows)) for rows in cuts]
        return tuple(_joined(cuts, pieces) for pieces in zip(*found, strict=True))

    def _to_keep(self, batch: TokenBatch, ask: Callable[[TokenBatch], tuple[Tensor, ...]]) -> tuple[Tensor, ...] | None:
        """What is asked, with all that its gradient needs; None where that may not lie in memory for long."""
        if self.engine == "plain" or load(batch, shared=self.room.shared) > self.room.lasting:
            return None
        self.room.recompute = False  # what may wait fits
        try:
            with torch.enable_grad():
                return ask(batch)
        except (MemoryError, RuntimeError) as error:
            if not ran_out(error):
                raise
        kept.drop_all()
        self.room.lasting = 0
        logger.warning("memory does not suffice to keep what scoring finds until it is learned from: it is found twice")
        return None

    def _require_room(self, batch: TokenBatch) -> None:
        longest = int(batch.lengths.max())
        if self.max_positions is not None and longest > self.max_positions:
            raise UsageError(
                f"a sequence of {longest} tokens does not fit the model's {self.max_positions} positions",
                where=self.name,
                fix=f"set --max-length {self.max_positions} or less",
            )

    def forward_body(self, tokens: Tensor, positions: Tensor, **layout: Any) -> Tensor:
        """One pass of the stock body over `tokens` [T] at `positions` [T] → `[T, H]`."""
        self._recompute(wanted=self.room.recompute and torch.is_grad_enabled())
        out = self.core.base_model(
            input_ids=onto(tokens, self.device)[None],
            position_ids=onto(positions, self.device)[None],
            use_cache=False,
            **layout,
        )
        return out.last_hidden_state[0]

    def _recompute(self, *, wanted: bool) -> None:
        """Have stock layers keep what they are given, and nothing inside them, in the next pass.

        They ask whether they are in training; that they think so switches no dropout on: loading has set every rate to
        0. Sampling passes by here at every token, where there is nothing to do.
        """
        if not wanted and not self._recomputing:
            return
        self._recomputing = wanted
        for layer in self.core.modules():
            if isinstance(layer, GradientCheckpointingLayer):
                layer.gradient_checkpointing = layer.training = wanted
                setattr(layer, "_gradient_checkpointing_func", _CHECKPOINT)  # noqa: B010  # its type says modules alone

    def digest(self) -> str:
        """32 hex digits of the weights as they are, of an adapter and its base alike: which checkpoint this is."""
        return weights_digest(self.model, self._frozen)

    def _write(self, folder: Path) -> None:
        """The model or its adapter, and the tokenizer.

        An adapter's file names the folder of its base. Where no folder holds the base as it was trained on, what is
        loaded there would be another model (the first adapter lost), so all is folded together and written whole.
        """
        whole = self.derived and self.model is not self.core
        model = copy.deepcopy(self.model).merge_and_unload() if whole else self.model
        model.save_pretrained(str(folder))
        self.tokenizer.save_pretrained(str(folder))


class Policy(Backbone):
    """Any Hugging Face causal LM, perhaps under a LoRA adapter. Dropout is off, always: ratios start at exactly 1."""

    eos_ids: tuple[int, ...] = ()
    """Tokens that end an answer, the one that training teaches first."""

    @property
    def head(self) -> Any:
        """The output layer: hidden state → logits."""
        return self.core.get_output_embeddings()

    def logprobs(self, batch: TokenBatch, temperature: float = 1.0, *, keep: bool = False) -> TokenScores:
        """Score the learned tokens of `batch` at the temperature at which they are, or were, sampled.

        Args:
            keep: without a gradient, before a loss asks the same of this very batch: that need not compute it again
        """
        what = ("logprobs", temperature)
        return TokenScores(*self.in_parts(batch, what, lambda part: self._logprobs(part, temperature), keep=keep))

    def _logprobs(self, batch: TokenBatch, temperature: float) -> tuple[Tensor, Tensor]:
        learned = batch.mask.nonzero()[:, 0]
        with self.autocast():
            # the state before a token predicts it: the one shift in the house
            hidden = self.states(batch, learned - 1)
        targets = onto(batch.tokens[learned], hidden.device)
        head, kind = self.head, hidden.dtype if self.engine == "plain" else self.compute_dtype
        logprobs, entropy = linear_logprobs(
            hidden.to(kind),
            head.weight.to(kind) if self.engine == "plain" else head.weight,
            targets,
            temperature,
            bias=getattr(head, "bias", None),
            fast=self.engine != "plain",
            narrow=self.copies.get("head", [head.weight], kind) if self.copies and kind != head.weight.dtype else None,
        )
        return batch.answers(logprobs), batch.answers(entropy)

    def save(self, folder: Path) -> None:
        """Write a plain Hugging Face folder (or a PEFT adapter folder) that stock libraries load and stop with."""
        generation = getattr(self.core, "generation_config", None)
        if generation is not None and self.eos_ids:
            first, *more = self.eos_ids
            generation.eos_token_id = [first, *more] if more else first
            generation.pad_token_id = self.tokenizer.pad_token_id
        self._write(folder)
        if generation is not None:
            generation.save_pretrained(str(folder))


class Scorer(Backbone):
    """One number per text (a reward model), or one per token (a critic): a sequence classifier, its labels summed."""

    heads: Heads = Heads()
    """What its labels mean."""

    @property
    def head(self) -> nn.Module:
        """hidden state `[…, H]` → labels `[…, L]`."""
        return self.core.score

    def scores(self, batch: TokenBatch) -> Tensor:
        """float32 [B]: read at the last real token of each sequence."""
        return self.heads.value(self.labels(batch))

    def labels(self, batch: TokenBatch) -> Tensor:
        """float32 [B, L]: what each head says at the last real token of each sequence."""
        return self.head(self.features(batch))

    def features(self, batch: TokenBatch) -> Tensor:
        """float32 [B, H]: the hidden state at the last real token of each sequence, which the heads read."""
        return self.in_parts(batch, "features", self._features)[0]

    def _features(self, batch: TokenBatch) -> tuple[Tensor]:
        with self.autocast():
            return (self.states(batch, batch.starts + batch.lengths - 1).float(),)

    def values(self, batch: TokenBatch, *, keep: bool = False) -> Tensor:
        """float32 [B, R]: what is expected *before* each learned token is emitted, so read one position earlier.

        Args:
            keep: as `Policy.logprobs` has it
        """
        return self.in_parts(batch, "values", self._values, keep=keep)[0]

    def _values(self, batch: TokenBatch) -> tuple[Tensor]:
        with self.autocast():
            hidden = self.states(batch, batch.mask.nonzero()[:, 0] - 1)
        return (batch.answers(self.heads.value(self.head(hidden.float()))),)

    def save(self, folder: Path) -> None:
        """Write a folder that `AutoModelForSequenceClassification` loads and scores equally."""
        self.core.config.pad_token_id = self.tokenizer.pad_token_id
        self._write(folder)
        self.heads.write(folder)


def _asked(ask: Callable[[TokenBatch], tuple[Tensor, ...]], batch: TokenBatch) -> tuple[Tensor, ...]:
    """What `ask` says without a gradient; passes that wait to be learned from give way to it."""
    try:
        return ask(batch)
    except (MemoryError, RuntimeError) as error:
        if not (ran_out(error) and kept.drop_all()):
            raise
    return ask(batch)


def _joined(cuts: list[list[int]], pieces: tuple[Tensor, ...]) -> Tensor:
    """`[B, …]` of the pieces `[b, …]`, whose rows are `cuts`; as wide as the widest, padded with 0."""
    width = max(piece.shape[1] for piece in pieces)
    whole = pieces[0].new_zeros(sum(map(len, cuts)), width)
    for rows, piece in zip(cuts, pieces, strict=True):
        whole[rows, : piece.shape[1]] = piece
    return whole
