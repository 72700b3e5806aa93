"""The engine for GPUs, its step run eagerly: the plain engine's tokens, whatever the slots, the looks and the company.

On a GPU the same step is replayed as a graph; those tests are at the end.
"""

from __future__ import annotations

import pytest
import torch

from tutelage.data.template import Renderer
from tutelage.models.load import load_policy
from tutelage.models.lora import LoRA
from tutelage.ops import native
from tutelage.sampling import Sampling, graphs
from tutelage.sampling.fast import Fast
from tutelage.sampling.graphs import Graphs, bucket
from tutelage.sampling.local import Local
from tutelage.types import Message, Prompt

FAMILIES = ("llama", "qwen3", "gpt2", "mistral")
TEXTS = ("hi", "The mayor", "周一，北城市长 on Monday " * 2, "A fire closed the market in Eastford.", "x" * 17, "Who?")
PROMPTS = [Prompt(str(i), (Message("user", text),)) for i, text in enumerate(TEXTS)]
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def policy_of(folder, dtype="float32", device="cpu", **options):
    """A policy that ends some answers early."""
    policy = load_policy(str(folder), dtype=dtype, device=device, **options)
    with torch.no_grad():
        policy.head.weight[policy.eos_ids[0]] *= 4
    return policy


def engine(kind, policy, *more, **settings):
    def refuse(reason: str) -> None:
        raise AssertionError(reason)

    sampling = Sampling(**{"max_new_tokens": 24} | settings)
    return kind(Renderer(policy.tokenizer), sampling, *(more or (64,)), **({} if kind is Local else {"say": refuse}))


def same(one, other, gap=2e-5):
    assert [sample.text for sample in one.samples] == [sample.text for sample in other.samples]
    assert torch.equal(one.batch.tokens, other.batch.tokens) and torch.equal(one.stopped, other.stopped)
    torch.testing.assert_close(one.logprobs, other.logprobs, atol=gap, rtol=0)


@pytest.mark.parametrize("n", [1, 8])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_draws_the_other_engines_tokens(folder_of, family, n):
    policy = policy_of(folder_of(family))
    found = engine(Graphs, policy).sample(policy, PROMPTS, n, 3)
    same(found, engine(Local, policy).sample(policy, PROMPTS, n, 3))
    if native.available("decoder"):
        same(found, engine(Fast, policy).sample(policy, PROMPTS, n, 3))
    if n == 8:
        assert 0 < float(found.stopped.float().mean()) < 1, "some stop and some are cut off, or nothing was tested"


@pytest.mark.parametrize(("slots", "stride"), [(1, 4), (5, 1), (16, 7)])
def test_answers_do_not_depend_on_slots_looks_or_prefills(folder_of, monkeypatch, slots, stride):
    """Few slots: they are refilled, and a prompt's eight answers come in several groups."""
    monkeypatch.setattr(graphs, "_STRIDE", stride)
    monkeypatch.setattr(graphs, "_PREFILL", 10)
    policy = policy_of(folder_of("qwen3"))
    same(
        engine(Graphs, policy, slots).sample(policy, PROMPTS, 8, 3), engine(Local, policy).sample(policy, PROMPTS, 8, 3)
    )


def test_steps_shrink_as_answers_stop(folder_of, monkeypatch):
    policy, sizes = policy_of(folder_of("llama")), []
    step = graphs.Table.step
    monkeypatch.setattr(graphs.Table, "step", lambda table, count: (sizes.append(count), step(table, count))[1])
    found = engine(Graphs, policy).sample(policy, PROMPTS, 8, 3)
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < sizes[0]
    monkeypatch.undo()
    same(found, engine(Local, policy).sample(policy, PROMPTS, 8, 3))


def test_a_window_is_heeded(folder_of):
    policy = policy_of(folder_of("mistral", sliding_window=6))
    same(engine(Graphs, policy).sample(policy, PROMPTS, 2, 3), engine(Local, policy).sample(policy, PROMPTS, 2, 3))


def test_an_answer_ends_where_the_models_positions_end(folder_of):
    policy = policy_of(folder_of("gpt2"))
    prompts = [Prompt("long", "x " * 55), Prompt("short", "hi")]
    settings = {"max_new_tokens": 100}
    found = engine(Graphs, policy, **settings).sample(policy, prompts, 4, 5)
    same(found, engine(Local, policy, **settings).sample(policy, prompts, 4, 5))
    assert max(found.batch.sizes()) <= policy.max_positions


