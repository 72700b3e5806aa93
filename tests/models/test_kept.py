"""A scored batch is not computed again when it is learned from: the same bits, once, and never another batch's."""

from __future__ import annotations

import copy
import logging
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

from tests_support import batch_of, random_rows
from tutelage.batches import TokenBatch, load
from tutelage.models import kept
from tutelage.models.body import Body
from tutelage.models.load import load_policy, load_scorer
from tutelage.models.policy import Backbone, Policy
from tutelage.models.reference import Reference
from tutelage.ops import native
from tutelage.ops.adamw import AdamW

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


@pytest.fixture(autouse=True)
def nothing_waits():
    assert not kept.drop_all()
    yield
    kept.drop_all()


@pytest.mark.parametrize("change", ["an equal batch", "another temperature", "another question"])
def test_only_the_very_batch_that_was_scored_is_answered(policy, passes, change):
    with torch.no_grad():
        policy.logprobs(BATCH, keep=True)
    if change == "another question":
        policy.in_parts(BATCH, "length", lambda batch: (policy.hidden(batch),))
        assert passes == [True, True]
        return
    other, temperature = {"an equal batch": (copy.deepcopy(BATCH), 1.0)}.get(change, (BATCH, 0.5))
    policy.logprobs(other, temperature)
    assert passes == [True, True]
    policy.logprobs(BATCH)
    assert passes == [True, True, True], "and what was kept is let go"


@pytest.mark.parametrize(
    "why", ["too large", "too large though prompts count once", "in parts", "a plain engine", "no"]
)
def test_elsewhere_it_is_computed_twice(policy, passes, why, model_folder):
    if why == "too large":
        policy.room.lasting = int(BATCH.lengths.sum()) - 1
    if why == "too large though prompts count once":
        policy.room.shared, policy.room.lasting = True, load(BATCH, shared=True) - 1
    if why == "in parts":
        policy.room.tokens = 40
    if why == "a plain engine":
        policy = ready(load_policy(str(model_folder("qwen3")), device="cpu", engine="plain"))
    with torch.no_grad():
        scored = policy.logprobs(BATCH, keep=why != "no")
    assert not any(passes) and not kept.drop_all()
    again = policy.logprobs(BATCH).logprobs
    torch.testing.assert_close(again.detach(), scored.logprobs, atol=1e-5, rtol=0)


def test_a_shared_prompt_counts_once_towards_what_may_wait(policy):
    said = [([5, 6, 7, 8, 9, last], [False] * 5 + [True]) for last in (10, 11, 12)]
    batch = TokenBatch.of(said)
    policy.room.shared, policy.room.lasting = True, 5 + 3
    with torch.no_grad():
        policy.logprobs(batch, keep=True)
    assert kept.drop_all()


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


def test_what_waits_keeps_its_layers_whatever_the_last_batch_had_to_do(policy, monkeypatch):
    real, again = Body.hidden, list[bool]()

    def hidden(self: Body, *given: Any, recompute: bool = False) -> Tensor:
        again.append(recompute)
        return real(self, *given, recompute=recompute)

    monkeypatch.setattr(Body, "hidden", hidden)
    policy.room.recompute = True
    with torch.no_grad():
        policy.logprobs(BATCH, keep=True)
    assert again == [False]


def test_other_errors_are_not_taken_for_a_want_of_memory(policy, monkeypatch):
    def hidden(*_: Any, **__: Any) -> Tensor:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(Body, "hidden", hidden)
    with torch.no_grad(), pytest.raises(RuntimeError, match="shapes differ"):
        policy.logprobs(BATCH, keep=True)


@pytest.mark.parametrize("name", ["embed_tokens.weight", "layers.0.mlp.down_proj.weight", "norm.weight"])
def test_under_other_weights_it_is_computed_anew(policy, passes, name):
    with torch.no_grad():
        policy.logprobs(BATCH, keep=True)
        policy.core.base_model.get_parameter(name).mul_(1.5)
        wanted = policy.logprobs(BATCH).logprobs
    assert torch.equal(policy.logprobs(BATCH).logprobs, wanted) and passes == [True, False, True]


def test_a_step_of_any_optimiser_makes_other_weights(policy, passes):
    for optimizer in (torch.optim.AdamW(policy.parameters(), fused=True), AdamW(policy.parameters())):
        passes.clear()
        with torch.no_grad():
            policy.logprobs(BATCH, keep=True)
        policy.norm = torch.stack([weight.square().sum() for weight in policy.parameters()]).sum()
        policy.norm.backward()
        optimizer.step()
        policy.logprobs(BATCH)
        assert passes == [True, True]


def test_numbers_that_are_changed_do_not_change_what_is_learned(policy):
    with torch.no_grad():
        scored = policy.logprobs(BATCH, keep=True).logprobs
        before = scored.clone()
        scored.mul_(2)
    assert torch.equal(policy.logprobs(BATCH).logprobs, before)


def test_passes_that_wait_give_way_to_whoever_runs_out_of_memory(policy, monkeypatch):
    reference, real = Reference(policy), Body.hidden
    with torch.no_grad():
        policy.logprobs(BATCH, keep=True)
        graph = weakref.ref(kept._waiting[policy])  # pyright: ignore[reportPrivateUsage]
    tried = list[bool]()

    def hidden(self: Body, *given: Any, **more: Any) -> Tensor:
        tried.append(graph() is None)
        if graph() is not None:
            raise MemoryError
        return real(self, *given, **more)

    monkeypatch.setattr(Body, "hidden", hidden)
    assert reference.logprobs(BATCH).logprobs.isfinite().all()
    assert tried == [False, True]


def test_what_does_not_match_is_let_go_before_its_place_is_taken(policy, monkeypatch):
    real, there = Body.hidden, list[bool]()
    with torch.no_grad():
        policy.logprobs(BATCH, keep=True)
    graph = weakref.ref(kept._waiting[policy])  # pyright: ignore[reportPrivateUsage]

    def hidden(self: Body, *given: Any, **more: Any) -> Tensor:
        there.append(graph() is not None)
        return real(self, *given, **more)

    monkeypatch.setattr(Body, "hidden", hidden)
    policy.logprobs(BATCH, 0.5)
    with torch.no_grad():
        policy.logprobs(BATCH, keep=True)
    graph = weakref.ref(kept._waiting[policy])  # pyright: ignore[reportPrivateUsage]
    with torch.no_grad():
        policy.logprobs(BATCH, 0.5, keep=True)
    assert there == [False, False, False]


def test_a_copy_of_the_model_takes_nothing_with_it(policy, passes):
    with torch.no_grad():
        policy.logprobs(BATCH, keep=True)
    twin = copy.deepcopy(policy)
    twin.logprobs(BATCH).logprobs.sum().backward()
    assert passes == [True, True]
