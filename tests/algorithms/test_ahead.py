"""Answers that an older policy drew: what they teach on average is what fresh ones would teach, to the last digit.

Every answer of the enumerable model is drawn by one policy μ and learned from by another, π; weighted by μ's
probabilities, credit and loss must sum to π's own gradient.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from table_world import SEQUENCES, TablePolicy, World, answered, packed
from test_online_gradient import BETA, COMMON, EXACT, exact_gradient, made, world
from torch import Tensor

from tutelage.algorithms import _ahead
from tutelage.algorithms._ahead import Drawn, as_json, of_json, weights
from tutelage.algorithms.best_of_n import BestOfN
from tutelage.algorithms.grpo import GRPO
from tutelage.algorithms.online_dpo import OnlineDPO
from tutelage.algorithms.ppo_lagrangian import PPOLagrangian
from tutelage.algorithms.reinforce import Reinforce
from tutelage.algorithms.rloo import RLOO
from tutelage.batches import Credited, Rollouts
from tutelage.errors import DataError, UsageError
from tutelage.rewards import RewardSource
from tutelage.types import Sample

STALE = {"staleness": 1, "staleness_cap": 1e9}


def moved(parts: World) -> TablePolicy:
    """A policy that is not the one that learns."""
    rng = torch.Generator().manual_seed(5)
    return TablePolicy(parts.policy.table.detach() + 0.6 * torch.randn(31, 5, generator=rng, dtype=torch.float64))


def drawn(by: TablePolicy, rollouts: Rollouts, age: int = 1) -> Drawn:
    with torch.no_grad():
        told = by.logprobs(rollouts.batch)
    return Drawn(replace(rollouts, logprobs=told.logprobs), told.logprobs, told.entropy, step=3, made=3 - age)


def taught(algorithm: Any, parts: World, by: TablePolicy) -> Tensor:
    """The expected gradient of what `by` drew, as `collect` would hand it to `loss`."""
    chance, size = by.probability(), len(SEQUENCES)
    grouped = algorithm.config.answers == 2 or getattr(algorithm.config, "baseline", "") == "mean"
    listed = [SEQUENCES[place] for i in range(size) for j in range(size) for place in (i, j)] if grouped else SEQUENCES
    n = algorithm.config.answers
    with torch.no_grad():
        answers = answered(parts, listed, n=n)
        if grouped and n == 1:  # one prompt each: a step is two of them
            each = [algorithm._against(pair) for pair in answers.rewards(algorithm.kl.coef).view(-1, 2)]
            credit: Any = Credited(answers.batch, answers.logprobs, torch.cat(each)[:, None] * answers.mask)
        else:
            credit = algorithm.credit(answers)
        credit = algorithm._corrected(credit, answers, drawn(by, answers.rollouts))
    if grouped:  # the first of each pair, on average over the second
        first = credit.advantages.view(size, size, 2, -1)[:, :, 0]
        mean = torch.einsum("ijr,j->ir", first, chance)
        credit = replace(credit.select(list(range(0, 2 * size * size, 2 * size))), advantages=mean)
    whole = torch.zeros_like(parts.policy.table)
    for row, probability in enumerate(chance):
        loss = algorithm.loss(credit.select([row]))
        whole -= probability * torch.autograd.grad(loss.total * loss.weight, parts.policy.table)[0]
    return whole


@pytest.mark.parametrize(
    "name",
    [
        *["ppo", "a2c", "reinforce, moving", "rloo"],
        *(pytest.param(name, marks=pytest.mark.slow) for name in EXACT if name.startswith(("grpo", "rloo, "))),
        pytest.param("reinforce, mean", marks=pytest.mark.slow),
    ],
)
def test_what_an_older_policy_drew_teaches_the_gradient_of_the_present_one(name: str) -> None:
    parts = world()
    found = taught(made(name, parts, **STALE), parts, moved(parts))
    torch.testing.assert_close(found, EXACT[name][2] * exact_gradient(parts), atol=1e-9, rtol=0)


def _upside_down(now: Tensor, old: Drawn, cap: float) -> tuple[Tensor, dict[str, float]]:
    return weights(old.logprobs, replace(old, logprobs=now), cap)


def _of_the_last_token(now: Tensor, old: Drawn, cap: float) -> tuple[Tensor, dict[str, float]]:
    last = torch.arange(now.shape[1])[None] == old.rollouts.batch.answer_lengths[:, None] - 1
    return weights(torch.where(last, now, old.logprobs), old, cap)


def _none(now: Tensor, old: Drawn, cap: float) -> tuple[Tensor, dict[str, float]]:
    return torch.ones(len(now)), {}


@pytest.mark.parametrize("mutant", [_none, _upside_down, _of_the_last_token])
@pytest.mark.parametrize("name", ["ppo", "a2c", "reinforce"])
def test_another_weight_is_found_out(name: str, mutant: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from tutelage.algorithms import _online

    monkeypatch.setattr(_online, "weights", mutant)
    parts = world()
    error = taught(made(name, parts, **STALE), parts, moved(parts)) - EXACT[name][2] * exact_gradient(parts)
    assert float(error.abs().max()) > 1e-3


def test_the_cap_is_the_gradient_of_the_truncated_policy_and_no_other() -> None:
    """Σ_y min(cap·μ(y), π(y))·A(y)·∇log π(y)."""
    parts, cap = world(), 1.25
    by = moved(parts)
    found = taught(made("reinforce", parts, staleness=1, staleness_cap=cap), parts, by)
    logp = parts.policy.logprobs(packed(SEQUENCES)).logprobs.sum(1)
    ref = parts.reference.logprobs(packed(SEQUENCES)).logprobs.sum(1)
    chance = torch.minimum(cap * by.probability(), logp.exp()).detach()
    credit = parts.rewards - BETA * (logp - ref).detach()
    (wanted,) = torch.autograd.grad((chance * credit * logp).sum(), parts.policy.table)
    torch.testing.assert_close(found, wanted, atol=1e-9, rtol=0)
    assert float((found - exact_gradient(parts)).abs().max()) > 1e-3, "here the cap cuts"


def test_fresh_answers_are_not_touched_and_weigh_one() -> None:
    parts = world()
    algorithm = made("rloo", parts, staleness=1)
    answers = answered(parts, [(4,), (0, 1, 2)], n=2)
    credit = algorithm.credit(answers)
    assert algorithm._corrected(credit, answers, drawn(parts.policy, answers.rollouts, age=0)) is credit
    assert algorithm._metrics["policy/ratio"] == 1 and algorithm._metrics["policy/staleness"] == 0
    again = algorithm._corrected(credit, answers, drawn(parts.policy, answers.rollouts))
    assert torch.equal(again.advantages, credit.advantages), "one step old, and nothing was learned in between"
    plain = made("rloo", parts)
    plain._corrected(credit, answers, drawn(parts.policy, answers.rollouts, age=0))
    assert "policy/ratio" not in plain._metrics


def test_only_credit_of_whole_answers_can_be_weighed() -> None:
    parts = world()
    credit = made("rloo", parts).credit(answered(parts, [(4,), (0, 1, 2)], n=2))
    with pytest.raises(TypeError, match="one row each"):
        _ahead.weighed(credit, torch.ones(3))
    with pytest.raises(TypeError, match="one row each"):
        _ahead.weighed(credit.batch, torch.ones(2))


@pytest.mark.parametrize("kind", [BestOfN, PPOLagrangian])
def test_where_no_correction_is_known_it_is_refused(kind: Any) -> None:
    with pytest.raises(UsageError, match="no correction for answers that are one step old"):
        kind.Config(staleness=1)
    assert kind.Config(staleness=0)


@pytest.mark.parametrize("settings", [{"dynamic_sampling": True}, {"kl_in_loss": "k3"}])
def test_what_the_weights_do_not_reach_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="correct advantages"):
        GRPO.Config(staleness=1, **settings)


@pytest.mark.parametrize("settings", [{"staleness": 2}, {"staleness": -1}, {"staleness_cap": 0.5}])
def test_numbers_that_mean_nothing_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="makes no sense"):
        RLOO.Config(**settings)


class Desk(RewardSource):
    """Scores like the world and notes what it is told, in order."""

    def __init__(self, inner: RewardSource) -> None:
        self.inner, self.heard = inner, list[str]()

    def score(self, samples: Sequence[Sample]) -> Any:
        return self.inner.score(samples)

    def announce(self, samples: Sequence[Sample], step: int) -> None:
        self.heard.append(f"announce {step}")

    def withdraw(self, samples: Sequence[Sample], step: int) -> None:
        self.heard.append(f"withdraw {step}")

    def ready(self, samples: Sequence[Sample], step: int) -> list[bool]:
        self.heard.append(f"ready {step}")
        return [True] * len(samples)


def _single() -> World:
    """As a run has it: in float32."""
    parts = world()
    parts.policy, parts.critic, parts.reference.policy = (
        module.float() for module in (parts.policy, parts.critic, parts.reference.policy)
    )
    return parts


def _run(kind: Any, parts: World, **settings: Any) -> tuple[Any, Desk]:
    desk = parts.reward = Desk(parts.reward)  # type: ignore[assignment]
    algorithm = kind(kind.Config(**COMMON | {"staleness": 1} | settings), parts)
    algorithm.total = 3
    return algorithm, desk


def _learn(algorithm: Any, parts: World) -> None:
    with torch.no_grad():
        parts.policy.table.add_(0.1 * torch.sin(torch.arange(155.0).view(31, 5)))


def test_the_next_step_is_put_before_people_before_this_one_is_waited_for() -> None:
    parts = _single()
    algorithm, desk = _run(Reinforce, parts, baseline="none")
    ages = []
    for step in range(3):
        algorithm.collect(step)
        ages.append((algorithm.metrics()["policy/staleness"], algorithm.metrics()["policy/ratio"] == 1))
        _learn(algorithm, parts)
    assert desk.heard == ["announce 0", "announce 1", "ready 0", "announce 1", "announce 2", "ready 1", "ready 2"]
    assert ages == [(0, True), (1, False), (1, False)]
    assert algorithm.ahead is None, "nobody is asked for a step that does not come"


def test_a_run_that_ends_early_withdraws_what_it_asked_ahead() -> None:
    algorithm, desk = _run(Reinforce, _single(), baseline="none")
    algorithm.collect(0)
    algorithm.dismiss()
    assert desk.heard[-1] == "withdraw 1"
    plain, silent = _run(Reinforce, _single(), baseline="none", staleness=0)
    plain.collect(0)
    plain.dismiss()
    assert silent.heard == ["ready 0"]


@pytest.mark.parametrize(("kind", "settings"), [(Reinforce, {"answers": 2}), (OnlineDPO, {})])
def test_a_restart_learns_from_the_same_waiting_answers(kind: Any, settings: dict[str, Any]) -> None:
    parts = _single()
    algorithm, _ = _run(kind, parts, **settings)
    algorithm.collect(0)
    _learn(algorithm, parts)
    state = json.loads(json.dumps(algorithm.state()))
    wanted = algorithm.collect(1)
    again, _ = _run(kind, parts, **settings)
    again.restore(state)
    found = again.collect(1)
    for name in ("advantages", "logprobs", "weight", "ref_chosen"):
        if hasattr(wanted, name):
            assert torch.equal(getattr(found, name), getattr(wanted, name)), name
    assert again.metrics() == algorithm.metrics() and again.metrics()["policy/staleness"] == 1
    fresh, _ = _run(kind, parts, **settings)
    fresh.restore({name: value for name, value in state.items() if name != "ahead"})
    fresh.collect(1)
    assert fresh.metrics()["policy/staleness"] == 0, "without them the present policy would have answered"


def test_waiting_answers_are_kept_bit_for_bit() -> None:
    parts = _single()
    algorithm, _ = _run(Reinforce, parts, answers=2)
    algorithm.collect(0)
    kept = algorithm.ahead
    back = of_json(json.loads(json.dumps(as_json(kept))), parts.prompts.batch(1), torch.device("cpu"))
    for name in ("logprobs", "entropy"):
        assert torch.equal(getattr(back, name), getattr(kept, name))
    assert torch.equal(back.rollouts.logprobs, kept.rollouts.logprobs)
    assert torch.equal(back.rollouts.batch.tokens, kept.rollouts.batch.tokens)
    assert torch.equal(back.rollouts.batch.mask, kept.rollouts.batch.mask)
    assert torch.equal(back.rollouts.stopped, kept.rollouts.stopped)
    assert back.rollouts.samples == kept.rollouts.samples and (back.step, back.made) == (1, 0)
    changed = [replace(prompt, content="else") for prompt in parts.prompts.batch(1)]
    for others in ([replace(prompt, id="x") for prompt in parts.prompts.batch(1)], changed):
        with pytest.raises(DataError, match="other prompts"):
            of_json(as_json(kept), others, torch.device("cpu"))
