"""The fast engine draws what the plain one draws, whatever the slots and the company, and says so when it cannot."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tutelage.data.template import Renderer
from tutelage.errors import DataError, UsageError
from tutelage.models.decode import Decoder, UnfitError
from tutelage.models.load import load_policy
from tutelage.models.lora import LoRA
from tutelage.ops import native
from tutelage.sampling import Sampling
from tutelage.sampling.fast import Fast
from tutelage.sampling.local import Local
from tutelage.types import Message, Prompt

FAMILIES = ("llama", "qwen3", "gpt2", "mistral")
TEXTS = ("hi", "The mayor", "周一，北城市长 on Monday " * 2, "A fire closed the market in Eastford.", "x" * 17, "Who?")
PROMPTS = [Prompt(str(i), (Message("user", text),)) for i, text in enumerate(TEXTS)]

pytestmark = pytest.mark.skipif(not native.available("decoder"), reason=native.why_not("decoder") or "there is one")


def policy_of(folder, dtype="float32", **options):
    """A policy that ends some answers early."""
    policy = load_policy(str(folder), dtype=dtype, device="cpu", **options)
    with torch.no_grad():
        policy.head.weight[policy.eos_ids[0]] *= 4
    return policy


def fast(policy, slots=64, **settings) -> Fast:
    def refuse(reason: str) -> None:
        raise AssertionError(reason)

    return Fast(Renderer(policy.tokenizer), Sampling(**{"max_new_tokens": 24} | settings), slots, refuse)


def plain(policy, **settings) -> Local:
    return Local(Renderer(policy.tokenizer), Sampling(**{"max_new_tokens": 24} | settings))


def answers(rollouts) -> dict[str, tuple[list[int], list[float]]]:
    """Tokens and log-probabilities of each answer, by its name."""
    found, batch = {}, rollouts.batch
    for row, sample in enumerate(rollouts.samples):
        count = int(batch.answer_lengths[row])
        found[sample.id] = (batch.answer_tokens[row, :count].tolist(), rollouts.logprobs[row, :count].tolist())
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_in_float32_it_draws_the_plain_engines_tokens(folder_of, family):
    policy = policy_of(folder_of(family))
    one, other = fast(policy).sample(policy, PROMPTS, 4, 3), plain(policy).sample(policy, PROMPTS, 4, 3)
    assert [sample.text for sample in one.samples] == [sample.text for sample in other.samples]
    assert torch.equal(one.batch.tokens, other.batch.tokens) and torch.equal(one.stopped, other.stopped)
    torch.testing.assert_close(one.logprobs, other.logprobs, atol=2e-5, rtol=0)
    assert 0 < float(one.stopped.float().mean()) < 1, "some stop and some are cut off, or nothing was tested"


def test_a_prompt_of_several_chunks_ends_as_it_begins_with_others_beside_it(folder_of):
    policy = policy_of(folder_of("qwen3", max_position_embeddings=2048))
    long = Prompt("long", (Message("user", "A fire closed the market. " * 90),))
    prompts = [PROMPTS[0], long, PROMPTS[1]]
    one, other = fast(policy).sample(policy, prompts, 2, 3), plain(policy).sample(policy, prompts, 2, 3)
    assert int(one.batch.lengths.max()) > 800, "chunks of 512 tokens about whose ends nobody asks"
    assert torch.equal(one.batch.tokens, other.batch.tokens)
    torch.testing.assert_close(one.logprobs, other.logprobs, atol=2e-5, rtol=0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_depends_on_neither_slots_nor_order_nor_company(folder_of, family, dtype):
    policy = policy_of(folder_of(family), dtype)
    whole = answers(fast(policy).sample(policy, PROMPTS, 4, 3))
    few = answers(fast(policy, slots=3).sample(policy, PROMPTS[::-1], 4, 3))
    alone = answers(fast(policy, slots=1).sample(policy, PROMPTS[2:3], 2, 3))
    assert few == whole, "bit for bit, log-probabilities too"
    assert all(whole[name] == answer for name, answer in alone.items()) and len(alone) == 2


@pytest.mark.parametrize(
    ("heads", "shared", "width", "window"), [(6, 2, 64, None), (5, 1, 96, 24), (4, 4, 128, None), (18, 1, 32, None)]
)
def test_heads_of_any_width_attend_together_to_the_same_bits_as_alone(folder_of, heads, shared, width, window):
    """Sixteen queries fit into the matrix unit: answers to one prompt share it, and so do tokens of one prompt."""
    sizes = {"num_attention_heads": heads, "num_key_value_heads": shared, "head_dim": width, "sliding_window": window}
    policy = policy_of(folder_of("mistral", **sizes), "bfloat16")
    whole = fast(policy).sample(policy, PROMPTS, 9, 3)
    alone = answers(fast(policy, slots=1).sample(policy, PROMPTS[2:4], 2, 3))
    assert all(answers(whole)[name] == answer for name, answer in alone.items()) and len(alone) == 4
    with torch.no_grad():
        scored = policy.logprobs(whole.batch, 1.0).logprobs
    assert (scored - whole.logprobs)[whole.batch.answer_mask].square().mean().sqrt() < 0.04, "as bfloat16 rounds"


@pytest.mark.parametrize("family", ["qwen3", "gpt2"])
def test_what_a_broken_model_left_in_memory_reaches_no_later_answer(folder_of, family):
    policy = policy_of(folder_of(family), "bfloat16")
    engine = fast(policy)
    engine.sample(policy, PROMPTS[2:], 3, 3)
    pages = engine._pages
    pages.memory.fill_(0x7FC07FC0)  # two bfloat16 that are no numbers: whatever the pages hold from before
    later, fresh = (answers(each.sample(policy, PROMPTS[2:], 3, 4)) for each in (engine, fast(policy)))
    assert engine._pages is pages
    assert later == fresh and all(math.isfinite(number) for _, numbers in later.values() for number in numbers)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_answer_does_not_depend_on_the_number_of_threads(folder_of, dtype):
    policy, before = policy_of(folder_of("qwen3"), dtype), torch.get_num_threads()
    long = [Prompt("long", "x" * 50), *PROMPTS]  # one that several threads share, and some that they divide
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append([answers(fast(policy).sample(policy, some, 2, 3)) for some in (long[:1], long)])
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1], "bit for bit, log-probabilities too"


@pytest.mark.parametrize(("dtype", "limit"), [("float32", 2e-5), ("bfloat16", 0.1)])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_sampled_is_what_is_scored(folder_of, family, dtype, limit):
    policy = policy_of(folder_of(family), dtype)
    rollouts = fast(policy, temperature=0.8).sample(policy, PROMPTS, 3, 5)
    with torch.no_grad():
        scored = policy.logprobs(rollouts.batch, 0.8).logprobs
    assert (scored - rollouts.logprobs)[rollouts.batch.answer_mask].abs().max() < limit


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_tokens_are_drawn_with_the_models_probabilities(folder_of, dtype):
    policy, count = policy_of(folder_of("llama"), dtype), 4000
    rollouts = fast(policy, max_new_tokens=1).sample(policy, [Prompt("p", "The")], count, 7)
    drawn = torch.bincount(rollouts.batch.answer_tokens[:, 0], minlength=policy.head.weight.shape[0]).double()
    with torch.no_grad():
        ids = torch.tensor([Renderer(policy.tokenizer).prompt("The")])
        probabilities = policy.core(ids).logits[0, -1].double().softmax(-1)
    expected = probabilities * count
    large = expected >= 5
    squares = ((drawn - expected) ** 2 / expected)[large].sum()
    rest = (drawn[~large].sum() - expected[~large].sum()) ** 2 / expected[~large].sum().clamp_min(1e-9)
    degrees = int(large.sum())
    assert float(squares + rest) < degrees + 5 * math.sqrt(2 * degrees), "chi-square, five standard deviations"


@pytest.mark.parametrize("settings", [{"greedy": True}, {"top_k": 3}, {"top_p": 0.5}, {"temperature": 0.3}])
def test_other_ways_of_drawing_are_the_plain_engines(folder_of, settings):
    policy = policy_of(folder_of("llama"))
    one, other = (make(policy, **settings).sample(policy, PROMPTS, 2, 9) for make in (fast, plain))
    assert torch.equal(one.batch.tokens, other.batch.tokens)
    torch.testing.assert_close(one.logprobs, other.logprobs, atol=5e-5, rtol=0)


def test_a_random_number_next_to_one_draws_a_token_that_can_be_drawn(folder_of, monkeypatch):
    monkeypatch.setattr("tutelage.sampling._answers.uniforms", lambda *_: np.full(4, np.nextafter(1.0, 0.0)))
    policy = policy_of(folder_of("llama"))
    with torch.no_grad():
        policy.head.weight[-40:] *= 30  # some of the last tokens cannot be drawn at all
    rollouts = fast(policy, max_new_tokens=4, temperature=0.05).sample(policy, PROMPTS, 1, seed=0)
    assert rollouts.logprobs[rollouts.batch.answer_mask].isfinite().all()
    assert (rollouts.logprobs[rollouts.batch.answer_mask] > -60).all()


def test_weights_that_training_changed_are_taken_over(folder_of):
    policy = policy_of(folder_of("qwen3"))
    engine = fast(policy)
    before = engine.sample(policy, PROMPTS, 2, 3)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.02)  # leaves no trace in the version counter
    after = engine.sample(policy, PROMPTS, 2, 3)
    assert torch.equal(after.batch.tokens, plain(policy).sample(policy, PROMPTS, 2, 3).batch.tokens)
    assert not torch.equal(after.batch.tokens, before.batch.tokens)
    assert engine._decoder is not None and engine._decoder.sync() == 0, "nothing is laid out twice"


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_is_folded_in(folder_of, family):
    policy = policy_of(folder_of(family), lora=LoRA(rank=4))
    engine = fast(policy)
    engine.sample(policy, PROMPTS[:1], 1, 3)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    one, other = (make.sample(policy, PROMPTS, 2, 3) for make in (engine, plain(policy)))
    assert torch.equal(one.batch.tokens, other.batch.tokens)
    torch.testing.assert_close(one.logprobs, other.logprobs, atol=5e-5, rtol=0)


@pytest.mark.parametrize("targets", ["q_proj,embed_tokens", "biased"])
def test_an_adapter_that_the_decoder_cannot_fold_in_is_sampled_by_the_plain_engine(folder_of, targets):
    policy = policy_of(folder_of("llama"), lora=LoRA(rank=4, targets=targets.replace("biased", "q_proj")))
    if targets == "biased":
        layer = policy.core.model.layers[0].self_attn.q_proj
        layer.lora_bias["default"] = True
        layer.lora_B["default"].bias = torch.nn.Parameter(torch.zeros(layer.out_features))
        policy.choose("auto")
    said = list[str]()
    engine = Fast(Renderer(policy.tokenizer), Sampling(max_new_tokens=8), say=said.append)
    engine.sample(policy, PROMPTS, 1, 3)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    found = engine.sample(policy, PROMPTS, 2, 3)
    with torch.no_grad():
        scored = policy.logprobs(found.batch).logprobs
    torch.testing.assert_close(found.logprobs, scored, atol=2e-5, rtol=0)
    assert len(said) == 1 and "slower than our own decoder" in said[0]


def test_weights_whose_signs_alone_changed_are_taken_over(folder_of):
    policy = policy_of(folder_of("llama"))
    engine = fast(policy)
    engine.sample(policy, PROMPTS, 1, 3)
    with torch.no_grad():
        for layer in policy.core.model.layers:
            layer.mlp.down_proj.weight.neg_()
    one, other = (make.sample(policy, PROMPTS, 2, 3) for make in (engine, plain(policy)))
    assert torch.equal(one.batch.tokens, other.batch.tokens)


def test_a_sliding_window_is_kept(folder_of):
    policy = policy_of(folder_of("mistral", sliding_window=8))
    one, other = (make(policy).sample(policy, PROMPTS, 3, 3) for make in (fast, plain))
    assert torch.equal(one.batch.tokens, other.batch.tokens)
    assert min(one.batch.lengths) > 0 and int(one.batch.lengths.max()) > 2 * 8, "longer than the window"
    wide = policy_of(folder_of("mistral", sliding_window=None))
    assert not torch.equal(fast(wide).sample(wide, PROMPTS, 3, 3).batch.tokens, one.batch.tokens)


def test_an_answer_ends_where_the_models_positions_do_whatever_stands_beside_it(folder_of):
    policy = policy_of(folder_of("gpt2"))
    long = Prompt("long", "The mayor of Norwick opened a bridge. " * 30)
    room = policy.max_positions
    encode = Renderer(policy.tokenizer).prompt
    while len(encode(long.content)) > room - 5:
        long = Prompt("long", long.content[:-8])
    for make in (fast, plain):
        rollouts = make(policy).sample(policy, [long, PROMPTS[0]], 2, 3)
        assert int(rollouts.batch.lengths.max()) <= room
        beside = make(policy).sample(policy, PROMPTS[:1], 2, 3)
        assert torch.equal(rollouts.batch.answer_lengths[2:], beside.batch.answer_lengths)


@pytest.mark.parametrize("engine", [fast, plain])
def test_a_prompt_that_fills_the_models_positions_is_refused(folder_of, engine):
    policy = policy_of(folder_of("gpt2"))
    with pytest.raises(DataError, match="leaves no room for an answer"):
        engine(policy).sample(policy, [Prompt("long", "x" * 4 * policy.max_positions)], 1, 0)


def test_another_family_is_sampled_by_the_plain_engine_which_is_said_once(model_folder):
    policy, said = load_policy(str(model_folder("gemma")), device="cpu"), []
    engine = Fast(Renderer(policy.tokenizer), Sampling(max_new_tokens=4), say=said.append)
    one, other = (engine.sample(policy, PROMPTS, 1, 3) for _ in range(2))
    assert torch.equal(one.batch.tokens, other.batch.tokens)
    assert len(said) == 1 and "PyTorch" in said[0] and "Gemma" in said[0]


def test_without_a_compiler_the_plain_engine_samples(folder_of, monkeypatch):
    policy, said = policy_of(folder_of("llama")), []
    monkeypatch.setattr(native, "library", lambda _: None)
    monkeypatch.setattr(native, "why_not", lambda _: "no C++ compiler was found")
    engine = Fast(Renderer(policy.tokenizer), Sampling(max_new_tokens=4), say=said.append)
    assert len(engine.sample(policy, PROMPTS, 1, 3)) == len(PROMPTS) and "no C++ compiler" in said[0]


def test_a_model_whose_modules_compute_something_else_is_refused(folder_of):
    policy = policy_of(folder_of("llama"))
    policy.core.model.layers[1].self_attn.scaling *= 2
    Decoder(policy)  # read off the module itself
    policy.core.model.layers[0].mlp.register_forward_hook(lambda *parts: parts[2] * 2)
    with pytest.raises(UnfitError, match="differ from the stock forward"):
        Decoder(policy)
    policy.core.model.layers[0].mlp = torch.nn.Identity()
    with pytest.raises(UnfitError, match="holds a Identity"):
        Decoder(policy)


def test_memory_is_kept_between_calls(folder_of):
    policy = policy_of(folder_of("llama"))
    engine = fast(policy)
    engine.sample(policy, PROMPTS, 2, 0)
    pages = engine._pages
    for seed in range(5):
        engine.sample(policy, PROMPTS, 2, seed)
    assert engine._pages is pages


def test_a_change_of_engine_or_number_format_is_heard(folder_of):
    policy = policy_of(folder_of("qwen3"))
    engine = fast(policy)
    engine.sample(policy, PROMPTS[:1], 1, 0)
    policy.choose("plain")
    engine.sample(policy, PROMPTS[:1], 1, 0)
    assert engine._decoder is None
    policy.choose("fast")
    policy.compute_dtype = torch.bfloat16
    engine.sample(policy, PROMPTS[:1], 1, 0)
    assert engine._decoder is not None and engine._decoder.half


def test_the_engine_that_was_asked_for_is_taken(folder_of, model_folder):
    policy = load_policy(str(folder_of("qwen3")), device="cpu", engine="plain")
    engine = fast(policy)
    engine.sample(policy, PROMPTS[:1], 1, 0)
    assert engine._decoder is None, "and nothing is said"
    gemma = load_policy(str(model_folder("gemma")), device="cpu")
    gemma.engine = "fast"
    with pytest.raises(UsageError, match="cannot sample"):
        fast(gemma).sample(gemma, PROMPTS[:1], 1, 0)
