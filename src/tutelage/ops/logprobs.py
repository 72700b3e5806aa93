"""Log-probabilities of given tokens: from logits, or straight from hidden states without ever holding all logits.

hidden [N, H] ─┐  a chunk of rows at a time                    logp [N]
weight [V, H] ─┴► logits ─► softmax in float32 ─► gather ─────► entropy [N]
                                 └─► P − onehot, kept if small ─► d hidden, d weight: one product each
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from tutelage.ops import native
from tutelage.ops.allocator import product_rows
from tutelage.ops.native import pointer
from tutelage.ops.weights import outer_sum

_FAST, _FAST_ROWS = (torch.float32, torch.bfloat16), 512
"""What head.cpp reads, and how many rows of logits it finds in cache."""
KLKind = Literal["k1", "k2", "k3"]

_KEPT_BYTES = 256 * 2**20
"""Probabilities up to this size are kept for the backward pass; above, they are computed again."""


def token_logprobs(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """log softmax(logits / temperature) at `targets`, and the entropy of that distribution.

    Args:
        logits: [..., V], any float type; the softmax is taken in float32 (float64 stays)
        targets: int64 [...]
        temperature: > 0, the one that the tokens were sampled at

    Returns:
        logp [...] and entropy [...] in nats; entropy carries no gradient.
    """
    _check_temperature(temperature)
    scaled = logits.to(_precise(logits.dtype)) / temperature
    logp = torch.log_softmax(scaled, -1)
    with torch.no_grad():
        # xlogy-like: a token of probability 0 (logit −inf) adds 0, not 0·(−inf).
        entropy = -torch.where(torch.isinf(logp), 0.0, logp.exp() * logp).sum(-1)
    return logp.gather(-1, targets[..., None]).squeeze(-1), entropy


def linear_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    temperature: float = 1.0,
    bias: Tensor | None = None,
    chunk: int | None = None,
    entropy: bool = True,
    fast: bool = False,
    narrow: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`token_logprobs(hidden @ weight.T + bias, targets, temperature)`, a chunk of rows at a time.

    Gradients reach `hidden`, `weight` and `bias` (once; no second derivatives). Under autocast the product is taken
    in autocast's type; the softmax always in float32 (float64 if given float64).

    Args:
        hidden: [N, H]; N may be 0
        weight: [V, H]
        targets: int64 [N]
        temperature: > 0
        bias: [V]
        chunk: rows at a time; None = as many as the device likes
        entropy: False saves a pass over the logits
        fast: what stands between the products by our own loop (ops/native/head.cpp), where there is one for this
        narrow: `weight` in the type of the product, where somebody keeps it

    Returns:
        logp [N] and entropy [N] in nats; entropy carries no gradient and is empty, [0], if not asked for.

    Raises:
        ValueError: the shapes do not fit, or the temperature is not positive.
    """
    _check_temperature(temperature)
    if hidden.ndim != 2 or weight.ndim != 2 or hidden.shape[1] != weight.shape[1] or targets.shape != hidden.shape[:1]:
        shapes = f"hidden {tuple(hidden.shape)}, weight {tuple(weight.shape)}, targets {tuple(targets.shape)}"
        raise ValueError(f"{shapes} must be [N, H], [V, H], [N]")
    kind = hidden.device.type
    autocast = torch.is_autocast_enabled(kind) and hidden.dtype != torch.float64
    dtype = torch.get_autocast_dtype(kind) if autocast else hidden.dtype
    hidden = hidden.to(dtype)
    loop = fast and kind == "cpu" and dtype in _FAST and bias is None and native.available("head")
    # the loop's own gradient of a float32 weight is never rounded to the type of the product
    weight = weight if loop else weight.to(dtype)
    if narrow is None or narrow.dtype != dtype:
        narrow = weight.detach().to(dtype)
    rows = chunk or (_FAST_ROWS if loop else _rows(weight.shape[0], kind))
    count, targets = len(hidden), targets.contiguous()
    if loop and dtype == torch.bfloat16 and (more := product_rows(count) - count):
        hidden, targets = functional.pad(hidden, (0, 0, 0, more)), functional.pad(targets, (0, more))
    how = targets, bias, 1 / temperature, rows
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (hidden, weight, bias)):
        logp, entropies = cast(Any, _LinearLogprobs).apply(hidden, weight, narrow, *how, entropy, loop)
    else:
        with torch.no_grad():
            logp, entropies = _Head(hidden, narrow, *how, loop).forward(entropy, None)
    return logp[:count], entropies[:count]


