"""The body in C++ against PyTorch alone: the same losses, log-probabilities and gradients, in both number formats."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.profiler import profile
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from tests_support import batch_of, random_rows
from tutelage.errors import UsageError
from tutelage.models.load import load_policy, load_scorer, pick_dtype
from tutelage.models.lora import LoRA
from tutelage.models.policy import Policy, Scorer
from tutelage.models.reference import Reference
from tutelage.ops import native
from tutelage.ops.attention import Segments

FAMILIES = ("llama", "qwen3", "mistral", "qwen2", "gpt2")
LENGTHS = (40, 3, 17, 2, 33)


@pytest.fixture(autouse=True)
def compiled():
    if not native.available("body"):
        pytest.skip(f"NOT TESTED: {native.why_not('body')}")


def both(model_folder, architecture: str, load=load_policy, **options) -> list[Policy | Scorer]:
    """The same model under both engines; biases and norms are moved from where they start, which is 0 and 1."""
    folder = str(model_folder(architecture))
    made = [load(folder, device="cpu", engine=engine, **options) for engine in ("auto", "plain")]
    for model in made:
        move(model, lambda name, parameter: parameter.ndim == 1)
    return made


@torch.no_grad()
def move(model: Policy | Scorer, chosen: Callable[[str, Tensor], bool]) -> None:
    """Add the same noise every time to what is chosen by name and parameter."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if chosen(name, parameter):
            parameter.add_(torch.randn_like(parameter), alpha=0.3)


def move_adapter(*models: Policy | Scorer) -> None:
    """Adapters start at zero: take them, equally, to where they change the model."""
    for model in models:
        move(model, lambda name, _: "lora_B" in name)


