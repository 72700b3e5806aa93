"""A model whose attention a GPU's kernels compute: the same states and gradients as without them."""

from __future__ import annotations

import pytest
import torch

from tutelage.batches import TokenBatch
from tutelage.models import attention
from tutelage.models.load import load_policy
from tutelage.ops import varlen

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(0)
    lengths = [7, 30, 1, 12]
    return TokenBatch.of(
        [(torch.randint(5, 60, (n,), generator=draw).tolist(), [place > n // 2 for place in range(n)]) for n in lengths]
    )


def learned(policy, batch):
    """Log-probabilities, and the gradient of their sum."""
    policy.zero_grad()
    scores = policy.logprobs(batch)
    scores.logprobs.sum().backward()
    return scores.logprobs.detach().cpu(), [
        each.grad.detach().float().cpu().clone() for each in policy.parameters() if each.grad is not None
    ]


def one_by_one(query, key, value, bounds, scale, window=None):
    """What `varlen.attend` promises, by padded attention of each sequence."""
    lengths = bounds.starts.diff().tolist()
    packing = attention.packing_for(lengths, query.device)
    swapped = (each.transpose(0, 1)[None] for each in (query, key, value))
    return attention._packed(*swapped, packing, scale, window)[0]


def test_the_kernels_are_handed_what_the_padded_way_computes(tiny_model, batch, monkeypatch):
    """The seam on a CPU: bounds are made as on a GPU, and the kernel is replaced by what it promises."""
    policy = load_policy(str(tiny_model), dtype="float32", device="cpu", engine="plain")
    wanted, slopes = learned(policy, batch)
    called = []

    def kernel(*args):
        called.append(args[3].longest)
        return one_by_one(*args)

    made = attention.Packing.of
    monkeypatch.setattr(attention.Packing, "of", lambda *args, bounds: made(*args, bounds=True))
    monkeypatch.setattr(varlen, "usable", lambda *_: True)
    monkeypatch.setattr(varlen, "attend", kernel)
    found, others = learned(policy, batch)
    assert called and set(called) == {30}, "each layer asked the kernel"
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
    for one, other in zip(others, slopes, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@CUDA
def test_on_a_gpu_bfloat16_is_not_further_from_float32_than_padded_attention_is(tiny_model, batch):
    exact, exact_slopes = learned(load_policy(str(tiny_model), dtype="float32", device="cpu", engine="plain"), batch)
    gaps = []
    for engine in ("fast", "plain"):
        found, slopes = learned(load_policy(str(tiny_model), dtype="bfloat16", device="cuda", engine=engine), batch)
        worst = max(float((a - b).norm() / b.norm().clamp(min=1e-9)) for a, b in zip(slopes, exact_slopes, strict=True))
        gaps.append((float((found - exact).abs().max()), worst))
    assert gaps[0][0] <= 2 * gaps[1][0] + 1e-3
    assert gaps[0][1] <= 1.5 * gaps[1][1] + 1e-3


@CUDA
def test_on_a_gpu_float32_says_once_that_it_pads(tiny_model):
    notes = load_policy(str(tiny_model), dtype="float32", device="cuda").notes
    assert sum("pads each batch" in note for note in notes) == 1
