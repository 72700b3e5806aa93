"""A scored batch is not computed again when it is learned from: the same bits, once, and never another batch's."""

from __future__ import annotations

import copy
import logging
from typing import Any

import pytest
import torch
from torch import Tensor

from tests_support import batch_of, random_rows
from tutelage.models.body import Body
from tutelage.models.load import load_policy, load_scorer
from tutelage.models.policy import Backbone, Policy
from tutelage.ops import native

pytestmark = pytest.mark.skipif(not native.available("body"), reason="NOT TESTED: there is no C++ compiler")
BATCH = batch_of(random_rows((20, 31, 9)), prompt=4)


@pytest.fixture
def policy(model_folder) -> Policy:
    return ready(load_policy(str(model_folder("qwen3")), device="cpu"))


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each pass through a model's layers from now on, whether a gradient was wanted."""
    real, seen = Body.hidden, list[bool]()

    def hidden(self: Body, *given: Any, **more: Any) -> Tensor:
        seen.append(torch.is_grad_enabled())
        return real(self, *given, **more)

    monkeypatch.setattr(Body, "hidden", hidden)
    return seen


def ready(model: Any) -> Any:
    model.room.lasting = 1000
    return model


def gradients(model: Backbone, of: Tensor) -> list[Tensor]:
    model.zero_grad()
    of.square().sum().backward()
    return [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) > 0 and all(map(torch.equal, one, other))


def test_scoring_and_its_loss_are_one_pass_with_the_bits_of_two(policy, passes):
    with torch.no_grad():
        plainly = policy.logprobs(BATCH, 0.7)
    twice = gradients(policy, policy.logprobs(BATCH, 0.7).logprobs)
    passes.clear()
    with torch.no_grad():
        scored = policy.logprobs(BATCH, 0.7, keep=True)
    learned = policy.logprobs(BATCH, 0.7)
    assert passes == [True]
    assert not scored.logprobs.requires_grad and learned.logprobs.requires_grad
    assert torch.equal(scored.logprobs, plainly.logprobs) and torch.equal(scored.entropy, plainly.entropy)
    assert torch.equal(learned.logprobs, plainly.logprobs) and equal(gradients(policy, learned.logprobs), twice)
    again = policy.logprobs(BATCH, 0.7)
    assert passes == [True, True], "a pass is learned from once"
    assert equal(gradients(policy, again.logprobs), twice)


def test_what_a_critic_expects_is_kept_as_well(model_folder, passes):
    critic = ready(load_scorer(str(model_folder("qwen3")), device="cpu", head="zero"))
    torch.nn.init.normal_(critic.head.weight)
    twice = gradients(critic, critic.values(BATCH))
    passes.clear()
    with torch.no_grad():
        scored = critic.values(BATCH, keep=True)
    learned = critic.values(BATCH)
    assert passes == [True] and torch.equal(scored, learned) and equal(gradients(critic, learned), twice)


@pytest.mark.parametrize("change", ["an equal batch", "another temperature"])
def test_only_the_very_batch_that_was_scored_is_answered(policy, passes, change):
    with torch.no_grad():
        policy.logprobs(BATCH, keep=True)
    other, temperature = {"an equal batch": (copy.deepcopy(BATCH), 1.0)}.get(change, (BATCH, 0.5))
    policy.logprobs(other, temperature)
    assert passes == [True, True]
    policy.logprobs(BATCH)
    assert passes == [True, True, True], "and what was kept is let go"


@pytest.mark.parametrize("why", ["too large", "in parts", "a plain engine", "not asked for"])
def test_elsewhere_it_is_computed_twice(policy, passes, why, model_folder):
    if why == "too large":
        policy.room.lasting = int(BATCH.lengths.sum()) - 1
    if why == "in parts":
        policy.room.tokens = 40
    if why == "a plain engine":
        policy = ready(load_policy(str(model_folder("qwen3")), device="cpu", engine="plain"))
    with torch.no_grad():
        scored = policy.logprobs(BATCH, keep=why != "not asked for")
    assert not any(passes)
    kept = policy.logprobs(BATCH).logprobs
    torch.testing.assert_close(kept.detach(), scored.logprobs, atol=1e-5, rtol=0)


def test_where_memory_does_not_suffice_it_is_said_and_not_tried_again(policy, monkeypatch, caplog):
    real, tried = Body.hidden, list[bool]()

    def hidden(self: Body, *given: Any, **more: Any) -> Tensor:
        tried.append(torch.is_grad_enabled())
        if torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(self, *given, **more)

    with torch.no_grad():
        plainly = policy.logprobs(BATCH)
        monkeypatch.setattr(Body, "hidden", hidden)
        with caplog.at_level(logging.WARNING):
            scored = policy.logprobs(BATCH, keep=True)
        assert torch.equal(scored.logprobs, plainly.logprobs) and "found twice" in caplog.text
        policy.logprobs(BATCH, keep=True)
    assert tried == [True, False, False]


def test_other_errors_are_not_taken_for_a_want_of_memory(policy, monkeypatch):
    def hidden(*_: Any, **__: Any) -> Tensor:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(Body, "hidden", hidden)
    with torch.no_grad(), pytest.raises(RuntimeError, match="shapes differ"):
        policy.logprobs(BATCH, keep=True)


def test_what_was_kept_under_other_weights_is_refused(policy):
    with torch.no_grad():
        policy.logprobs(BATCH, keep=True)
        policy.core.get_input_embeddings().weight.mul_(1.5)
        policy.core.base_model.layers[0].mlp.down_proj.weight.mul_(1.5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        policy.logprobs(BATCH).logprobs.sum().backward()


def test_a_copy_of_the_model_takes_nothing_with_it(policy, passes):
    with torch.no_grad():
        policy.logprobs(BATCH, keep=True)
    twin = copy.deepcopy(policy)
    twin.logprobs(BATCH).logprobs.sum().backward()
    assert passes == [True, True]
