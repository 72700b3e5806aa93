"""Without gradients a batch is asked in parts that fit: the same numbers, and those bits that learning will find."""

from __future__ import annotations

import copy

import pytest
import torch

from tests_support import batch_of, random_rows
from tutelage.algorithms import TrainConfig
from tutelage.algorithms._preference import sides
from tutelage.batches import Loss, PairBatch, TokenBatch, largest, load, parts
from tutelage.models import kept
from tutelage.models.load import load_policy, load_scorer
from tutelage.models.policy import Policy, Scorer
from tutelage.models.reference import Reference
from tutelage.models.tree import tree_of
from tutelage.ops import native
from tutelage.train.optim import Optimizer
from tutelage.train.room import Estimate

LENGTHS = (17, 5, 30, 9, 24, 12, 3)
ROOM = 40


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_scored_in_parts_has_the_bits_of_what_is_learned_from_the_same_parts(tiny_model, dtype):
    policy = load_policy(str(tiny_model), device="cpu", dtype=dtype)
    reference = Reference(policy)
    batch = batch_of(random_rows(LENGTHS), prompt=2)
    with torch.no_grad():
        whole = policy.logprobs(batch)
        policy.room.tokens = ROOM
        found, frozen = policy.logprobs(batch), reference.logprobs(batch)
    near = {"float32": 1e-5, "bfloat16": 0.1}[dtype]
    torch.testing.assert_close(found.logprobs, whole.logprobs, atol=near, rtol=0)
    torch.testing.assert_close(found.entropy, whole.entropy, atol=near, rtol=0)
    assert torch.equal(frozen.logprobs, found.logprobs)
    assert copy.deepcopy(policy).room is policy.room, "a copy of the policy is cut alike, also later"
    cuts = list(parts(batch, ROOM))
    assert len(cuts) > 2 and sorted(row for rows in cuts for row in rows) == list(range(len(LENGTHS)))
    for rows in cuts:
        learned = policy.logprobs(batch.select(rows)).logprobs
        assert learned.requires_grad and torch.equal(found.logprobs[rows, : learned.shape[1]], learned.detach())


def grouped(prompts: int, answers: int) -> TokenBatch:
    """Answers of 3 to 12 tokens to prompts of 20, not beside each other."""
    rows = random_rows((20,) * prompts + tuple(3 + 7 * place % 10 for place in range(prompts * answers)))
    said = enumerate(rows[prompts:])
    return TokenBatch.of([(rows[n % prompts] + own, [False] * 20 + [True] * len(own)) for n, own in said])


def test_answers_to_one_prompt_stay_in_one_part_which_computes_it_once():
    batch, limit = grouped(9, 4), 250
    cuts = list(parts(batch, limit))
    assert sorted(row for rows in cuts for row in rows) == list(range(36)) and len(cuts) > 3
    computed = 0
    for rows in cuts:
        part = batch.select(rows)
        tree = tree_of(part)
        assert tree is not None and len(part.tokens) <= limit
        computed += len(tree.tokens)
    assert computed == 9 * 20 + int(batch.mask.sum())


@pytest.mark.parametrize("limit", [40, 70, 150, 250, 600])
def test_a_prompt_that_is_computed_once_counts_once_in_each_part(limit):
    batch = grouped(9, 4)
    cuts = list(parts(batch, limit, shared=True))
    assert sorted(row for rows in cuts for row in rows) == list(range(36))
    for rows in cuts:
        part = batch.select(rows)
        tree = tree_of(part)
        assert load(part, shared=True) == len((tree or part).tokens)
        assert load(part, shared=True) <= limit or len(rows) == 1
    assert len(cuts) <= len(list(parts(batch, limit)))
    assert (len(cuts) == 1) == (limit == 600) and load(batch) > 600, "written out it would be parted"


