"""Attention on CUDA: what its kernels are handed is tested everywhere, what they answer where there is a GPU."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from tutelage.ops import varlen
from tutelage.ops.varlen import Bounds

LENGTHS = [5, 1, 9, 3]
HEADS, SHARED, DEPTH = 4, 2, 16
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def rows(device="cpu", dtype=torch.float32, **options):
    draw = torch.Generator().manual_seed(0)
    shapes = [(sum(LENGTHS), heads, DEPTH) for heads in (HEADS, SHARED, SHARED)]
    return [torch.randn(shape, generator=draw).to(device, dtype).requires_grad_(**options) for shape in shapes]


def one_by_one(query, key, value, lengths, scale, window):
    """Each sequence by itself, with a mask written out; sees at most `window` tokens, itself among them."""
    parts = []
    for q, k, v in zip(*(each.split(lengths) for each in (query, key, value)), strict=True):
        far = torch.arange(len(q), device=q.device)[:, None] - torch.arange(len(q), device=q.device)[None]
        mask = (far >= 0) & (far < (window or len(q)))
        k, v = (each.repeat_interleave(HEADS // SHARED, 1) for each in (k, v))
        swapped = (each.transpose(0, 1) for each in (q, k, v))
        parts.append(scaled_dot_product_attention(*swapped, attn_mask=mask, scale=scale).transpose(0, 1))
    return torch.cat(parts)


def kernel_by_its_contract(query, key, value, starts, starts_too, longest, longest_too, *, scale, window_size):
    """What PyTorch's documents say of `varlen_attn`: (left, 0) sees `left` tokens before itself, −1 = all."""
    lengths = starts.diff().tolist()
    assert starts is starts_too and starts.dtype == torch.int32
    assert longest == longest_too == max(lengths) and window_size[1] == 0
    return one_by_one(query, key, value, lengths, scale, None if window_size[0] < 0 else window_size[0] + 1)


@pytest.mark.parametrize("window", [None, 1, 3, 9, 100])
def test_the_kernel_is_asked_for_the_sequences_and_their_windows(monkeypatch, window):
    monkeypatch.setattr(varlen, "_kernel", lambda: (kernel_by_its_contract, {}))
    query, key, value = rows()
    found = varlen.attend(query, key, value, Bounds.of(LENGTHS, query.device), 0.3, window)
    torch.testing.assert_close(found, one_by_one(query, key, value, LENGTHS, 0.3, window))


@pytest.mark.parametrize("window", [None, 3])
def test_the_installed_pytorch_takes_the_call_and_its_gradient(window):
    """On tensors without numbers: names, number and kinds of the arguments, shapes of the answer."""
    query, key, value = rows("meta", torch.bfloat16, requires_grad=True)
    bounds = Bounds(torch.zeros(len(LENGTHS) + 1, dtype=torch.int32, device="meta"), max(LENGTHS))
    out = varlen.attend(query, key, value, bounds, 0.3, window)
    out.sum().backward()
    assert out.shape == query.shape
    assert [each.grad.shape for each in (query, key, value)] == [each.shape for each in (query, key, value)]


@pytest.mark.parametrize("window", [None, 3])
def test_the_installed_pytorch_takes_one_token_against_a_cache(monkeypatch, window):
    monkeypatch.setattr(varlen, "usable", lambda *_: True)
    keys, used = torch.empty(6, 8, SHARED, DEPTH, device="meta"), torch.empty(6, dtype=torch.int32, device="meta")
    query = torch.empty(6, HEADS, DEPTH, device="meta")
    assert varlen.look_back(query, keys, keys, used, 0.3, window).shape == query.shape


def cached(device, dtype):
    """The last token of each sequence, and a cache of ten places whose unused ones hold rubbish."""
    query, key, value = rows(device, dtype)
    keys, values = (torch.full((len(LENGTHS), 10, SHARED, DEPTH), 7.0, dtype=dtype, device=device) for _ in range(2))
    for row, (k, v) in enumerate(zip(key.split(LENGTHS), value.split(LENGTHS), strict=True)):
        keys[row, : len(k)], values[row, : len(v)] = k, v
    ends = torch.tensor(LENGTHS).cumsum(0) - 1
    return (query, key, value), (query[ends], keys, values, torch.tensor(LENGTHS, dtype=torch.int32, device=device))


@pytest.mark.parametrize("window", [None, 1, 3])
def test_one_token_sees_its_own_part_of_the_cache_alone(window):
    whole, (query, keys, values, used) = cached("cpu", torch.float32)
    found = varlen.look_back(query, keys, values, used, 0.3, window)
    ends = torch.tensor(LENGTHS).cumsum(0) - 1
    torch.testing.assert_close(found, one_by_one(*whole, LENGTHS, 0.3, window)[ends])


@pytest.mark.parametrize(
    ("device", "dtype", "depth", "reason"),
    [
        ("cpu", torch.bfloat16, 64, "made for CUDA"),
        ("cuda", torch.float32, 64, "float32"),
        ("cuda", torch.bfloat16, 20, "20 wide"),
        ("cuda", torch.bfloat16, 320, "320 wide"),
    ],
)
def test_it_says_why_the_kernels_cannot_be_used(device, dtype, depth, reason):
    assert reason in varlen.why_not(torch.device(device), dtype, depth)


@CUDA
@pytest.mark.parametrize("window", [None, 1, 3, 100])
def test_on_a_gpu_packed_attention_is_that_of_each_sequence(window):
    inputs = rows("cuda", torch.bfloat16, requires_grad=True)
    assert varlen.usable(*inputs)
    exact = [each.detach().float().requires_grad_() for each in inputs]
    found = varlen.attend(*inputs, Bounds.of(LENGTHS, inputs[0].device), 0.3, window)
    wanted = one_by_one(*exact, LENGTHS, 0.3, window)
    torch.testing.assert_close(found.float(), wanted, atol=0.03, rtol=0.03)
    back = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1)).cuda()
    for one, other in zip(
        torch.autograd.grad(found, inputs, back.bfloat16()), torch.autograd.grad(wanted, exact, back), strict=True
    ):
        assert float((one.float() - other).norm() / other.norm()) < 0.02


@CUDA
@pytest.mark.parametrize("window", [None, 1, 3])
def test_on_a_gpu_one_token_sees_its_own_part_of_the_cache_alone(window):
    whole, (query, keys, values, used) = cached("cuda", torch.bfloat16)
    found = varlen.look_back(query, keys, values, used, 0.3, window)
    wanted = one_by_one(*(each.float() for each in whole), LENGTHS, 0.3, window)[torch.tensor(LENGTHS).cumsum(0) - 1]
    torch.testing.assert_close(found.float(), wanted, atol=0.03, rtol=0.03)