def kl(logp: Tensor, ref: Tensor, kind: KLKind = "k1") -> Tensor:
    """An estimate of KL(π ‖ π_ref) from tokens sampled from π, per token, in nats (Schulman 2020, "Approximating KL").

    With l = logp − ref: `k1` l (unbiased, may be negative), `k2` l²/2 (biased, low variance), `k3` e^(−l) − 1 + l
    (unbiased, ≥ 0). Sum over an answer for the KL between answers. As a *loss*, only k2's gradient resembles the KL's,
    k1's is 0 on average and k3 pulls towards the forward-KL optimum: see `shaping.kl_penalty`.
    """
    gap = logp - ref
    if kind == "k1":
        return gap
    if kind == "k2":
        return 0.5 * gap**2
    if kind == "k3":
        return torch.expm1(-gap) + gap
    raise ValueError(f"kind '{kind}' is not one of k1, k2, k3")


@dataclass(frozen=True)
class _Head:
    """softmax((hidden @ weight.T + bias) · scale), a chunk of rows at a time, in two reused buffers.

    Fresh memory for every chunk costs a page fault per 4 KiB: as much time as the arithmetic.
    """

    hidden: Tensor
    weight: Tensor
    targets: Tensor
    bias: Tensor | None
    scale: float
    rows: int
    loop: bool = False
    """by head.cpp"""

    def spans(self) -> list[slice]:
        """Which rows go together."""
        return [slice(start, start + self.rows) for start in range(0, len(self.hidden), self.rows)]

    @cached_property
    def precise(self) -> torch.dtype:
        """The type of the softmax."""
        return _precise(self.hidden.dtype)

    @cached_property
    def logits_buffer(self) -> Tensor:
        return self.hidden.new_empty(min(self.rows, len(self.hidden)), self.weight.shape[0], dtype=self.precise)

    @cached_property
    def softmax_buffer(self) -> Tensor:
        return torch.empty_like(self.logits_buffer)

    def logits(self, span: slice) -> Tensor:
        """[rows, V], scaled; in the buffer."""
        hidden = self.hidden[span]
        logits = self.logits_buffer[: len(hidden)]
        if hidden.dtype == self.precise:
            torch.mm(hidden, self.weight.T, out=logits)
        else:
            logits.copy_(torch.mm(hidden, self.weight.T))
        if self.bias is not None:
            logits += self.bias
        return logits if self.scale == 1.0 else logits.mul_(self.scale)

    def forward(self, entropy: bool, kept: Tensor | None) -> tuple[Tensor, Tensor]:
        """logp [N] and entropy [N] (or [0]); `kept` [N, V], if given, receives P − onehot."""
        logp = self.hidden.new_empty(len(self.hidden), dtype=self.precise)
        entropies = torch.empty_like(logp) if entropy else logp.new_empty(0)
        if self.loop:
            for span in self.spans():
                self._looped(span, logp[span], entropies[span] if entropy else None, kept)
            return logp, entropies
        for span in self.spans():
            logits, column = self.logits(span), self.targets[span, None]
            log_probability = torch.log_softmax(logits, -1, out=self.softmax_buffer[: len(logits)])
            logp[span] = log_probability.gather(-1, column).squeeze(-1)
            if entropy or kept is not None:
                probability = log_probability.exp_()
                if entropy:
                    total = logits.gather(-1, column).squeeze(-1) - logp[span]  # log Σ exp
                    entropies[span] = total - torch.linalg.vecdot(probability, logits)
                if kept is not None:
                    kept[span] = _minus_onehot(probability, column)
        return logp, entropies

    @cached_property
    def raw_buffer(self) -> Tensor:
        return self.hidden.new_empty(min(self.rows, len(self.hidden)), self.weight.shape[0])

    def _looped(self, span: slice, logp: Tensor, entropy: Tensor | None, kept: Tensor | None) -> Tensor:
        """Write logp and entropy of these rows; answers their logits, or P − onehot in their place if `kept`."""
        hidden = self.hidden[span]
        logits = self.raw_buffer[: len(hidden)] if kept is None or kept is self.raw_buffer else kept[span]
        torch.mm(hidden, self.weight.T, out=logits)
        column, half = self.targets[span], int(logits.dtype == torch.bfloat16)
        given = pointer(logits), *native.sizes(*logits.shape), pointer(column), native.real(self.scale)
        wanted = pointer(logp), pointer(entropy), int(kept is not None), half, native.threads()
        library: Any = native.library("head")
        library.head_rows(*given, *wanted)
        return logits

    def residual(self, span: slice) -> Tensor:
        """P − onehot of these rows, in the type of `hidden`."""
        if self.loop:
            unused = self.hidden.new_empty(len(self.targets[span]), dtype=torch.float32)
            return self._looped(span, unused, None, self.raw_buffer)
        logits = self.logits(span)
        probability = torch.softmax(logits, -1, out=self.softmax_buffer[: len(logits)])
        return _minus_onehot(probability, self.targets[span, None]).to(self.hidden.dtype)


