"""The body in C++ against PyTorch alone: the same losses, log-probabilities and gradients, in both number formats."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from tests_support import batch_of, random_rows
from tutelage.errors import UsageError
from tutelage.models.load import load_policy, load_scorer, pick_dtype
from tutelage.models.lora import LoRA
from tutelage.models.policy import Policy, Scorer
from tutelage.models.reference import Reference
from tutelage.ops import native

FAMILIES = ("llama", "qwen3", "mistral")
LENGTHS = (40, 3, 17, 2, 33)


@pytest.fixture(autouse=True)
def compiled():
    if not native.available("body"):
        pytest.skip(f"NOT TESTED: {native.why_not('body')}")


def both(model_folder, architecture: str, load=load_policy, **options) -> list[Policy | Scorer]:
    """The same model under both engines."""
    folder = str(model_folder(architecture))
    return [load(folder, device="cpu", engine=engine, **options) for engine in ("auto", "plain")]


def gradients(model: Policy | Scorer, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def same(found: dict[str, Tensor], wanted: dict[str, Tensor], share: float) -> None:
    """Each gradient lies within `share` of its own norm."""
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert (found[name] - gradient).norm() <= share * gradient.norm() + 1e-7, name


@pytest.mark.parametrize("architecture", FAMILIES)
def test_logprobs_entropy_and_gradients_are_those_of_pytorch(model_folder, architecture):
    fast, plain = both(model_folder, architecture, dtype="float32")
    assert fast._body is not None and plain._body is None
    batch = batch_of(random_rows(LENGTHS))
    found, wanted = fast.logprobs(batch, 0.7), plain.logprobs(batch, 0.7)
    torch.testing.assert_close(found.logprobs, wanted.logprobs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.entropy, wanted.entropy, atol=1e-5, rtol=1e-5)
    same(gradients(fast, found.logprobs.sum()), gradients(plain, wanted.logprobs.sum()), 1e-4)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_in_bfloat16_it_is_as_near_to_float32_as_pytorch_is(model_folder, architecture):
    fast, plain = both(model_folder, architecture, dtype="bfloat16")
    exact = load_policy(str(model_folder(architecture)), device="cpu", engine="plain", dtype="float32")
    batch = batch_of(random_rows(LENGTHS))

    def far(model: Policy) -> tuple[float, float]:
        logprobs = model.logprobs(batch).logprobs
        found, wanted = gradients(model, logprobs.mean()), gradients(exact, exact.logprobs(batch).logprobs.mean())
        square = sum(float((found[name] - wanted[name]).square().sum()) for name in wanted)
        whole = sum(float(gradient.square().sum()) for gradient in wanted.values())
        gap = (logprobs - exact.logprobs(batch).logprobs).abs().max()
        return float(gap.detach()), (square / whole) ** 0.5

    ours, theirs = far(fast), far(plain)
    assert ours[0] <= 2 * theirs[0] + 1e-3 and ours[1] <= 1.5 * theirs[1] + 1e-3


def test_scores_values_and_their_gradients_are_those_of_pytorch(model_folder):
    fast, plain = both(model_folder, "qwen3", load_scorer, dtype="float32", seed=3)
    batch = batch_of(random_rows(LENGTHS), prompt=2)
    torch.testing.assert_close(fast.scores(batch), plain.scores(batch), atol=1e-5, rtol=1e-5)
    found, wanted = fast.values(batch), plain.values(batch)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    same(gradients(fast, found.square().sum()), gradients(plain, wanted.square().sum()), 1e-4)


def test_a_sliding_window_is_kept(model_folder, tmp_path):
    from transformers import AutoModelForCausalLM

    plain = load_policy(str(model_folder("mistral")), device="cpu", engine="plain")
    AutoModelForCausalLM.from_pretrained(model_folder("mistral"), sliding_window=8).save_pretrained(tmp_path)
    plain.tokenizer.save_pretrained(tmp_path)
    models = [load_policy(str(tmp_path), device="cpu", engine=engine) for engine in ("fast", "plain")]
    batch = batch_of(random_rows(LENGTHS))
    found, wanted = (model.logprobs(batch).logprobs for model in models)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert (found - plain.logprobs(batch).logprobs).abs().max() > 1e-3, "the window changes nothing here"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bits_depend_neither_on_threads_nor_on_the_call(model_folder, dtype):
    policy = load_policy(str(model_folder("qwen3")), device="cpu", dtype=dtype, engine="fast")
    batch, before = batch_of(random_rows((70, 3, 17))), torch.get_num_threads()
    seen = list[dict[str, Tensor]]()
    try:
        for threads in (1, 1, 2):
            torch.set_num_threads(threads)
            seen.append(gradients(policy, policy.logprobs(batch).logprobs.sum()))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(seen[0][name], seen[1][name]) for name in seen[0])
    same(seen[2], seen[0], 1e-5)  # torch's own products may differ in the last bits


def test_changed_weights_are_seen_at_once_and_by_the_reference_never(model_folder):
    policy = load_policy(str(model_folder("qwen3")), device="cpu", dtype="bfloat16", engine="fast")
    batch = batch_of(random_rows((9, 12)))
    first = policy.logprobs(batch).logprobs.detach()
    reference = Reference(policy)
    assert torch.equal(reference.logprobs(batch).logprobs, first)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(1.1)
    now = policy.logprobs(batch).logprobs.detach()
    assert (now - first).abs().max() > 1e-3
    assert torch.equal(reference.logprobs(batch).logprobs, first)
    assert torch.equal(copy.deepcopy(policy).logprobs(batch).logprobs, now)


@pytest.mark.parametrize("fused", [True, False])
def test_after_a_step_of_an_optimiser_both_engines_still_agree(model_folder, fused):
    batch, losses = batch_of(random_rows(LENGTHS)), []
    for policy in both(model_folder, "qwen3", dtype="float32"):
        adam = torch.optim.AdamW(policy.parameters(), lr=1e-2, fused=fused)
        for _ in range(4):
            loss = -policy.logprobs(batch).logprobs.mean()
            losses.append(float(loss.detach()))
            adam.zero_grad()
            loss.backward()
            adam.step()
    assert losses[:4] == pytest.approx(losses[4:], rel=1e-4) and losses[0] - losses[3] > 0.1


def test_a_model_of_another_family_is_told_of_and_computed_by_pytorch(model_folder):
    folder = str(model_folder("gemma"))
    policy = load_policy(folder, device="cpu")
    assert any("computed by PyTorch" in note and "GemmaForCausalLM" in note for note in policy.notes)
    with pytest.raises(UsageError, match="fast engine"):
        load_policy(folder, device="cpu", engine="fast")


def test_under_an_adapter_layers_are_pytorchs_and_only_attention_is_ours(model_folder):
    fast, plain = both(model_folder, "qwen3", lora=LoRA(rank=4), dtype="float32")
    assert fast._body is None and any("computed by PyTorch" in note for note in fast.notes)
    batch = batch_of(random_rows(LENGTHS))
    found, wanted = fast.logprobs(batch).logprobs, plain.logprobs(batch).logprobs
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    same(gradients(fast, found.sum()), gradients(plain, wanted.sum()), 1e-4)


def test_small_models_stay_with_float32_and_large_ones_follow_the_processor(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(native, "multiplies_bfloat16", lambda: True)
    assert pick_dtype("auto", cpu, 1_000_000) == torch.float32
    assert pick_dtype("auto", cpu, 27_000_000) == torch.bfloat16
    monkeypatch.setattr(native, "multiplies_bfloat16", lambda: False)
    assert pick_dtype("auto", cpu, 27_000_000) == torch.float32