def test_the_cuts_are_as_few_as_the_order_allows():
    said = [([prompt] * 10 + [3] * own, [False] * 10 + [True] * own) for prompt in (7, 8) for own in (2, 3, 4)]
    batch = TokenBatch.of(said)  # two prompts of 10, to each answers of 2, 3 and 4
    assert load(batch) == 78 and load(batch, shared=True) == 38 and largest(batch, shared=True) == 14
    wanted = {38: [[0, 1, 2, 3, 4, 5]], 37: [[0, 1, 2], [3, 4, 5]], 18: [[0, 1], [2], [3, 4], [5]]}
    for limit, cuts in wanted.items():
        assert list(parts(batch, limit, shared=True)) == cuts
    assert list(parts(batch, 38)) == [[0, 1], [2], [3, 4], [5]], "written out: 12 and 13, 14"


class Several:
    """As much of an algorithm as an optimiser asks for at its start."""

    def __init__(self, **models: Policy | Scorer) -> None:
        self.models = models

    def modules(self) -> dict[str, torch.nn.Module]:
        return dict(self.models)

    def learning_rates(self) -> dict[str, float]:
        return dict.fromkeys(self.models, 0.1)


@pytest.mark.parametrize("engine", ["auto", "plain"])
def test_learning_and_scoring_cut_alike(tiny_model, engine, monkeypatch):
    policy, batch = load_policy(str(tiny_model), device="cpu", engine=engine), grouped(9, 4)
    shares = engine == "auto" and native.available("body")
    optimizer = Optimizer(Several(policy=policy), TrainConfig(tokens_per_part=150), 1)
    real, asked = policy.states, list[list[int]]()
    monkeypatch.setattr(policy, "states", lambda part, at: asked.append(part.tokens.tolist()) or real(part, at))
    with torch.no_grad():
        policy.logprobs(batch)
    scored = asked.copy()
    asked.clear()
    optimizer.begin(0)
    optimizer.step(Likelihood(policy), batch)
    assert asked == scored == [batch.select(rows).tokens.tolist() for rows in parts(batch, 150, shared=shares)]
    assert len(asked) == (4 if shares else 9)


