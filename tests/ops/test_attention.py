"""Attention in C++ against torch's own, forward and backward, and over trees against the same rows written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from tutelage.ops import native
from tutelage.ops.attention import Segments, attend, usable

SHAPES = [
    ([1], 1, 1, 8, None),
    ([5, 40, 1, 33], 6, 2, 64, None),
    ([100, 31, 32, 65], 4, 4, 80, 17),
    ([2, 700], 3, 1, 128, None),
    ([300], 4, 2, 16, 33),
    ([64, 96], 2, 1, 24, 1),
]
"""lengths, query heads, key heads, numbers per head, window"""
TREE = Segments(*map(torch.tensor, ([0, 3, 4], [0, 20, 50, 57], [20, 30, 7, 40], [0, 0, 0, 57], [0, 20, 20, 0])))
"""a prompt of 20 with answers of 30 and 7, and a sequence of 40 by itself"""
NEAR = {torch.float32: 2e-6, torch.bfloat16: 6e-3}


@pytest.fixture(autouse=True)
def compiled():
    if not native.available("attention"):
        pytest.skip(f"NOT TESTED: {native.why_not('attention')}")


def draw(tokens: int, heads: int, shared: int, depth: int, dtype: torch.dtype) -> list[Tensor]:
    """query, key, value and a gradient to send back"""
    rng = torch.Generator().manual_seed(tokens * depth)
    return [torch.randn(tokens, h, depth, generator=rng).to(dtype) for h in (heads, shared, shared, heads)]


def wanted(query: Tensor, key: Tensor, value: Tensor, segments: Segments, window: int | None) -> Tensor:
    """Every segment by itself, prefix and all, by torch."""
    outs, groups = [], query.shape[1] // key.shape[1]
    for index in range(len(segments.length)):
        start, length = int(segments.start[index]), int(segments.length[index])
        first, before = int(segments.prefix[index]), int(segments.before[index])
        path = [*range(first, first + before), *range(start, start + length)]
        keys, values = (x[path].repeat_interleave(groups, 1).transpose(0, 1)[None] for x in (key, value))
        gap = torch.arange(before, before + length)[:, None] - torch.arange(before + length)[None]
        seen = (gap >= 0) & (gap < (window or 10**9))
        queries = query[start : start + length].transpose(0, 1)[None]
        out = scaled_dot_product_attention(queries, keys, values, attn_mask=seen, scale=0.11)
        outs.append(out[0].transpose(0, 1))
    return torch.cat(outs)


def run(function, tensors: list[Tensor], segments: Segments, window: int | None) -> list[Tensor]:
    leaves = [tensor.clone().requires_grad_() for tensor in tensors[:3]]
    out = function(*leaves, segments, *([0.11] if function is attend else []), window)
    return [out.detach(), *torch.autograd.grad(out, leaves, tensors[3])]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [*SHAPES, "tree", "tree within a window"], ids=str)
def test_answer_and_gradients_are_torchs(shape, dtype):
    if isinstance(shape, str):
        segments, heads, shared, depth, window = TREE, 6, 2, 64, 9 if "window" in shape else None
    else:
        lengths, heads, shared, depth, window = shape
        segments = Segments.of(lengths)
    tensors = draw(segments.tokens, heads, shared, depth, dtype)
    exact = run(wanted, [tensor.double() for tensor in tensors], segments, window)
    for found, right in zip(run(attend, tensors, segments, window), exact, strict=True):
        assert (found.double() - right).norm() <= NEAR[dtype] * right.norm() + 1e-4


def test_every_length_up_to_two_blocks_and_a_long_one():
    for length in [*range(1, 67), 2048]:
        segments = Segments.of([length])
        tensors = draw(length, 2, 1, 16, torch.float32)
        exact = wanted(*tensors[:3], segments, None)
        torch.testing.assert_close(attend(*tensors[:3], segments, 0.11), exact, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bits_depend_neither_on_neighbours_nor_on_threads_nor_on_the_call(dtype):
    lengths, before = [37, 5, 64, 90], torch.get_num_threads()
    tensors = draw(sum(lengths), 4, 2, 32, dtype)
    together = run(attend, tensors, Segments.of(lengths), None)
    try:
        torch.set_num_threads(2)
        assert all(map(torch.equal, run(attend, tensors, Segments.of(lengths), None), together))
    finally:
        torch.set_num_threads(before)
    alone = run(attend, [tensor[42:106] for tensor in tensors], Segments.of([64]), None)
    assert all(torch.equal(part, whole[42:106]) for part, whole in zip(alone, together, strict=True))


def test_the_gradient_of_a_shared_prompt_is_the_sum_over_its_answers():
    tensors = draw(TREE.tokens, 4, 2, 32, torch.float32)
    apart = [*range(50), *range(20), *range(50, 57), *range(57, 97)]  # the prompt written out before each answer
    lengths, ours = [50, 27, 40], run(attend, tensors, TREE, None)
    copies = [tensor[apart] for tensor in tensors]
    copies[3][50:70] = 0  # the second copy of the prompt is asked for nothing
    single = run(attend, copies, Segments.of(lengths), None)
    for found, long in zip(ours[1:], single[1:], strict=True):
        summed = torch.zeros_like(found).index_add_(0, torch.tensor(apart), long)
        torch.testing.assert_close(found, summed, atol=1e-5, rtol=1e-5)


def test_strides_do_not_matter():
    query, key, value, back = draw(50, 4, 2, 32, torch.float32)
    segments, side = Segments.of([20, 30]), torch.cat([query, key, value], 1)
    leaf = side.clone().requires_grad_()
    out = attend(*leaf.split([4, 2, 2], 1), segments, 0.11)
    turned = [tensor.transpose(0, 1).contiguous().transpose(0, 1) for tensor in (query, key, value)]
    assert torch.equal(out, attend(query, key, value, segments, 0.11))
    assert torch.equal(out, attend(*turned, segments, 0.11))
    wide = torch.autograd.grad(out, leaf, back)[0]
    assert all(map(torch.equal, wide.split([4, 2, 2], 1), run(attend, [query, key, value, back], segments, None)[1:]))


def test_what_it_does_not_take_is_said_beforehand_and_refused():
    query, key, value, _ = draw(8, 2, 1, 16, torch.float32)
    assert usable(query, key, value) and not usable(query.double(), key.double()) and not usable(query, key.bfloat16())
    with pytest.raises(ValueError, match="9 tokens in segments"):
        attend(query, key, value, Segments.of([9]), 0.11)
    narrow = value[:, :, :8]  # as latent attention has them
    assert not usable(query, key, narrow)
    with pytest.raises(ValueError, match="must have one shape"):
        attend(query, key, narrow, Segments.of([8]), 0.11)
    with pytest.raises(ValueError, match="8 tokens in segments"):
        attend(query, key[:, :, :8], narrow, Segments.of([8]), 0.11)