@pytest.mark.parametrize("settings", [{"greedy": True}, {"top_k": 3}, {"top_p": 0.5}, {"temperature": 0.3}])
def test_other_ways_of_drawing_are_the_plain_engines(folder_of, settings):
    policy = policy_of(folder_of("llama"))
    one, other = (engine(kind, policy, **settings).sample(policy, PROMPTS, 2, 9) for kind in (Graphs, Local))
    same(one, other, 5e-5)


def test_it_follows_the_weights_as_they_are_trained_and_larger_calls(folder_of):
    policy = policy_of(folder_of("qwen3"), lora=LoRA(rank=4, alpha=8, targets="all-linear"))
    sampler = engine(Graphs, policy)
    before = sampler.sample(policy, PROMPTS[:1], 2, 3)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
    after = sampler.sample(policy, PROMPTS, 4, 3)
    same(after, engine(Local, policy).sample(policy, PROMPTS, 4, 3))
    assert before.samples[0].text != after.samples[0].text, "or the adapter changed nothing"
    again = sampler.sample(policy, PROMPTS[:1], 2, 3)
    assert [one.text for one in again.samples] == [one.text for one in after.samples[:2]]


@pytest.mark.parametrize("family", FAMILIES)
def test_in_bfloat16_it_is_not_further_from_float32_than_the_scorer_is(folder_of, family):
    policy = policy_of(folder_of(family), "bfloat16")
    found = engine(Graphs, policy, temperature=0.8).sample(policy, PROMPTS, 3, 5)
    with torch.no_grad():
        scored = policy.logprobs(found.batch, 0.8).logprobs
        policy.compute_dtype = torch.float32
        exact = policy.logprobs(found.batch, 0.8).logprobs
    mask = found.batch.answer_mask
    ours, theirs = (float((one - exact)[mask].square().mean().sqrt()) for one in (found.logprobs, scored))
    assert ours <= 1.5 * theirs
    assert (scored - found.logprobs)[mask].abs().max() < 0.2


def test_another_family_is_sampled_plainly_and_said(model_folder):
    policy = load_policy(str(model_folder("gemma")), dtype="float32", device="cpu")
    said = []
    sampler = Graphs(Renderer(policy.tokenizer), Sampling(max_new_tokens=8), say=said.append)
    found = sampler.sample(policy, PROMPTS, 2, 3)
    sampler.sample(policy, PROMPTS, 2, 4)
    same(found, engine(Local, policy, max_new_tokens=8).sample(policy, PROMPTS, 2, 3))
    assert len(said) == 1 and "without CUDA graphs" in said[0]


def test_buckets_hold_what_they_are_asked_to():
    assert [bucket(count, 48) for count in (1, 3, 33, 48)] == [1, 4, 48, 48]


@CUDA
@pytest.mark.parametrize("n", [1, 8])
@pytest.mark.parametrize("family", FAMILIES)
def test_on_a_gpu_graphs_draw_what_the_eager_step_draws(folder_of, monkeypatch, family, n):
    """float32, so that two roundings seldom part; called twice, so that graphs are replayed from the start."""
    policy = policy_of(folder_of(family), device="cuda")
    sampler = engine(Graphs, policy)
    sampler.sample(policy, PROMPTS, n, 3)
    replayed = sampler.sample(policy, PROMPTS, n, 3)
    same(replayed, engine(Local, policy).sample(policy, PROMPTS, n, 3), 1e-4)
    monkeypatch.setattr(graphs.Table, "advance", graphs.Table.step)
    same(replayed, engine(Graphs, policy).sample(policy, PROMPTS, n, 3), 1e-4)


@CUDA
@pytest.mark.parametrize("family", FAMILIES)
def test_on_a_gpu_in_bfloat16_what_is_sampled_is_what_is_scored(folder_of, family):
    policy = policy_of(folder_of(family), "bfloat16", "cuda")
    sampler = engine(Graphs, policy, temperature=0.8)
    for seed in (5, 6):
        found = sampler.sample(policy, PROMPTS, 8, seed)
        with torch.no_grad():
            scored = policy.logprobs(found.batch, 0.8).logprobs.cpu()
        assert (scored - found.logprobs)[found.batch.answer_mask].abs().max() < 0.2


@CUDA
def test_on_a_gpu_the_step_never_waits_for_the_device(folder_of):
    policy = policy_of(folder_of("qwen3"), "bfloat16", "cuda")
    sampler = engine(Graphs, policy)
    sampler.sample(policy, PROMPTS, 8, 3)
    torch.cuda.set_sync_debug_mode("error")
    try:
        sampler._table.step(4)
    finally:
        torch.cuda.set_sync_debug_mode("default")
