"""Every online method, through the real optimiser, reaches ref·exp(score/β)/Z on the enumerable model; bugs do not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from table_world import packed
from test_known_optimum import BETA, run, world

from tutelage.algorithms.a2c import A2C
from tutelage.algorithms.grpo import GRPO
from tutelage.algorithms.reinforce import Reinforce
from tutelage.algorithms.rloo import RLOO
from tutelage.batches import Referenced
from tutelage.train.optim import Optimizer

COMMON = {
    "model": "t",
    "learning_rate": 0.05,
    "kl": BETA,
    "missing_stop_penalty": 0.0,
    "score_clip": 100.0,
    "max_grad_norm": 0.0,
    "warmup": 0.0,
    "max_new_tokens": 3,
}
CRITIC = {"critic_learning_rate": 0.05, "value_coef": 1.0, "lam": 1.0}
METHODS: dict[str, tuple[type[Any], dict[str, Any], float]] = {
    "a2c": (A2C, CRITIC, 0.04),
    "reinforce": (Reinforce, {}, 0.03),
    "reinforce, moving": (Reinforce, {"baseline": "moving"}, 0.03),
    "reinforce, none": (Reinforce, {"baseline": "none"}, 0.03),
    "rloo": (RLOO, {"answers": 4}, 0.03),
    "rloo, two clipped passes": (RLOO, {"answers": 4, "updates": 2, "clip": 0.2, "target_kl": 0.0}, 0.03),
    "grpo": (GRPO, {"answers": 8}, 0.03),
    "dr. grpo": (GRPO, {"answers": 8, "aggregation": "constant"}, 0.03),
    "grpo, cispo": (GRPO, {"answers": 8, "ratio": "cispo"}, 0.03),
}
"""Class, settings, and the total variation that it must reach."""
SLOW = ("reinforce, moving", "reinforce, none", "rloo, two clipped passes", "dr. grpo", "grpo, cispo")
STEPS = 300


def distance(kind: type[Any], settings: dict[str, Any], steps: int = STEPS, seed: int = 0) -> float:
    answers = settings.get("answers", 1)
    parts = world(512 // answers)
    return run(kind(kind.Config(**COMMON | settings, seed=seed), parts), parts, steps)


def _cases() -> list[Any]:
    cases = [pytest.param(name, 0, marks=[pytest.mark.slow] if name in SLOW else []) for name in METHODS]
    return cases + [pytest.param(name, seed, marks=pytest.mark.slow) for name in METHODS for seed in range(1, 5)]


@pytest.mark.parametrize(("name", "seed"), _cases())
def test_it_reaches_the_optimum_of_score_minus_kl(name: str, seed: int) -> None:
    kind, settings, limit = METHODS[name]
    assert distance(kind, settings, seed=seed) <= limit


@pytest.mark.parametrize(
    "settings",
    [{"kl": 0.0}, {"kl": BETA / 2}, {"temperature": 2.0}],
    ids=["KL dropped", "half the price", "scored at another temperature"],
)
def test_an_rloo_with_a_known_bug_does_not(settings: dict[str, Any]) -> None:
    assert distance(RLOO, {"answers": 4} | settings, steps=80) > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["k2", "k3"])
def test_the_kl_in_the_loss_ends_elsewhere_as_its_help_says(kind: str) -> None:
    assert distance(GRPO, {"answers": 8, "kl_in_loss": kind}) > 0.2


@pytest.mark.parametrize("how", ["token-mean", "sequence-mean", "constant"])
def test_parts_of_a_step_join_exactly_and_means_of_means_do_not(how: Any) -> None:
    """Answers of 1, 3, 2 … tokens in parts of one: the joined gradient is the whole's; the parts' plain mean is not."""
    parts = world()
    grpo = GRPO(GRPO.Config(**COMMON | {"aggregation": how}), parts)
    uneven = packed([(4,), (0, 1, 2), (1, 4), (2, 3, 4), (3, 3, 3)])
    draw = torch.Generator().manual_seed(2)
    advantages = torch.randn(5, generator=draw)[:, None] * uneven.answer_mask
    with torch.no_grad():
        logprobs = parts.policy.logprobs(uneven).logprobs
        batch = Referenced(uneven, logprobs, advantages, logprobs)

    def gradient(limit: int) -> torch.Tensor:
        config = GRPO.Config(**COMMON | {"tokens_per_part": limit})
        Optimizer(grpo, config, 1).step(grpo, batch)
        assert parts.policy.table.grad is not None
        return parts.policy.table.grad.clone()

    whole = gradient(10**6)
    torch.testing.assert_close(gradient(1), whole, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(gradient(6), whole, rtol=1e-5, atol=1e-7)
    losses = [grpo.loss(batch.select([row])).total for row in range(5)]
    (means,) = torch.autograd.grad(torch.stack(losses).mean(), parts.policy.table)
    assert bool(torch.allclose(means, whole, rtol=1e-3)) == (how != "token-mean")