class _LinearLogprobs(Function):
    """d logp / d logits = (onehot − P) · scale, so both gradients are products with the kept P − onehot."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        narrow: Tensor,
        targets: Tensor,
        bias: Tensor | None,
        scale: float,
        rows: int,
        entropy: bool,
        loop: bool,
    ) -> tuple[Tensor, Tensor]:
        size = hidden.shape[0] * weight.shape[0]
        kept = hidden.new_empty(hidden.shape[0], weight.shape[0]) if size * hidden.itemsize <= _KEPT_BYTES else None
        logp, entropies = _Head(hidden, narrow, targets, bias, scale, rows, loop).forward(entropy, kept)
        ctx.save_for_backward(hidden, weight, narrow, targets, bias, kept)
        ctx.scale, ctx.rows, ctx.loop = scale, rows, loop
        ctx.mark_non_differentiable(entropies)
        return logp, entropies

    @staticmethod
    @once_differentiable  # which hides the parameters' names from the type checker
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        grad = grad_outputs[0]
        hidden, weight, narrow, targets, bias, kept = ctx.saved_tensors
        head = _Head(hidden, narrow, targets, bias, ctx.scale, ctx.rows, ctx.loop)
        spans = [slice(0, len(hidden))] if kept is not None else head.spans()
        wanted = ctx.needs_input_grad
        d_hidden = torch.empty_like(hidden) if wanted[0] else None
        d_weight = d_bias = None
        for span in spans:
            residual = head.residual(span) if kept is None else kept
            slope = (grad[span, None] * -ctx.scale).to(hidden.dtype)
            if d_hidden is not None:
                d_hidden[span] = torch.mm(residual, narrow).mul_(slope)
            if wanted[1] and ctx.loop:
                d_weight = outer_sum(residual, hidden[span] * slope, into=d_weight)
            elif wanted[1]:
                d_weight = _add(d_weight, torch.mm(residual.T, hidden[span] * slope), len(spans))
            if wanted[4]:
                d_bias = _add(d_bias, torch.mv(residual.T, slope[:, 0]), len(spans))
        return d_hidden, _as(d_weight, weight), None, None, _as(d_bias, bias), None, None, None, None


def _add(total: Tensor | None, part: Tensor, parts: int) -> Tensor:
    """Several parts are added up in float32, whatever type they come in."""
    if total is not None:
        return total.add_(part)
    return part if parts == 1 else part.to(_precise(part.dtype))


def _as(gradient: Tensor | None, like: Tensor) -> Tensor | None:
    return None if gradient is None else gradient.to(like.dtype)


def _minus_onehot(probability: Tensor, column: Tensor) -> Tensor:
    """In place. Taken before any rounding to bfloat16: 1 − p of a confident token would be lost."""
    return probability.scatter_add_(-1, column, -torch.ones_like(column, dtype=probability.dtype))


def _precise(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _rows(vocabulary: int, device: str) -> int:
    """Rows per chunk: near a CPU's cache but enough for a matrix product at full speed, or what keeps a GPU busy."""
    return max(128, (2**19 if device == "cpu" else 2**26) // vocabulary)


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"temperature {temperature} must be > 0; greedy decoding has no log-probabilities")