def gradients(model: Policy | Scorer, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def same(found: dict[str, Tensor], wanted: dict[str, Tensor], share: float) -> None:
    """Each gradient lies within `share` of its own norm."""
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert (found[name] - gradient).norm() <= share * gradient.norm() + 1e-7, name


def far(model: Policy, exact: Policy) -> tuple[float, float]:
    """How far log-probabilities (the largest gap) and gradients (in norms) lie from the exact ones."""
    batch = batch_of(random_rows(LENGTHS))
    logprobs, right = model.logprobs(batch).logprobs, exact.logprobs(batch).logprobs
    found, wanted = gradients(model, logprobs.mean()), gradients(exact, right.mean())
    square = sum(float((found[name] - wanted[name]).square().sum()) for name in wanted)
    whole = sum(float(gradient.square().sum()) for gradient in wanted.values())
    return float((logprobs - right).detach().abs().max()), (square / whole) ** 0.5


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
    move(exact, lambda name, parameter: parameter.ndim == 1)
    ours, theirs = (far(model, exact) for model in (fast, plain))
    assert ours[0] <= 2 * theirs[0] + 1e-3 and ours[1] <= 1.5 * theirs[1] + 1e-3


def test_scores_values_and_their_gradients_are_those_of_pytorch(model_folder):
    fast, plain = both(model_folder, "qwen3", load_scorer, dtype="float32", seed=3)
    batch = batch_of(random_rows(LENGTHS), prompt=2)
    torch.testing.assert_close(fast.scores(batch), plain.scores(batch), atol=1e-5, rtol=1e-5)
    found, wanted = fast.values(batch), plain.values(batch)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    same(gradients(fast, found.square().sum()), gradients(plain, wanted.square().sum()), 1e-4)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_only_what_is_read_leaves_the_last_layer_with_the_gradients_of_the_whole(model_folder, architecture):
    fast, plain = both(model_folder, architecture, dtype="float32")
    body, batch = fast._body, batch_of(random_rows(LENGTHS), prompt=30)
    assert body is not None
    found, wanted = fast.logprobs(batch), plain.logprobs(batch)
    torch.testing.assert_close(found.logprobs, wanted.logprobs, atol=1e-5, rtol=1e-5)
    same(gradients(fast, found.logprobs.sum()), gradients(plain, wanted.logprobs.sum()), 1e-4)

    given = batch.tokens, batch.positions, Segments.of(batch.sizes()), torch.float32
    read = torch.tensor([41, 0, 94, 39])
    some = body.hidden(*given, read)
    assert some.shape[0] == 4 and some.grad_fn is not None
    assert [len(kept.inner) for kept in some.grad_fn.kept] == [95] * (len(body.plan.layers) - 1) + [4]
    torch.testing.assert_close(some, body.hidden(*given)[read], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_part_of_which_nothing_is_learned_sends_nothing_back(model_folder, dtype):
    policy = load_policy(str(model_folder("qwen3")), device="cpu", dtype=dtype)
    nothing = batch_of(random_rows((5, 9)), prompt=9)
    assert not nothing.mask.any()
    sent = gradients(policy, policy.logprobs(nothing).logprobs.sum())
    assert not any(gradient.any() for gradient in sent.values())


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


@pytest.mark.parametrize("targets", ["all-linear", "some"])
@pytest.mark.parametrize("architecture", FAMILIES)
def test_under_an_adapter_it_computes_what_peft_computes(model_folder, architecture, targets):
    names = "all-linear" if targets == "all-linear" else "c_attn,c_proj" if architecture == "gpt2" else "v_proj,up_proj"
    lora = LoRA(rank=4, targets=names)
    fast, plain = both(model_folder, architecture, lora=lora, dtype="float32")
    assert fast._body is not None
    batch = batch_of(random_rows(LENGTHS))
    off = fast.logprobs(batch).logprobs.detach()
    references = [Reference(policy) for policy in (fast, plain)]
    move_adapter(fast, plain)
    found, wanted = fast.logprobs(batch).logprobs, plain.logprobs(batch).logprobs
    assert (found - off).abs().max() > 0.05, "the adapter changes nothing here"
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    ours, theirs = gradients(fast, found.sum()), gradients(plain, wanted.sum())
    assert ours and all("lora" in name for name in ours)
    same(ours, theirs, 1e-4)
    for reference in references:
        torch.testing.assert_close(reference.logprobs(batch).logprobs, off, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", ["qwen3", "gpt2"])
def test_under_an_adapter_bfloat16_is_as_near_to_float32_as_pytorch_is(model_folder, architecture):
    fast, plain = both(model_folder, architecture, lora=LoRA(rank=4), dtype="bfloat16")
    folder = str(model_folder(architecture))
    exact = load_policy(folder, device="cpu", engine="plain", dtype="float32", lora=LoRA(rank=4))
    move(exact, lambda name, parameter: parameter.ndim == 1)
    move_adapter(fast, plain, exact)
    ours, theirs = (far(model, exact) for model in (fast, plain))
    assert ours[0] <= 2 * theirs[0] + 1e-3 and ours[1] <= 1.5 * theirs[1] + 1e-3


def test_an_adapter_of_another_kind_is_left_to_pytorch(model_folder):
    policy = load_policy(str(model_folder("qwen3")), device="cpu", lora=LoRA(rank=4))
    first = next(part for part in policy.model.modules() if hasattr(part, "lora_dropout"))
    first.lora_dropout["default"] = torch.nn.Dropout(0.1)
    policy.choose("auto")
    assert policy._body is None and any("dropout" in note for note in policy.notes)


def test_a_scorer_of_gpt2_under_an_adapter_learns_its_adapter_and_head(model_folder):
    fast, plain = both(model_folder, "gpt2", load_scorer, dtype="float32", seed=3, lora=LoRA(rank=4))
    move_adapter(fast, plain)
    batch = batch_of(random_rows(LENGTHS), prompt=2)
    found, wanted = fast.values(batch), plain.values(batch)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    same(gradients(fast, found.square().sum()), gradients(plain, wanted.square().sum()), 1e-4)


def test_small_models_stay_with_float32_and_large_ones_follow_the_processor(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(native, "multiplies_bfloat16", lambda: True)
    assert pick_dtype("auto", cpu, 1_000_000) == torch.float32
    assert pick_dtype("auto", cpu, 27_000_000) == torch.bfloat16
    monkeypatch.setattr(native, "multiplies_bfloat16", lambda: False)
    assert pick_dtype("auto", cpu, 27_000_000) == torch.float32


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_check_at_the_start_leaves_no_copy_of_the_weights_behind(model_folder, dtype):
    policy = load_policy(str(model_folder("qwen3")), device="cpu", dtype=dtype)
    assert policy._body is not None and policy._body.copies.size == 0
    policy.logprobs(batch_of(random_rows(LENGTHS)))
    joined = {"float32": 4, "bfloat16": 2}[dtype]
    weights = {name: p for name, p in policy.core.model.layers.named_parameters() if p.ndim == 2}
    side_by_side = sum(
        p.numel()
        for name, p in weights.items()
        if dtype == "bfloat16" or name.split(".")[-2] not in ("o_proj", "down_proj")
    )
    assert policy._body.copies.size >= side_by_side * joined > 0
    if dtype == "float32":
        assert policy._body.copies.size == side_by_side * joined, "a weight that stands alone is read where it lies"


@pytest.mark.parametrize("engine", ["auto", "plain"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", ["qwen3", "gpt2"])
def test_layers_computed_again_give_the_same_bits(model_folder, architecture, dtype, engine):
    model = load_policy(str(model_folder(architecture)), device="cpu", engine=engine, dtype=dtype)
    batch, found, kept = batch_of(random_rows(LENGTHS)), list[dict[str, Tensor]](), list[int]()
    model.logprobs(batch)  # so that copies of weights are there
    for again in (False, True, False):
        model.room.recompute = again
        with profile(profile_memory=True) as seen:
            logprobs = model.logprobs(batch).logprobs
        kept.append(sum(event.self_cpu_memory_usage for event in seen.events()))
        found.append(gradients(model, logprobs.mean()) | {"logprobs": logprobs.detach()})
    assert kept[1] < kept[0], "bytes between the passes"
    for name, wanted in found[0].items():
        assert torch.equal(wanted, found[1][name]) and torch.equal(wanted, found[2][name]), name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_without_a_gradient_nothing_in_the_layers_is_kept(model_folder, tmp_path, dtype):
    folder = model_folder("qwen3")
    config = AutoConfig.from_pretrained(folder, num_hidden_layers=12, layer_types=["full_attention"] * 12)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    model = load_policy(str(tmp_path), device="cpu", dtype=dtype)
    batch, peak = batch_of(random_rows((100,) * 8)), dict[bool, int]()
    model.hidden(batch)  # so that copies of weights are there
    for learns in (True, False):
        with torch.set_grad_enabled(learns), profile(profile_memory=True) as seen:
            model.hidden(batch)
        events = [each for each in seen.profiler.kineto_results.events() if each.name() == "[memory]"]
        changes = [each.nbytes() for each in sorted(events, key=lambda each: each.start_ns())]
        peak[learns] = max(itertools.accumulate(changes))
    assert peak[False] < 0.5 * peak[True]
