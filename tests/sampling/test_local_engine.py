"""Our engine: what is sampled is what is scored, randomness belongs to the sequence, answers stop where they should."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from tests_support import ARCHITECTURES
from tutelage.data.template import Renderer
from tutelage.errors import UsageError
from tutelage.models.load import load_policy
from tutelage.sampling import Sampling
from tutelage.sampling._base import uniforms
from tutelage.sampling.local import Local
from tutelage.types import Message, Prompt

PROMPTS = [
    Prompt(str(i), (Message("user", text),))
    for i, text in enumerate(["hi", "The mayor", "周一，北城市长 on Monday " * 2])
]


def engine(folder, **settings) -> tuple[Local, object]:
    policy = load_policy(str(folder), device="cpu")
    return Local(Renderer(policy.tokenizer), Sampling(**{"max_new_tokens": 16} | settings)), policy


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampled_logprobs_equal_the_training_forward(model_folder, architecture, temperature):
    local, policy = engine(model_folder(architecture), temperature=temperature)
    rollouts = local.sample(policy, PROMPTS, 3, seed=1)
    scored = policy.logprobs(rollouts.batch, temperature).logprobs
    mask = rollouts.batch.answer_mask
    torch.testing.assert_close(rollouts.logprobs[mask], scored[mask], atol=1e-5, rtol=0)
    assert torch.equal(rollouts.logprobs != 0, mask)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_greedy_answers_equal_transformers_generate(model_folder, architecture):
    local, policy = engine(model_folder(architecture), greedy=True)
    stock = AutoModelForCausalLM.from_pretrained(model_folder(architecture)).eval()
    rollouts = local.sample(policy, PROMPTS, 1, seed=0)
    for row, prompt in enumerate(PROMPTS):
        ids = torch.tensor([local.renderer.prompt(prompt.content)])
        wanted = stock.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=16,
            do_sample=False,
            eos_token_id=list(local.renderer.stop_ids),
            pad_token_id=policy.tokenizer.pad_token_id,
        )[0, ids.shape[1] :]
        count = int(rollouts.batch.answer_lengths[row])
        assert rollouts.batch.answer_tokens[row, :count].tolist() == wanted.tolist()


def test_an_answer_does_not_depend_on_its_batch_mates_or_on_the_number_of_slots(tiny_model):
    local, policy = engine(tiny_model)
    together = local.sample(policy, PROMPTS, 4, seed=5)
    alone = local.sample(policy, PROMPTS[2:], 4, seed=5)
    local.slots = 3
    in_turns = local.sample(policy, PROMPTS, 4, seed=5)
    texts = [sample.text for sample in together.samples]
    assert texts[8:] == [sample.text for sample in alone.samples]
    assert texts == [sample.text for sample in in_turns.samples]
    assert texts != [sample.text for sample in local.sample(policy, PROMPTS, 4, seed=6).samples]


def test_tokens_are_drawn_with_the_models_probabilities(tiny_model):
    local, policy = engine(tiny_model, max_new_tokens=1)
    prompts = [Prompt(f"p{i}", "The") for i in range(3000)]
    rollouts = local.sample(policy, prompts, 1, seed=0)
    drawn = rollouts.batch.answer_tokens[:, 0]
    ids = torch.tensor([local.renderer.prompt("The")])
    with torch.no_grad():
        probabilities = policy.core(ids).logits[0, -1].softmax(-1)
    counts = torch.bincount(drawn, minlength=len(probabilities)).float()
    distance = 0.5 * (counts / counts.sum() - probabilities).abs().sum()
    expected = math.sqrt(len(probabilities) / (2 * math.pi * 3000))
    assert distance < 2 * expected


def test_the_stop_token_ends_an_answer_is_kept_and_is_learned(tiny_model):
    local, policy = engine(tiny_model, max_new_tokens=40)
    stop = policy.tokenizer.eos_token_id
    with torch.no_grad():
        policy.head.weight[stop] *= 8
    rollouts = local.sample(policy, PROMPTS, 16, seed=2)
    assert 0 < rollouts.stopped.float().mean() < 1 or rollouts.stopped.all()
    for row, sample in enumerate(rollouts.samples):
        tokens = rollouts.batch.answer_tokens[row, : int(rollouts.batch.answer_lengths[row])].tolist()
        assert (stop in tokens) == (sample.finish == "stop") == bool(rollouts.stopped[row])
        assert stop not in tokens[:-1] and "</s>" not in sample.text


def test_truncated_sampling_draws_only_from_what_is_kept(tiny_model):
    local, policy = engine(tiny_model, max_new_tokens=1, top_k=3)
    prompts = [Prompt(f"p{i}", "The") for i in range(200)]
    three = set(local.sample(policy, prompts, 1, seed=0).batch.answer_tokens[:, 0].tolist())
    local.sampling = Sampling(max_new_tokens=1, top_p=1e-6)
    one = set(local.sample(policy, prompts, 1, seed=0).batch.answer_tokens[:, 0].tolist())
    assert len(three) <= 3 and len(one) == 1 and one <= three


def test_uniforms_are_a_pure_function_of_seed_prompt_and_answer():
    assert np.array_equal(uniforms(1, "a", 0, 8), uniforms(1, "a", 0, 8))
    assert np.array_equal(uniforms(1, "a", 0, 8), uniforms(1, "a", 0, 20)[:8]), "a longer limit keeps the beginning"
    assert not np.array_equal(uniforms(1, "a", 0, 8), uniforms(1, "a", 1, 8))
    assert not np.array_equal(uniforms(1, "a1", 0, 8), uniforms(1, "a", 10, 8))


@pytest.mark.parametrize("wrong", [{"temperature": 0}, {"top_p": 0}, {"top_k": -1}, {"max_new_tokens": 0}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UsageError, match="makes no sense"):
        Sampling(**wrong)


def test_a_prompt_that_stands_in_a_batch_twice_gets_other_answers_each_time(tiny_model):
    local, policy = engine(tiny_model)
    local.slots = 4
    twice = local.sample(policy, [*PROMPTS[:2], PROMPTS[0]], 2, seed=5)
    texts, more = [one.text for one in twice.samples], local.sample(policy, PROMPTS[:1], 4, seed=5).samples
    assert [*texts[:2], *texts[4:]] == [one.text for one in more] and len(set(texts)) == len(texts)
    assert [one.id for one in twice.samples] == ["0/0", "0/1", "1/0", "1/1", "0/2", "0/3"]


def test_a_random_number_next_to_one_draws_a_token_that_can_be_drawn(tiny_model, monkeypatch):
    monkeypatch.setattr("tutelage.sampling._answers.uniforms", lambda *_: np.full(4, np.nextafter(1.0, 0.0)))
    local, policy = engine(tiny_model, max_new_tokens=4, top_k=2)
    rollouts = local.sample(policy, PROMPTS, 1, seed=0)
    last = policy.model.config.vocab_size - 1
    assert (rollouts.logprobs[rollouts.batch.answer_mask] > -math.log(last)).all()
    assert last not in rollouts.batch.answer_tokens