class Likelihood(Several):
    """Learns to say what it said."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy=policy)
        self.policy = policy

    def loss(self, batch: TokenBatch) -> Loss:
        said = self.policy.logprobs(batch).logprobs
        return Loss(-said.sum() / batch.mask.sum(), batch.mask.sum().float(), {})


def test_prompts_count_once_only_where_all_that_learns_computes_them_once(tiny_model):
    policy = load_policy(str(tiny_model), device="cpu")
    critics = {how: load_scorer(str(tiny_model), device="cpu", head="zero", engine=how) for how in ("auto", "plain")}
    for how, critic in critics.items():
        Optimizer(Several(policy=policy, critic=critic), TrainConfig(), 1)
        assert policy.room.shared == critic.room.shared == (how == "auto" and native.available("body"))


@pytest.mark.parametrize(
    ("fitting", "config", "lasting"),
    [
        (10**6, {}, 8192),
        (10**6, {"tokens_per_part": 300}, 300),
        (2500, {}, 2500),
        (-1, {}, -1),
        (None, {}, 8192),
        (10**6, {"gradient_checkpointing": "on"}, 0),
    ],
)
def test_what_may_wait_to_be_learned_from_is_what_fits(tiny_model, monkeypatch, fitting, config, lasting):
    monkeypatch.setattr("tutelage.train.optim.estimated", lambda _: Estimate(8192, fitting))
    policy = load_policy(str(tiny_model), device="cpu")
    Optimizer(Several(policy=policy), TrainConfig(**config), 1)
    assert policy.room.lasting == lasting


def test_where_one_row_alone_does_not_fit_nothing_waits(tiny_model, monkeypatch):
    policy, failed = load_policy(str(tiny_model), device="cpu"), list[int]()
    optimizer = Optimizer(Several(policy=policy), TrainConfig(), 1)
    real = policy.states

    def states(part: TokenBatch, places: torch.Tensor) -> torch.Tensor:
        if not policy.room.recompute:
            failed.append(len(part))
            raise MemoryError
        return real(part, places)

    monkeypatch.setattr(policy, "states", states)
    optimizer.begin(0)
    optimizer.step(Likelihood(policy), grouped(2, 3))
    assert failed[0] == 6 and failed[-1] == 1 and policy.room.lasting == 0


def test_what_waits_gives_way_before_parts_are_halved(tiny_model, monkeypatch):
    policy, batch = load_policy(str(tiny_model), device="cpu"), grouped(2, 3)
    optimizer = Optimizer(Likelihood(policy), TrainConfig(), 1)
    critic, real, tried = load_scorer(str(tiny_model), device="cpu", head="zero"), policy.states, list[int]()
    kept.put(critic, batch, "values", (torch.zeros(1),))

    def states(part: TokenBatch, places: torch.Tensor) -> torch.Tensor:
        tried.append(len(part))
        if kept.drop_all():
            kept.put(critic, batch, "values", (torch.zeros(1),))
            raise MemoryError
        return real(part, places)

    monkeypatch.setattr(policy, "states", states)
    optimizer.begin(0)
    optimizer.step(Likelihood(policy), batch)
    assert tried == [6, 6] and optimizer.halved == 0


def test_memory_that_shared_prompts_fill_is_halved_until_they_fit(tiny_model, monkeypatch):
    policy, batch = load_policy(str(tiny_model), device="cpu"), grouped(2, 12)
    if not policy.shares_prompts:
        pytest.skip(f"NOT TESTED: {native.why_not('body')}")
    optimizer = Optimizer(Likelihood(policy), TrainConfig(), 1)
    real, tried = policy.states, list[int]()

    def states(part: TokenBatch, places: torch.Tensor) -> torch.Tensor:
        tried.append(load(part, shared=True))
        if tried[-1] > 100:
            raise MemoryError
        return real(part, places)

    monkeypatch.setattr(policy, "states", states)
    optimizer.begin(0)
    optimizer.step(Likelihood(policy), batch)
    whole = load(batch, shared=True)
    assert tried[0] == whole and tried[1] <= whole // 2 and optimizer.halved == whole // 2
    assert max(tried[1:]) <= 100 and len(tried) < 6


def test_answers_that_do_not_fit_together_are_parted():
    batch = grouped(2, 8)
    cuts = list(parts(batch, 70))
    assert sorted(row for rows in cuts for row in rows) == list(range(16))
    assert all(sum(batch.sizes()[row] for row in rows) <= 70 for rows in cuts)
    assert all(len({row % 2 for row in rows}) == 1 for rows in cuts[:-1]), "one prompt after the other"


@pytest.mark.parametrize("shared", [False, True])
def test_both_answers_of_a_pair_are_asked_in_the_parts_that_are_learned_from(tiny_model, shared):
    policy, half = load_policy(str(tiny_model), device="cpu"), grouped(6, 2)
    chosen, rejected = half.select(range(6)), half.select(range(6, 12))
    pairs = PairBatch(chosen, rejected, torch.zeros(6), torch.ones(6))
    limit = policy.room.tokens = 80 if shared else 120
    policy.room.shared = shared
    with torch.no_grad():
        asked = sides(policy, pairs)
    cuts = list(parts(pairs, limit, shared=shared))
    assert len(cuts) > 2 and load(pairs, shared=True) == len(tree_of(half).tokens) < load(pairs)
    for rows in cuts:
        learned = sides(policy, pairs.select(rows))
        assert torch.equal(asked.chosen[rows], learned.chosen) and torch.equal(asked.rejected[rows], learned.rejected)


def test_no_pass_is_larger_than_the_room_and_a_gradient_is_never_cut(tiny_model, monkeypatch):
    scorer = load_scorer(str(tiny_model), device="cpu", seed=3)
    batch = batch_of(random_rows(LENGTHS), prompt=2)
    seen, ask = list[int](), scorer.states
    monkeypatch.setattr(scorer, "states", lambda part, places: seen.append(len(part.tokens)) or ask(part, places))
    with torch.no_grad():
        whole = scorer.values(batch), scorer.scores(batch)
        scorer.room.tokens = ROOM
        seen.clear()
        found = scorer.values(batch), scorer.scores(batch)
    assert max(seen) <= ROOM and sum(seen) == 2 * sum(LENGTHS)
    for ours, theirs in zip(found, whole, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    seen.clear()
    scorer.scores(batch)
    assert seen == [sum(LENGTHS)]
